"""Investigation tools: one question to the observability stack per file, asked by the protocol and by runbooks."""
