"""Runbooks: known patterns, what they match, the declared action that fixes them, and the honest scorecard."""

from libs.runbooks.load import SHIPPED, load_runbooks
from libs.runbooks.matching import match
from libs.runbooks.runbook import Guardrails, ReadOnlyStep, Runbook, Verification

__all__ = ["SHIPPED", "Guardrails", "ReadOnlyStep", "Runbook", "Verification", "load_runbooks", "match"]
