"""Which runbook fits a hypothesis: the most specific one, always the same one."""

from collections.abc import Sequence
from fnmatch import fnmatchcase
from typing import Final

from libs.contracts.incident import IncidentChanged
from libs.contracts.investigation import Hypothesis
from libs.runbooks.runbook import Runbook

_WILDCARDS: Final = frozenset("*?[]")


def match(runbooks: Sequence[Runbook], hypothesis: Hypothesis, incident: IncidentChanged) -> Runbook | None:
    """The most specific runbook whose conditions hold, or None.

    Confidence is not a condition here: policy asks for it before anything is applied, and people are shown the known
    fix of a doubtful hypothesis too. More specific is, in this order: a longer literal part of the services glob,
    a blamed change, named signals, fewer kinds of cause; the name settles what is left.
    """
    fitting = [runbook for runbook in runbooks if fits(runbook, hypothesis, incident)]
    return min(fitting, key=_generality, default=None)


def fits(runbook: Runbook, hypothesis: Hypothesis, incident: IncidentChanged) -> bool:
    """Whether every condition of a runbook holds."""
    if hypothesis.kind not in runbook.cause_kinds:
        return False
    if runbook.needs_change and not hypothesis.change_id:
        return False
    if not fnmatchcase(hypothesis.service, runbook.services):
        return False
    return not runbook.signals or bool(set(runbook.signals) & deviating_signals(hypothesis.service, incident))


def deviating_signals(service: str, incident: IncidentChanged) -> set[str]:
    """Signals that deviate on a service or on calls to it; those of the whole incident when there are none."""
    near = {anomaly.signal.value for anomaly in incident.anomalies if service in (anomaly.service, anomaly.peer)}
    return near or {anomaly.signal.value for anomaly in incident.anomalies}


def _generality(runbook: Runbook) -> tuple[int, bool, int, int, str]:
    literal = sum(character not in _WILDCARDS for character in runbook.services)
    exact = not _WILDCARDS & set(runbook.services)
    return (
        -literal - (1000 if exact else 0),
        not runbook.needs_change,
        len(runbook.signals) or 1000,
        len(runbook.cause_kinds),
        runbook.name,
    )
