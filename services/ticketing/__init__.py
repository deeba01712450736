"""Ticketing: groups anomalies into incidents and serves them over a REST API."""
