"""Patches: each file makes one kind of change to source text and registers itself; a new kind is a new file."""
