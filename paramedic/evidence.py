"""Write what an auditor reads: the logs, every incident whole, the scorecard, and checks that they agree."""

import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from libs.contracts.codec import from_json, to_json
from libs.contracts.document import IncidentDocument
from libs.contracts.recommendation import STATE_PREFIX, CodeChangeRecommended
from libs.contracts.remediation import FINAL_STATES, Mode, RemediationChanged, RunState
from libs.errors import ConfigurationError, InvalidMessage
from libs.runbooks.scorecard import PatternScore, Scorecard, scorecard
from libs.stores.incidents import IncidentQuery, IncidentStore

MANIFEST: Final = "SHA256SUMS"
_PAGE: Final = 500
_SHOWN: Final = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Sources:
    """Where the evidence comes from.

    Attributes:
        incidents: The incident store.
        logs_dir: Folder with tickets.jsonl and self_healing.jsonl.
        recommendations_file: Configuration of the recommender, if one is set.
        now: When the evidence is written.
    """

    incidents: IncidentStore
    logs_dir: Path
    recommendations_file: Path | None
    now: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One statement about the evidence.

    Attributes:
        name: What must hold.
        holds: Whether it does.
        detail: Figures, and what contradicts it.
    """

    name: str
    holds: bool
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class EvidenceWritten:
    """What was written.

    Attributes:
        folder: Where.
        files: Name -> size in bytes.
        counts: Incidents, runs, recommendations and lines of the logs.
        checks: Whether log and store agree.
    """

    folder: Path
    files: Mapping[str, int]
    counts: Mapping[str, int]
    checks: tuple[Check, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Log:
    content: bytes
    lines: tuple[Mapping[str, Any], ...]
    unreadable: int


def write_evidence(folder: Path, sources: Sources) -> EvidenceWritten:
    """Write the files; the same state gives the same files but for the time in README.md.

    Raises:
        ConfigurationError: the folder holds something else.
        Unavailable: the store cannot be reached.
    """
    _claim(folder)
    tickets, healing = (_read_log(sources.logs_dir / name) for name in ("tickets.jsonl", "self_healing.jsonl"))
    documents = list(_documents(sources.incidents))
    runs = [run for document in documents for run in document.remediation]
    recommendations = _recommendations(sources.incidents)
    card = scorecard(runs)
    checks = tuple(_checks(documents, tickets, runs, healing))
    counts = {
        "incidents": len(documents),
        "ticket_log_lines": len(tickets.lines),
        "remediation_runs": len(runs),
        "self_healing_log_lines": len(healing.lines),
        "recommendations": len(recommendations),
    }
    files = {
        "tickets.jsonl": tickets.content,
        "self_healing.jsonl": healing.content,
        "incidents.jsonl": _json_lines(documents),
        "recommendations.jsonl": _json_lines(recommendations),
        "recommendations.toml": _configuration(sources.recommendations_file),
        "scorecard.json": to_json(card) + b"\n",
        "scorecard.md": scorecard_text(card).encode(),
        "checks.json": json.dumps([_as_dict(check) for check in checks], indent=2).encode() + b"\n",
        "README.md": _readme(sources.now, counts, checks).encode(),
    }
    files[MANIFEST] = "".join(f"{hashlib.sha256(body).hexdigest()}  {name}\n" for name, body in files.items()).encode()
    for name, body in files.items():
        _write(folder / name, body)
    sizes = {name: len(body) for name, body in files.items()}
    return EvidenceWritten(folder=folder, files=sizes, counts=counts, checks=checks)


def _claim(folder: Path) -> None:
    """Make the folder, or take one that an earlier run has written."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        taken = any(folder.iterdir()) and not (folder / MANIFEST).exists()
    except OSError as error:
        raise ConfigurationError(f"{folder} cannot be written to ({error.strerror}); name another folder") from error
    if taken:
        raise ConfigurationError(f"{folder} holds other files; name a new folder, or one that `evidence` has written")


def _write(path: Path, body: bytes) -> None:
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.write_bytes(body)
    temporary.replace(path)


def _read_log(path: Path) -> _Log:
    """A log whole; a file that does not exist is an empty log."""
    content = path.read_bytes() if path.exists() else b""
    lines, unreadable = [], 0
    for line in content.splitlines():
        try:
            fields = json.loads(line)
        except ValueError:
            fields = None
        if isinstance(fields, dict):
            lines.append(fields)
        elif line.strip():
            unreadable += 1
    return _Log(content=content, lines=tuple(lines), unreadable=unreadable)


def _documents(store: IncidentStore) -> Iterator[IncidentDocument]:
    """Every incident whole, oldest first."""
    numbers: list[str] = []
    offset, total = 0, 1
    while offset < total:
        page = store.search(IncidentQuery(limit=_PAGE, offset=offset))
        total, offset = page.total, offset + _PAGE
        numbers.extend(incident.id for incident in page.incidents)
    for incident_id in reversed(numbers):
        document = store.get(incident_id)
        if document is not None:
            yield document


def _recommendations(store: IncidentStore) -> list[CodeChangeRecommended]:
    """Newest state of every recommendation, oldest first; an unreadable one is an error worth stopping for."""
    found = [from_json(state.value, CodeChangeRecommended) for state in store.states(STATE_PREFIX).values()]
    return sorted(found, key=lambda one: (one.recommended_at, one.id))


def _configuration(path: Path | None) -> bytes:
    if path is None:
        return b"# PARAMEDIC_RECOMMENDATIONS_FILE is not set: the recommender runs with its defaults.\n"
    try:
        return path.read_bytes()
    except OSError as error:
        raise ConfigurationError(f"PARAMEDIC_RECOMMENDATIONS_FILE={path}: {error.strerror}") from error


def _json_lines(records: Iterable[Any]) -> bytes:
    return b"".join(to_json(record) + b"\n" for record in records)


def _checks(
    documents: Sequence[IncidentDocument], tickets: _Log, runs: Sequence[RemediationChanged], healing: _Log
) -> Iterator[Check]:
    unreadable = tickets.unreadable + healing.unreadable
    yield Check(name="every line of the logs is readable", holds=not unreadable, detail=f"{unreadable} are not")
    opened = {str(line.get("incident")) for line in tickets.lines if line.get("change") == "opened"}
    missing = [d.incident.number for d in documents if d.incident.id not in opened]
    yield _all("every incident in the store was logged as opened, with a reason", len(documents), missing)
    known = {document.incident.id for document in documents}
    lost = sorted(opened - known)
    yield _all("every incident that was logged as opened is in the store", len(opened), lost)
    logged = {(str(line.get("run")), line.get("version")): line.get("state") for line in healing.lines}
    final = [run for run in runs if run.state in FINAL_STATES]
    untold = [run.id for run in final if logged.get((run.id, run.version)) != run.state.value]
    yield _all("every ended run in the store is in the self-healing log in its final state", len(final), untold)
    yield _same_score(runs, healing)


def _all(name: str, total: int, against: Sequence[str]) -> Check:
    shown = ", ".join(against[:_SHOWN]) + (f" and {len(against) - _SHOWN} more" if len(against) > _SHOWN else "")
    detail = f"{total - len(against)} of {total}" + (f"; not {shown}" if against else "")
    return Check(name=name, holds=not against, detail=detail)


def _same_score(runs: Sequence[RemediationChanged], healing: _Log) -> Check:
    """The success rate counted once more, from the log alone."""
    name = "the self-healing log alone gives the same success rate as the store"
    try:
        from_log = scorecard([_run_of(line) for line in healing.lines]).total
    except (InvalidMessage, KeyError, TypeError, ValueError) as error:
        return Check(name=name, holds=False, detail=f"a line of the log does not describe a run: {error}")
    from_store = scorecard(runs).total
    told, kept = (f"{score.successes} of {score.applied}" for score in (from_log, from_store))
    return Check(name=name, holds=told == kept, detail=f"log {told}, store {kept}")


def _run_of(line: Mapping[str, Any]) -> RemediationChanged:
    """What the scorecard needs of a run, from a line of the log."""
    applied, at = line["applied_at"], datetime.fromisoformat(line["time"])
    return RemediationChanged(
        id=line["run"],
        incident_id=line["incident"],
        pattern=line["pattern"],
        mode=Mode(line["mode"]),
        action=line["action"],
        target=line["target"],
        state=RunState(line["state"]),
        version=int(line["version"]),
        applied_at=datetime.fromisoformat(applied) if applied else None,
        human_involved=bool(line["human_involved"]),
        recurred=bool(line["recurred"]),
        requested_at=at,
        updated_at=at,
    )


def scorecard_text(card: Scorecard) -> str:
    """The scorecard as a Markdown table."""
    rows = [
        "# Self-healing success rate",
        "",
        "successes / automatic runs that applied a change; Wilson 95 % interval. A success: the triggering anomalies",
        "closed, the neighbours stayed healthy, nothing was rolled back, no human touched it, nothing came back within",
        "the hold. Counted apart: runs that a human approved, and runs that applied nothing.",
        "",
        "| pattern | rate | successes / applied | 95 % interval | approved by a human | not applied | running |",
        "|---|---|---|---|---|---|---|",
        *(_score_row(score) for score in (*card.patterns, card.total)),
        "",
        f"Incidents left to a human because no pattern is known: {card.without_pattern}.",
        "",
    ]
    return "\n".join(rows)


def _score_row(score: PatternScore) -> str:
    rate = "-" if score.rate is None else f"{score.rate:.1%}"
    interval = "-" if not score.applied else f"{score.interval_low:.1%}..{score.interval_high:.1%}"
    cells = (
        score.pattern or "**all**",
        rate,
        f"{score.successes} / {score.applied}",
        interval,
        score.approved_by_human,
        score.not_applied,
        score.in_progress,
    )
    return f"| {' | '.join(str(cell) for cell in cells)} |"


def _as_dict(check: Check) -> dict[str, Any]:
    return {"name": check.name, "holds": check.holds, "detail": check.detail}


def _readme(now: datetime, counts: Mapping[str, int], checks: Sequence[Check]) -> str:
    lines = [
        "# Evidence of Paramedic",
        "",
        f"Written {now.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC.",
        f"`sha256sum -c {MANIFEST}` proves that nothing changed since.",
        "",
        "| file | what it holds |",
        "|---|---|",
        "| tickets.jsonl | the ticket log as ticketing wrote it: each change of each ticket, when, by whom and why |",
        "| self_healing.jsonl | the self-healing log: each state of each run: detection, fix, deploy, verification |",
        "| incidents.jsonl | every incident whole: anomalies, context, investigation, runs, timeline |",
        "| recommendations.jsonl | newest state of each recommended code change, with evidence, diff and decision |",
        "| recommendations.toml | the configuration that they were found with |",
        "| scorecard.json, scorecard.md | the self-healing success rate per pattern, with its denominators |",
        "| checks.json | whether logs and store agree |",
        "",
        ", ".join(f"{count} {name.replace('_', ' ')}" for name, count in counts.items()) + ".",
        "",
        "| check | holds | detail |",
        "|---|---|---|",
        *(f"| {check.name} | {'yes' if check.holds else '**no**'} | {check.detail} |" for check in checks),
        "",
    ]
    return "\n".join(lines)
