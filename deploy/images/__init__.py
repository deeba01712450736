"""What container images hold, and a check of it without an engine."""
