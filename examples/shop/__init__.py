"""A small real shop: processes, HTTP, SQLite, OpenTelemetry, users and faults. It knows nothing of who watches it."""
