"""Prompts of the investigator: prose, reviewed like code."""
