"""False alarms beside recall: normal operation and labelled incidents through the real detector path.

Normal operation of PetShop (5-minute metrics of 80 components at two levels of traffic) is written as intake would
write it and judged by the detector with its defaults; every episode of at least MEDIUM severity in it is a false alarm.
A ticket is what the whole path makes of them: episodes of neighbouring services within its correlation time are one.

The labelled incidents then follow the same normal operation, once at once and once after a month without telemetry
(they were recorded months apart). An incident is detected when an episode of at least MEDIUM severity opens on the root
cause or on a component that calls it, directly or through others. Run: make bench-alarms
"""

import argparse
import dataclasses
import json
import os
import tempfile
import zlib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Final

from rich.console import Console
from rich.table import Table

from libs.contracts.anomaly import AnomalyDetected
from libs.contracts.codec import Codec, utc_from_ns
from libs.contracts.columns import pack_int64, unpack_int64
from libs.contracts.telemetry import MetricBatch
from libs.contracts.topics import TELEMETRY_METRICS, topics
from libs.observability.log import Logger
from libs.observability.metrics import ServiceMetrics
from libs.service.platform import Platform
from libs.service.settings import Settings
from libs.streaming.broker import TopicPartition
from libs.streaming.handler import Emit, Event
from paramedic.replay import replay
from services.detector.finding import SEVERITY_RANK
from services.detector.handler import DetectorHandler
from services.detector.service import handler
from services.intake.recording import to_line
from tests.bench.rca_cases import PETSHOP_STEP_S, RcaCase, petshop
from tests.bench.replay_quality import by_time

DEFAULT_DATA = Path(__file__).resolve().parents[3] / "shared" / "bench"
_MONTH_NS: Final = 30 * 86_400 * 1_000_000_000
_MEDIUM: Final = 1
Rows = list[tuple[int, MetricBatch]]
console = Console()


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """One level of traffic.

    Attributes:
        name: Its folder.
        normal: Batches of normal operation, one per component and moment, in order of time.
        cases: The labelled incidents that follow it.
        callers: Components that call a component, directly or through others, and itself.
    """

    name: str
    normal: Rows
    cases: Sequence[tuple[RcaCase, Rows]]
    callers: Mapping[str, frozenset[str]]

    @property
    def service_days(self) -> float:
        """Days of normal operation summed over components."""
        return len({(at, batch.service) for at, batch in self.normal}) * PETSHOP_STEP_S / 86_400


def scenarios(root: Path) -> Iterator[Scenario]:
    """Both levels of traffic."""
    by_name: dict[str, list[RcaCase]] = {}
    for case in petshop(root):
        by_name.setdefault(case.name.split("-")[1], []).append(case)
    for name, cases in sorted(by_name.items()):
        onset_ns = min(int(case.as_of.timestamp() * 1e9) for case in cases) - 4 * PETSHOP_STEP_S * 1_000_000_000
        rows = {case.name: in_order(case.metrics) for case in cases}
        edges = json.loads((root / "petshop" / name / "call_graph.json").read_text())["edges"]
        yield Scenario(
            name=name,
            normal=[row for row in rows[cases[0].name] if row[0] < onset_ns],
            cases=[(case, [row for row in rows[case.name] if row[0] >= onset_ns]) for case in cases],
            callers=callers_of(edges),
        )


def in_order(batches: Sequence[MetricBatch]) -> Rows:
    """One batch per component and moment, observed a second after it, in order of time."""
    parts = [part for batch in batches for part in by_time(batch)]
    return sorted(
        ((at, dataclasses.replace(part, observed_at=utc_from_ns(at + 1_000_000_000))) for at, part in parts),
        key=lambda row: (row[0], row[1].service),
    )


def callers_of(edges: Sequence[Sequence[str]]) -> dict[str, frozenset[str]]:
    """The components on a path of calls that ends in a component."""
    direct: dict[str, set[str]] = {}
    for caller, callee in edges:
        direct.setdefault(callee, set()).add(caller)
    found = {}
    for name in {end for edge in edges for end in edge}:
        reached, open_ends = {name}, [name]
        while open_ends:
            new = direct.get(open_ends.pop(), set()) - reached
            reached |= new
            open_ends.extend(new)
        found[name] = frozenset(reached)
    return found


def later(rows: Rows, by_ns: int) -> Rows:
    """The same rows at a later time."""
    return [
        (
            at + by_ns,
            dataclasses.replace(
                batch,
                observed_at=utc_from_ns(at + by_ns + 1_000_000_000),
                timestamps=pack_int64(unpack_int64(batch.timestamps, "timestamps") + by_ns),
            ),
        )
        for at, batch in rows
    ]


class Player:
    """The detector with its defaults, fed as a broker would feed it."""

    def __init__(self) -> None:
        settings = Settings(_env_file=None)  # type: ignore[call-arg]  # pydantic's own argument
        self._platform = Platform(
            service="detector",
            settings=settings,
            log=Logger("detector", level="error"),
            metrics=ServiceMetrics(),
            codec=Codec(),
        )
        self._settings = settings
        self._detector: DetectorHandler = handler(settings, self._platform)
        self._offsets: Counter[TopicPartition] = Counter()

    def play(self, rows: Rows) -> list[AnomalyDetected]:
        """Judge rows in order; what it says of them."""
        said: list[AnomalyDetected] = []
        for at, batch in rows:
            said += _anomalies(self._detector.tick(utc_from_ns(at)))
            place = (TELEMETRY_METRICS, zlib.crc32(batch.service.encode()) % topics()[TELEMETRY_METRICS].partitions)
            event = Event(
                topic=place[0], partition=place[1], offset=self._offsets[place], key=batch.service, record=batch
            )
            self._offsets[place] += 1
            said += _anomalies(self._detector.handle([event]))
        return said

    def fork(self) -> "Player":
        """Another detector that knows what this one has learned, through snapshots as after a restart."""
        other = Player()
        for place in self._detector.places():
            taken = self._detector.snapshot(place)
            assert taken is not None
            other._detector.restore(place, taken[1], keep_offset=True)
        other._offsets = Counter(self._offsets)
        return other


def _anomalies(emits: Sequence[Emit]) -> list[AnomalyDetected]:
    return [emit.record for emit in emits if isinstance(emit.record, AnomalyDetected)]


def episodes(said: Sequence[AnomalyDetected]) -> list[AnomalyDetected]:
    """Episodes of at least MEDIUM severity, as they were when they became so."""
    first: dict[str, AnomalyDetected] = {}
    for anomaly in said:
        if SEVERITY_RANK[anomaly.severity] >= _MEDIUM:
            first.setdefault(anomaly.id, anomaly)
    return list(first.values())


def tickets(rows: Rows) -> int:
    """Tickets that the whole path opens on them."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "normal.jsonl"
        path.write_text("".join(to_line(batch) + "\n" for _, batch in rows))
        return len(replay([path], Settings(data_dir=Path(folder))).documents)


@dataclass(frozen=True, slots=True, kw_only=True)
class Recall:
    """How incidents of one scenario were detected.

    Attributes:
        cases: How many there were.
        delays_s: Seconds from the beginning of the first bad row to detection, of those that were.
        on_root: How many were detected on the root cause itself.
        missed: The others.
        early: Episodes opened in the rows before the onset.
    """

    cases: int
    delays_s: Sequence[float]
    on_root: int
    missed: Sequence[str]
    early: int


def recall(scenario: Scenario, learned: Player, gap_ns: int) -> Recall:
    """Play every incident after normal operation."""
    delays, on_root, missed, early = [], 0, [], 0
    for case, rows in scenario.cases:
        said = episodes(learned.fork().play(later(rows, gap_ns)))
        onset_s = case.started_at.timestamp() + gap_ns / 1e9
        early += sum(a.detected_at.timestamp() < onset_s for a in said)
        path = scenario.callers.get(case.label, frozenset({case.label}))
        hits = [a for a in said if a.service in path and a.detected_at.timestamp() >= onset_s]
        on_root += any(a.service == case.label for a in hits)
        if hits:
            delays.append(min(a.detected_at.timestamp() for a in hits) - onset_s)
        else:
            missed.append(case.name)
    return Recall(cases=len(scenario.cases), delays_s=delays, on_root=on_root, missed=missed, early=early)


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("PARAMEDIC_BENCH_DATA", DEFAULT_DATA)))
    parser.add_argument("--no-tickets", action="store_true", help="Only the detector: ten times as fast")
    parser.add_argument("--verbose", action="store_true", help="Name every false alarm and every missed incident")
    told = parser.parse_args()
    root = told.data / "rca"
    if not root.is_dir():
        console.print(f"no labelled data in {root}: set PARAMEDIC_BENCH_DATA or --data")
        return
    quiet = Table("normal operation", "service-days", "MEDIUM+ episodes", "a service-day", "tickets", "by detector")
    found = Table("incidents", "gap", "cases", "detected", "on the root cause", "median delay (s)", "early episodes")
    for scenario in scenarios(root):
        player = Player()
        alarms = episodes(player.play(scenario.normal))
        days = scenario.service_days
        opened = "-" if told.no_tickets else f"{(count := tickets(scenario.normal))} ({count / days:.3f} a service-day)"
        causes = ", ".join(f"{name} {count}" for name, count in Counter(a.detector for a in alarms).most_common())
        quiet.add_row(scenario.name, f"{days:.0f}", str(len(alarms)), f"{len(alarms) / days:.2f}", opened, causes)
        for gap, gap_ns in (("none", 0), ("a month", _MONTH_NS)):
            result = recall(scenario, player, gap_ns)
            found.add_row(
                scenario.name,
                gap,
                str(result.cases),
                str(len(result.delays_s)),
                str(result.on_root),
                f"{median(result.delays_s):.0f}" if result.delays_s else "-",
                str(result.early),
            )
            if told.verbose:
                console.print(f"{scenario.name}, gap {gap}: missed {', '.join(result.missed) or 'none'}")
        if told.verbose:
            for anomaly in alarms:
                console.print(
                    f"{anomaly.detected_at:%d %H:%M} {anomaly.detector} {anomaly.severity}: {anomaly.explanation}"
                )
    console.print(quiet)
    console.print(found)


if __name__ == "__main__":
    main()
