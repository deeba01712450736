"""The console: the page where people review what Paramedic found and decide."""
