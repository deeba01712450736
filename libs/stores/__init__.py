"""Ports to the incident and telemetry stores, and their adapters."""
