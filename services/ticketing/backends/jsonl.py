"""The ticket log: one JSON line per change of a ticket, which proves what was opened, when and why.

Lines are appended with O_APPEND in one write each, before the change is told, so a ticket that anybody heard of is in
the log. A line's id derives from incident and version; a change that is carried out again is not written again.
"""

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from libs.contracts.command import Command
from libs.contracts.document import LinkedTicket
from libs.errors import Unavailable
from libs.service.settings import Settings
from services.ticketing.ticket import Change, audit_id

# What a restart can repeat is the last journal, at most some hundred changes of about 1 kB.
_TAIL_BYTES: Final = 1_048_576


class TicketLog:
    """Appends to one file.

    Args:
        path: The file; it and its folder are created with the first line.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._written: dict[str, None] | None = None

    def sync(self, change: Change) -> LinkedTicket | None:
        """Append one change."""
        self.write((change,))
        return None

    def write(self, changes: Sequence[Change]) -> None:
        """Append changes that are not in the log yet; `Unavailable` when the file cannot be written."""
        self._append([_change_line(change) for change in changes])

    def audit(self, command: Command, outcome: str) -> None:
        """Append a command that changed no ticket: one for another service, or one that was refused."""
        self._append(
            [
                {
                    "id": audit_id(command.id, outcome),
                    "time": command.issued_at.isoformat(),
                    "incident": "",
                    "number": "",
                    "change": f"command_{command.kind.value}",
                    "why": command.reason,
                    "target": command.target,
                    "outcome": outcome,
                    "anomaly_ids": [],
                    "actor": command.actor,
                    "command_id": command.id,
                }
            ]
        )

    def _append(self, lines: Sequence[Mapping[str, Any]]) -> None:
        if not lines:
            return
        try:
            known = self._known()
            fresh = [line for line in lines if line["id"] not in known]
            if not fresh:
                return
            text = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in fresh)
            self._write(text.encode("utf-8", "replace"))
        except OSError as error:
            self._written = None
            raise Unavailable(f"ticket log {self._path}: {error}") from error
        known.update(dict.fromkeys(line["id"] for line in fresh))
        while len(known) > 20_000:
            del known[next(iter(known))]

    def _write(self, text: bytes) -> None:
        descriptor = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        try:
            while text:
                text = text[os.write(descriptor, text) :]
        finally:
            os.close(descriptor)

    def _known(self) -> dict[str, None]:
        """Ids of the newest lines; a line that a kill cut off is ended, so that the next one stands alone."""
        if self._written is not None:
            return self._written
        self._path.parent.mkdir(parents=True, exist_ok=True)
        written: dict[str, None] = {}
        if self._path.exists():
            with self._path.open("rb") as file:
                size = file.seek(0, os.SEEK_END)
                file.seek(max(0, size - _TAIL_BYTES))
                tail = file.read()
            for line in tail.split(b"\n"):
                try:
                    written[str(json.loads(line)["id"])] = None
                except (ValueError, KeyError, TypeError):
                    continue  # the first line of the tail and a line cut off by a kill
            if tail and not tail.endswith(b"\n"):
                self._write(b"\n")
        self._written = written
        return written


def _change_line(change: Change) -> dict[str, Any]:
    core = change.core
    return {
        "id": change.id,
        "time": core.updated_at.isoformat(),
        "observed_at": core.observed_at.isoformat(),
        "incident": core.id,
        "number": core.number,
        "version": core.version,
        "change": core.change.value,
        "state": core.state.value,
        "priority": core.priority.value,
        "title": core.title,
        "services": list(core.services),
        "opened_at": core.opened_at.isoformat(),
        "why": change.why,
        "anomaly_ids": list(change.anomaly_ids),
        "actor": change.actor,
    }


def open_backend(settings: Settings) -> TicketLog:
    """The ticket log in the data folder; it is always kept."""
    return TicketLog(settings.data_dir / "logs" / "tickets.jsonl")
