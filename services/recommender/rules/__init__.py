"""Rules: each file looks at a scene of telemetry for one weakness and registers itself; a new rule is a new file."""
