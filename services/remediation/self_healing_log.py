"""The self-healing log: one JSON line per state of a run, which proves what was detected, fixed, deployed and verified.

A line's id derives from run and version, so a state that is told again after a kill is not written again.
"""

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from libs.contracts.remediation import RemediationChanged
from libs.errors import Unavailable
from services.remediation.run import line_id

# A restart repeats at most the states that were not published yet, some hundred lines of about 1 kB.
_TAIL_BYTES: Final = 1_048_576


class SelfHealingLog:
    """Appends to one file; a single writer.

    Args:
        path: The file; it and its folder are created with the first line.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._known: set[str] | None = None

    def write(self, number: str, changes: Sequence[RemediationChanged]) -> None:
        """Append the states that are not in the log yet; `Unavailable` when the file cannot be written.

        Args:
            number: Number of the incident, for people.
            changes: States of runs, oldest first.
        """
        try:
            known = self._read_known()
            fresh = [change for change in changes if line_id(change.id, change.version) not in known]
            if not fresh:
                return
            self._append([_line(number, change) for change in fresh])
        except OSError as error:
            self._known = None
            raise Unavailable(f"self-healing log {self._path}: {error}") from error
        known.update(line_id(change.id, change.version) for change in fresh)

    def _read_known(self) -> set[str]:
        if self._known is None:
            self._known = set()
            if self._path.exists():
                with self._path.open("rb") as file:
                    file.seek(max(0, self._path.stat().st_size - _TAIL_BYTES))
                    self._known = {_id_of(line) for line in file.read().splitlines()}
        return self._known

    def _append(self, lines: Sequence[dict[str, Any]]) -> None:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        text = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines).encode("utf-8", "replace")
        descriptor = os.open(self._path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o644)
        try:
            size = os.fstat(descriptor).st_size
            if size and os.pread(descriptor, 1, size - 1) != b"\n":
                text = b"\n" + text  # a kill cut the last line short
            while text:
                text = text[os.write(descriptor, text) :]
        finally:
            os.close(descriptor)


def _line(number: str, change: RemediationChanged) -> dict[str, Any]:
    step = change.steps[-1] if change.steps else None
    return {
        "id": line_id(change.id, change.version),
        "time": change.updated_at.isoformat(),
        "incident": change.incident_id,
        "number": number,
        "run": change.id,
        "version": change.version,
        "pattern": change.pattern,
        "mode": change.mode.value,
        "action": change.action,
        "target": change.target,
        "parameters": dict(change.parameters),
        "state": change.state.value,
        "step": step.name if step else "",
        "step_status": step.status if step else "",
        "detection": change.detection,
        "fix": change.fix,
        "deploy": change.deploy,
        "verification": change.verification,
        "applied_at": change.applied_at.isoformat() if change.applied_at else None,
        "human_involved": change.human_involved,
        "recurred": change.recurred,
        "actor": change.actor,
        "reason": change.reason,
    }


def _id_of(line: bytes) -> str:
    try:
        fields = json.loads(line)
    except ValueError:
        return ""
    return str(fields.get("id", "")) if isinstance(fields, dict) else ""
