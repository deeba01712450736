"""Root causes through the whole path: labelled failures written as OTLP recordings, replayed, and the tickets judged.

Where rca_quality.py hands the ranker the alert, here Paramedic has to notice by itself: recording -> intake -> recorder
-> detector -> ticketing -> investigator, at the product's own defaults. Run: make bench-replay
"""

import argparse
import dataclasses
import os
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from libs.contracts.columns import pack_float64, pack_int32, pack_int64, unpack_float64, unpack_int32, unpack_int64
from libs.contracts.document import IncidentDocument
from libs.contracts.telemetry import MetricBatch
from libs.service.settings import Settings
from paramedic.replay import replay
from services.intake.recording import to_line
from tests.bench.rca_cases import RcaCase, nezha, petshop

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


def rank_of(label: str, documents: tuple[IncidentDocument, ...], case: RcaCase) -> int | None:
    """Worst place of the label in the hypotheses of the first ticket opened after the onset; None when absent."""
    for document in documents:
        if document.incident.opened_at < case.started_at or document.investigation is None:
            continue
        ranked: list[str] = []
        for hypothesis in document.investigation.hypotheses:
            if hypothesis.service not in ranked:
                ranked.append(hypothesis.service)
        return ranked.index(label) + 1 if label in ranked else None
    return None


def judge(name: str, cases: Iterator[RcaCase], limit: int, verbose: bool) -> tuple[str, ...]:
    """One row of the table: cases, with a ticket, early tickets, AC@1, AC@3, AC@5, seconds."""
    began_s = time.monotonic()
    ranks: list[int | None] = []
    ticketed = early = 0
    for case in cases:
        if len(ranks) >= limit:
            break
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "case.jsonl"
            write_recording(case, path)
            documents = replay([path], Settings(data_dir=Path(folder))).documents
        late = [d for d in documents if d.incident.opened_at >= case.started_at]
        ticketed += bool(late)
        early += len(documents) - len(late)
        ranks.append(rank_of(case.label, documents, case))
        if verbose:
            tickets = f"{len(late)} tickets, {len(documents) - len(late)} early"
            console.print(f"{name} {case.name}: label {case.label} rank {ranks[-1]}, {tickets}")
    share = [f"{sum(1 for r in ranks if r is not None and r <= k) / len(ranks):.3f}" for k in (1, 3, 5)]
    return (name, str(len(ranks)), str(ticketed), str(early), *share, f"{time.monotonic() - began_s:.0f}")


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("PARAMEDIC_BENCH_DATA", DEFAULT_DATA)))
    parser.add_argument("--limit", type=int, default=10_000, help="Most cases per set")
    parser.add_argument("--set", choices=["petshop", "trainticket", "onlineboutique"], action="append")
    parser.add_argument("--verbose", action="store_true")
    told = parser.parse_args()
    root = told.data / "rca"
    if not root.is_dir():
        console.print(f"no labelled data in {root}: set PARAMEDIC_BENCH_DATA or --data")
        return
    table = Table("set", "cases", "with a ticket", "early tickets", "AC@1", "AC@3", "AC@5", "seconds")
    for name in told.set or ["petshop", "trainticket", "onlineboutique"]:
        cases = petshop(root) if name == "petshop" else nezha(root, name)
        table.add_row(*judge(name, cases, told.limit, told.verbose))
    console.print(table)


if __name__ == "__main__":
    main()
