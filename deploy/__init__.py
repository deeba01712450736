"""Where Paramedic runs: real servers for development (stack)."""
