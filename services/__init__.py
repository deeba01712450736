"""The services, one package each; they never import one another, only libs and schemas."""
