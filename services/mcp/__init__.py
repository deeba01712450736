"""MCP servers: read-only questions about telemetry, incidents and runbooks, for models."""
