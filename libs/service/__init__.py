"""How a service starts, reports readiness and stops."""
