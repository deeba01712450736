"""Remediation: applies the known fix of a known pattern, verifies it, and reports honestly."""
