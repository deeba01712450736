"""How well the investigator ranks root causes on labelled failures: the product's own defaults, store to ranking.

    python tests/bench/rca_quality.py [--data FOLDER]

The folder holds `rca/` as described in its README (default: PARAMEDIC_BENCH_DATA, else ../shared/bench beside the
project). Every case is written into a fresh telemetry store and investigated as a live incident would be.
"""

import argparse
import os
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

PROJECT: Final = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(PROJECT))

from libs.contracts.codec import ns_from_utc  # noqa: E402  # the script must run from anywhere
from libs.contracts.document import Section  # noqa: E402
from libs.contracts.incident import IncidentChanged  # noqa: E402
from libs.contracts.investigation import InvestigationCompleted  # noqa: E402
from libs.service.settings import Settings  # noqa: E402
from libs.stores.sqlite_incidents import SqliteIncidentStore  # noqa: E402
from libs.stores.sqlite_telemetry import SqliteTelemetryStore  # noqa: E402
from services.investigator.gather import gather  # noqa: E402
from services.investigator.protocol import investigate  # noqa: E402
from services.investigator.ranking.fuse import suspects  # noqa: E402
from services.investigator.scene import LATER_LOOK_SPANS, Scene, scene_of  # noqa: E402
from tests.bench.rca_cases import RcaCase, nezha, petshop  # noqa: E402
from tests.bench.rca_incidents import EventCase, event_sets, root_cause_of, rootcausebench, ticket_of  # noqa: E402

# From the data's own README, measured on the same cases.
REFERENCES: Final = {
    "petshop": "own-excess + never-seen callee 1.000 / 1.000 / -",
    "trainticket": "fused metrics+traces+logs .826 / .957 / .957",
    "onlineboutique": "fused metrics+traces .889 / .889 / .889",
    "sockshop events": "nearest past incidents .758 / .850 / .883",
    "hotel events": "nearest past incidents .821 / .923 / .949",
}
WINDOW_S: Final = Settings.model_fields["window_s"].default


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """Where the label came in one case.

    Attributes:
        name: Case.
        place: From 1; a tie counts at its worst place, no answer as 1000.
        confidence: Of the first hypothesis.
        seconds: Of the investigation.
    """

    name: str
    place: int
    confidence: float
    seconds: float


@contextmanager
def stores() -> Iterator[tuple[SqliteTelemetryStore, SqliteIncidentStore]]:
    """Fresh stores in a temporary folder."""
    with tempfile.TemporaryDirectory(prefix="paramedic-rca-") as folder:
        telemetry = SqliteTelemetryStore(Path(folder) / "telemetry.sqlite")
        incidents = SqliteIncidentStore(Path(folder) / "incidents.sqlite")
        try:
            yield telemetry, incidents
        finally:
            telemetry.close()
            incidents.close()


def scene_for(ticket: IncidentChanged, telemetry: SqliteTelemetryStore, incidents: SqliteIncidentStore) -> Scene:
    """The scene of a later look, as the service makes it."""
    return scene_of(
        ticket,
        telemetry,
        incidents,
        as_of_ns=ns_from_utc(ticket.updated_at),
        window_s=WINDOW_S,
        most_spans=LATER_LOOK_SPANS,
    )


def place_of(label: str, scores: Sequence[tuple[str, float]]) -> int:
    """Place of the label, ties at their worst."""
    own = next((score for name, score in scores if name == label), None)
    if own is None:
        return 1000
    return sum(score >= own for _, score in scores)


def judge(case: RcaCase) -> Judged:
    """Write one case into a store, investigate and find the label."""
    with stores() as (telemetry, incidents):
        telemetry.write(metrics=case.metrics, spans=case.spans, logs=case.logs)
        began_s = time.perf_counter()
        ranked = suspects(gather(scene_for(ticket_of(case), telemetry, incidents)).evidence)
        seconds = time.perf_counter() - began_s
    place = place_of(case.label, [(suspect.service, suspect.score) for suspect in ranked])
    return Judged(name=case.name, place=place, confidence=ranked[0].confidence if ranked else 0.0, seconds=seconds)


def judge_events(root: Path, system: str) -> list[Judged]:
    """Rank by similar incidents only: the memory is the history, with the root causes that people confirmed."""
    with stores() as (telemetry, incidents):
        for past in event_sets(root, system, "history"):
            incidents.put(past.ticket.id, Section.INCIDENT, past.ticket)
            incidents.put(past.ticket.id, Section.ROOT_CAUSE, root_cause_of(past))
        return [_judge_event(case, telemetry, incidents) for case in event_sets(root, system, "eval")]


def _judge_event(case: EventCase, telemetry: SqliteTelemetryStore, incidents: SqliteIncidentStore) -> Judged:
    began_s = time.perf_counter()
    ranked = suspects(gather(scene_for(case.ticket, telemetry, incidents)).evidence)
    return Judged(
        name=case.ticket.id,
        place=place_of(case.label, [(suspect.service, suspect.score) for suspect in ranked]),
        confidence=ranked[0].confidence if ranked else 0.0,
        seconds=time.perf_counter() - began_s,
    )


def calibration_error(judged: Sequence[Judged]) -> float:
    """Expected calibration error of the first hypothesis, in [0, 1]: |share right - mean confidence| over ten bins.

    Source: Guo, Pleiss, Sun and Weinberger, "On Calibration of Modern Neural Networks", ICML 2017.
    """
    bins: dict[int, list[Judged]] = defaultdict(list)
    for case in judged:
        bins[min(int(case.confidence * 10), 9)].append(case)
    wrong_by = (abs(sum((case.place == 1) - case.confidence for case in inside)) for inside in bins.values())
    return sum(wrong_by) / len(judged)


def table(name: str, judged: Sequence[Judged], *, misses: bool) -> None:
    """Print one row, and the cases that missed."""
    cases = len(judged)
    hits = [sum(case.place <= k for case in judged) / cases for k in range(1, 6)]
    reciprocal = sum(1 / case.place for case in judged if case.place < 1000) / cases
    confidence = sum(case.confidence for case in judged) / cases
    print(
        f"{name:16} {cases:4} {hits[0]:6.3f} {hits[2]:6.3f} {hits[4]:6.3f} {sum(hits) / 5:6.3f} {reciprocal:6.3f} "
        f"{confidence:6.2f} {calibration_error(judged):6.3f} {max(case.seconds for case in judged):6.2f}s  "
        f"{REFERENCES.get(name, '')}",
        flush=True,
    )
    for case in judged:
        if misses and case.place > 1:
            print(f"    {case.name}: place {case.place}, first had {case.confidence:.2f}")


def judge_changes(root: Path, *, misses: bool) -> None:
    """Print how often the culprit commit (or none) is named, and how often a decoy is blamed."""
    exact = decoys = failing = total = 0
    for entry in rootcausebench(root):
        with stores() as (telemetry, incidents):
            telemetry.write(
                metrics=entry.case.metrics, spans=entry.case.spans, logs=entry.case.logs, changes=entry.changes
            )
            scene = scene_for(ticket_of(entry.case), telemetry, incidents)
            found = investigate(scene, revision=1, started_at=entry.case.as_of).completed
        blamed = _blamed(found, entry.commit_of)
        total += 1
        exact += blamed == entry.culprit
        decoys += blamed in entry.decoys
        failing += bool(found.hypotheses) and found.hypotheses[0].service == entry.case.label
        if misses and (blamed != entry.culprit or blamed in entry.decoys):
            first = found.hypotheses[0] if found.hypotheses else None
            said = f"{first.service} {first.kind} {first.confidence:.2f}" if first else "nothing"
            what = "decoy" if blamed in entry.decoys else "other"
            print(f"    {entry.case.name}: blamed {blamed[:10]} ({what}), culprit {entry.culprit[:10]}; first {said}")
    print(
        f"rootcausebench   {total:4}  culprit commit or none {exact}/{total}, decoy blamed {decoys}/{total}, "
        f"first failing service {failing}/{total}"
    )


def _blamed(found: InvestigationCompleted, commit_of: dict[str, str]) -> str:
    if not found.hypotheses or found.hypotheses[0].change_id is None:
        return "none"
    return commit_of.get(found.hypotheses[0].change_id, found.hypotheses[0].change_id)


def main(arguments: Iterable[str] | None = None) -> int:
    """Print the tables; 2 when the data is not there."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    default = os.environ.get("PARAMEDIC_BENCH_DATA", str(PROJECT.parent / "shared" / "bench"))
    parser.add_argument("--data", type=Path, default=Path(default), help="folder that holds rca/")
    parser.add_argument("--misses", action="store_true", help="name the cases that were missed")
    options = parser.parse_args(None if arguments is None else list(arguments))
    root = options.data / "rca"
    if not root.is_dir():
        print(f"no labelled failures at {root}: name their folder with --data or PARAMEDIC_BENCH_DATA", file=sys.stderr)
        return 2
    print("set              case   AC@1   AC@3   AC@5  Avg@5    MRR   conf    ECE     max  reference on the same cases")
    everything = [judge(case) for case in petshop(root)]
    table("petshop", everything, misses=options.misses)
    for system in ("trainticket", "onlineboutique"):
        judged = [judge(case) for case in nezha(root, system)]
        table(system, judged, misses=options.misses)
        everything += judged
    print(f"                 expected calibration error of these {len(everything)} {calibration_error(everything):.3f}")
    for system in ("sockshop", "hotel"):
        table(f"{system} events", judge_events(root, system), misses=False)
    judge_changes(root, misses=options.misses)
    return 0


if __name__ == "__main__":
    sys.exit(main())
