"""Recorder: the recent window of telemetry, queryable, and the service graph learned from spans."""
