"""Kibana's data views, saved searches and dashboard: described here, exported as paramedic.ndjson."""
