"""Investigator: ranks root causes with evidence before a human looks."""
