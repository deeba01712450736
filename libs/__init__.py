"""Shared libraries: contracts, streaming, stores, observability; services build on them, never the other way."""
