"""Detector: scores telemetry streams and emits anomaly episodes."""
