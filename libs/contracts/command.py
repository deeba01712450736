"""What a human decides: commands travel on the topic `commands` and end in the audit trail."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum


class CommandKind(StrEnum):
    """Imperative: what is to be done."""

    ACKNOWLEDGE = "acknowledge"
    COMMENT = "comment"
    HOLD = "hold"
    RESOLVE = "resolve"
    CANCEL = "cancel"
    CONFIRM_ROOT_CAUSE = "confirm_root_cause"
    APPROVE = "approve"
    REJECT = "reject"
    HALT = "halt"
    RESUME = "resume"
    SET_MODE = "set_mode"
    INVESTIGATE = "investigate"
    ACCEPT_RECOMMENDATION = "accept_recommendation"
    DISMISS_RECOMMENDATION = "dismiss_recommendation"


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """One decision.

    Attributes:
        id: Unique; the same id is carried out once.
        kind: What is to be done.
        target: Incident id, remediation run id, recommendation id or pattern, as `kind` needs; "" for halt and resume.
        actor: Who decided.
        reason: Why, in their words.
        arguments: More, as `kind` needs (text of a comment, service and cause of a root cause, mode).
        issued_at: When.
    """

    id: str
    kind: CommandKind
    target: str = ""
    actor: str
    reason: str = ""
    arguments: Mapping[str, str] = field(default_factory=dict)
    issued_at: datetime
