"""Where Paramedic runs: real servers for development (stack), images, and what Kibana is given (kibana)."""
