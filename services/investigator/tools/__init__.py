"""Investigation tools: one question to the observability stack per file, asked by the protocol, runbooks and agents."""
