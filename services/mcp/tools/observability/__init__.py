"""Tools over the telemetry store: services, metrics, requests, traces, logs, changes, topology."""
