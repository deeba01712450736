"""Exceptions that a service never raised before, at the service whose callees do not explain them."""

from typing import Final

from libs.contracts.investigation import CauseKind
from services.investigator.evidence import Evidence
from services.investigator.ranking.finding import Finding, certainty
from services.investigator.trace_facts import ExceptionShift

_SCALE: Final = 3.0
# The client side of a failure elsewhere: raised here, caused there.
_OF_CALLS: Final = (
    "timeout",
    "connect",
    "unavailable",
    "http",
    "peer",
    "socket",
    "rpc",
    "upstream",
    "deadline",
    "network",
)


def exceptions(evidence: Evidence) -> list[Finding]:
    """New or multiplied exceptions by service; those about a call to somebody else count little here."""
    raised = [entry for entry in evidence.traces.exceptions if entry.now > entry.before]
    most = max((entry.now for entry in raised), default=0)
    found = []
    for entry in raised:
        about_call = is_of_a_call(entry)
        sure = certainty((entry.now - entry.before) / (entry.before + 1.0) ** 0.5, _SCALE)
        strength = sure * (0.5 + 0.5 * entry.now / most) * (0.2 if about_call else 1.0)
        place = f" at {entry.place}" if entry.place else ""
        found.append(
            Finding(
                idea="exception",
                service=entry.service,
                strength=strength,
                text=f"{entry.service} raised {entry.type} {entry.now} times (before: {entry.before}){place}: "
                f"{entry.message[:120]!r}",
                source=f"trace {entry.trace_id}",
                kind=None if about_call else CauseKind.CODE_ERROR,
            )
        )
    return found


def is_of_a_call(entry: ExceptionShift) -> bool:
    """Whether the exception tells of a failed call to somebody else."""
    kind = entry.type.casefold()
    return any(word in kind for word in _OF_CALLS)
