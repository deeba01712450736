"""What services say about themselves: logs, metrics and names of telemetry signals."""
