"""Root causes through the whole path: labelled failures written as OTLP recordings, replayed, and the tickets judged.

Where rca_quality.py hands the ranker the alert, here Paramedic has to notice by itself: recording -> intake -> recorder
-> detector -> ticketing -> investigator, at the product's own defaults. Run: make bench-replay
"""

import argparse
import dataclasses
import itertools
import os
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from libs.contracts.anomaly import Severity
from libs.contracts.columns import pack_float64, pack_int32, pack_int64, unpack_float64, unpack_int32, unpack_int64
from libs.contracts.document import IncidentDocument
from libs.contracts.incident import OPEN_STATES
from libs.contracts.investigation import Hypothesis
from libs.contracts.telemetry import MetricBatch
from libs.service.settings import Settings
from paramedic.replay import replay
from services.intake.recording import to_line
from tests.bench.rca_cases import RcaCase, nezha, ns, petshop

DEFAULT_DATA = Path(__file__).resolve().parents[3] / "shared" / "bench"
console = Console()


def write_recording(case: RcaCase, path: Path) -> None:
    """One line per service and timestamp of metrics, then spans and logs as they are; sorted by time."""
    timed: list[tuple[int, str]] = []
    for batch in case.metrics:
        timed.extend((at, to_line(part)) for at, part in by_time(batch))
    for spans in case.spans:
        ends = unpack_int64(spans.starts, "starts") + unpack_int64(spans.durations, "durations")
        timed.append((int(ends.max()), to_line(spans)))
    timed.extend((int(unpack_int64(logs.timestamps, "timestamps").max()), to_line(logs)) for logs in case.logs)
    timed.sort(key=lambda entry: entry[0])
    path.write_text("".join(line + "\n" for _, line in timed))


def since(batch: MetricBatch, least_ns: int) -> MetricBatch:
    """The points of a batch from a moment on."""
    times = unpack_int64(batch.timestamps, "timestamps")
    kept = times >= least_ns
    return dataclasses.replace(
        batch,
        series_index=pack_int32(unpack_int32(batch.series_index, "series_index")[kept]),
        timestamps=pack_int64(times[kept]),
        values=pack_float64(unpack_float64(batch.values, "values")[kept]),
    )


def by_time(batch: MetricBatch) -> Iterator[tuple[int, MetricBatch]]:
    """A batch cut into one batch per timestamp."""
    times = unpack_int64(batch.timestamps, "timestamps")
    index, values = unpack_int32(batch.series_index, "series_index"), unpack_float64(batch.values, "values")
    for at in np.unique(times):
        mask = times == at
        yield (
            int(at),
            dataclasses.replace(
                batch,
                series_index=pack_int32(index[mask]),
                timestamps=pack_int64(times[mask]),
                values=pack_float64(values[mask]),
            ),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What a replay made of one labelled failure.

    Attributes:
        name: The case.
        label: The faulty component.
        opened_after_s: From the onset to the first ticket after it, seconds; None without one.
        services: Services on that ticket.
        rank: Place of the label among the services of its hypotheses; None when absent.
        first: Service and kind of the first hypothesis.
        confidence: Its confidence.
        tickets: Tickets opened after the onset.
        early: Tickets opened before it: false ones.
        early_open: Of these, still open at the end.
        taken_by: The newest early ticket that took in an anomaly which began after the onset, with what it came to
            think of first; "" for none.
        taken_right: Whether that is the label.
        lines: A line per ticket of the last hour before the onset and after it.
        normal_hours: Recorded time before the onset.
        cpu_s: Processor time of the replay, seconds.
        wall_s: Wall time of the replay, seconds.
    """

    name: str
    label: str
    opened_after_s: float | None
    services: tuple[str, ...]
    rank: int | None
    first: str
    confidence: float
    tickets: int
    early: int
    early_open: int
    taken_by: str
    taken_right: bool
    lines: tuple[str, ...]
    normal_hours: float
    cpu_s: float
    wall_s: float


def outcome_of(case: RcaCase) -> Outcome:
    """Write a case as a recording, replay it, and look at the first ticket opened after the onset."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "case.jsonl"
        write_recording(case, path)
        began_s, cpu_began_s = time.monotonic(), time.process_time()
        documents = replay([path], Settings(data_dir=Path(folder))).documents
        wall_s, cpu_s = time.monotonic() - began_s, time.process_time() - cpu_began_s
    late = [document for document in documents if document.incident.opened_at >= case.started_at]
    early = [document for document in documents if document.incident.opened_at < case.started_at]
    judged = late[0] if late else None
    taking = next((document for document in reversed(early) if took_failure(document, case.started_at)), None)
    hypotheses = hypotheses_of(judged)
    ranked = list(dict.fromkeys(hypothesis.service for hypothesis in hypotheses))
    return Outcome(
        name=case.name,
        label=case.label,
        opened_after_s=(judged.incident.opened_at - case.started_at).total_seconds() if judged else None,
        services=judged.incident.services if judged else (),
        rank=ranked.index(case.label) + 1 if case.label in ranked else None,
        first=f"{hypotheses[0].service}: {hypotheses[0].kind}" if hypotheses else "",
        confidence=hypotheses[0].confidence if hypotheses else 0.0,
        tickets=len(late),
        early=len(early),
        early_open=sum(document.incident.state in OPEN_STATES for document in early),
        taken_by=ticket_line(taking, case.started_at) if taking else "",
        taken_right=bool(hypotheses_of(taking)) and hypotheses_of(taking)[0].service == case.label,
        lines=tuple(
            ticket_line(document, case.started_at)
            for document in documents
            if document.incident.opened_at >= case.started_at - timedelta(hours=1)
        ),
        normal_hours=normal_hours(case),
        cpu_s=cpu_s,
        wall_s=wall_s,
    )


def hypotheses_of(document: IncidentDocument | None) -> tuple[Hypothesis, ...]:
    """The ranked hypotheses of a ticket."""
    return document.investigation.hypotheses if document and document.investigation else ()


def took_failure(document: IncidentDocument, onset: datetime) -> bool:
    """Whether a ticket holds an anomaly above low that began at the onset or later."""
    return any(a.started_at >= onset and a.severity is not Severity.LOW for a in document.incident.anomalies)


def ticket_line(document: IncidentDocument, onset: datetime) -> str:
    """A ticket in a line: when it opened, why, and what it came to think of first."""
    incident, found = document.incident, hypotheses_of(document)
    first = f"{found[0].service}: {found[0].kind} ({found[0].confidence:.2f})" if found else "none"
    opened_s = (incident.opened_at - onset).total_seconds()
    return f"{opened_s:+.0f} s {incident.state} {incident.title}; first {first}"


def normal_hours(case: RcaCase) -> float:
    """Hours of metrics before the onset."""
    first_ns = min(int(unpack_int64(batch.timestamps, "timestamps").min()) for batch in case.metrics)
    return (ns(case.started_at) - first_ns) / 3600e9


def told(outcome: Outcome) -> str:
    """One line about a case."""
    opened = f"ticket after {outcome.opened_after_s:.0f} s" if outcome.opened_after_s is not None else "no ticket"
    return "; ".join(
        (
            f"{outcome.name}: label {outcome.label}",
            f"{opened} on [{', '.join(outcome.services)}]",
            f"rank {outcome.rank}, first {outcome.first or 'none'} ({outcome.confidence:.2f})",
            f"{outcome.tickets} tickets, {outcome.early} false in {outcome.normal_hours:.1f} h",
            f"{outcome.early_open} of these still open",
            f"failure taken by the ticket of {outcome.taken_by}" if outcome.taken_by else "taken by no earlier ticket",
            f"{outcome.cpu_s:.1f} s cpu, {outcome.wall_s:.1f} s wall",
        )
    )


def summary(name: str, outcomes: Sequence[Outcome]) -> tuple[str, ...]:
    """One row of the table."""
    ticketed = [outcome for outcome in outcomes if outcome.opened_after_s is not None]
    waits = [outcome.opened_after_s for outcome in ticketed if outcome.opened_after_s is not None]
    count = max(1, len(outcomes))
    share = [f"{sum(1 for o in outcomes if o.rank is not None and o.rank <= k) / count:.3f}" for k in (1, 3, 5)]
    return (
        name,
        str(len(outcomes)),
        str(len(ticketed)),
        f"{np.median(waits):.0f}" if waits else "-",
        f"{sum(outcome.tickets for outcome in ticketed) / max(1, len(ticketed)):.1f}",
        f"{sum(o.early for o in outcomes) / max(1e-9, sum(o.normal_hours for o in outcomes)):.2f}",
        *share,
        str(sum(o.opened_after_s is None and o.taken_right for o in outcomes)),
        f"{np.median([outcome.cpu_s for outcome in outcomes]):.1f}" if outcomes else "-",
        f"{max((outcome.wall_s for outcome in outcomes), default=0.0):.1f}",
    )


def main() -> None:
    """Print a line per case and a table of the sets."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("PARAMEDIC_BENCH_DATA", DEFAULT_DATA)))
    parser.add_argument("--every", type=int, default=1, help="Play every n-th case of a set only")
    parser.add_argument("--tickets", action="store_true", help="List every ticket from an hour before the onset on")
    parser.add_argument("--normal-hours", type=float, default=24.0 * 7, help="Most normal operation before the onset")
    parser.add_argument("--set", choices=["petshop", "trainticket", "onlineboutique"], action="append")
    options = parser.parse_args()
    root = options.data / "rca"
    if not root.is_dir():
        console.print(f"no labelled data in {root}: set PARAMEDIC_BENCH_DATA or --data")
        return
    table = Table(
        "set", "cases", "with a ticket", "median s to it", "tickets a case", "false an hour", "AC@1", "AC@3", "AC@5",
        "right in an earlier ticket", "median cpu s", "worst wall s",
    )  # fmt: skip
    for name in options.set or ["petshop", "trainticket", "onlineboutique"]:
        cases = petshop(root) if name == "petshop" else nezha(root, name)
        outcomes = []
        for case in itertools.islice(cases, 0, None, options.every):
            since_ns = ns(case.started_at) - int(options.normal_hours * 3600e9)
            outcomes.append(outcome_of(dataclasses.replace(case, metrics=[since(b, since_ns) for b in case.metrics])))
            lines = outcomes[-1].lines if options.tickets else ()
            console.print("\n    ".join((f"{name} {told(outcomes[-1])}", *lines)), soft_wrap=True, markup=False)
        table.add_row(*summary(name, outcomes))
    console.print(table)


if __name__ == "__main__":
    main()
