"""The halt switch and the modes set at runtime: small shared state that people change by command."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Final

from libs.contracts.command import Command, CommandKind
from libs.contracts.remediation import Mode
from libs.errors import InvalidMessage

HALT_KEY: Final = "remediation/halt"
MODES_KEY: Final = "remediation/modes"


@dataclass(frozen=True, slots=True, kw_only=True)
class Halt:
    """The global switch: while it is on, nothing is applied.

    Attributes:
        halted: Whether it is on.
        actor: Who turned it last.
        reason: Why.
        at: When; None when nobody ever did.
        command_id: The command that did.
    """

    halted: bool = False
    actor: str = ""
    reason: str = ""
    at: datetime | None = None
    command_id: str = ""

    def text(self) -> str:
        """Who halted it and why; "" while it is off."""
        if not self.halted:
            return ""
        return f"self-healing is halted by {self.actor}{': ' if self.reason else ''}{self.reason}"


@dataclass(frozen=True, slots=True, kw_only=True)
class SetMode:
    """The mode of one pattern as set at runtime.

    Attributes:
        mode: observe, approve or auto.
        actor: Who set it.
        at: When.
    """

    mode: Mode
    actor: str
    at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Modes:
    """Modes set at runtime.

    Attributes:
        by_pattern: Mode by name of the runbook.
    """

    by_pattern: Mapping[str, SetMode] = field(default_factory=dict)

    def modes(self) -> dict[str, Mode]:
        """Mode by pattern."""
        return {pattern: chosen.mode for pattern, chosen in self.by_pattern.items()}


def halt_after(halt: Halt, command: Command) -> Halt:
    """The switch after a halt or resume; an older command than the last one changes nothing."""
    if halt.at is not None and command.issued_at < halt.at:
        return halt
    return Halt(
        halted=command.kind is CommandKind.HALT,
        actor=command.actor,
        reason=command.reason,
        at=command.issued_at,
        command_id=command.id,
    )


def modes_after(modes: Modes, command: Command, patterns: frozenset[str]) -> Modes:
    """The modes after a set_mode; `InvalidMessage` for an unknown pattern or mode."""
    pattern, wanted = command.target, command.arguments.get("mode", "")
    if pattern not in patterns:
        raise InvalidMessage(
            f"set_mode by {command.actor}: no pattern {pattern!r}; there are {', '.join(sorted(patterns))}"
        )
    try:
        mode = Mode(wanted)
    except ValueError:
        raise InvalidMessage(f"set_mode by {command.actor}: mode {wanted!r} is not observe, approve or auto") from None
    known = modes.by_pattern.get(pattern)
    if known is not None and command.issued_at < known.at:
        return modes
    chosen = SetMode(mode=mode, actor=command.actor, at=command.issued_at)
    return replace(modes, by_pattern={**modes.by_pattern, pattern: chosen})
