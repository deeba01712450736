"""Examples that run against the platform from outside."""
