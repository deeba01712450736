"""What past incidents alone tell about the cause of the next one, cross-validated on a history of known causes.

    python -m tests.bench.rca_history [--data FOLDER] [--repeats 2]

The judged half of the labelled event sets is small (39 incidents of one system); the incidents that serve as its memory
are not judged there, so decisions about history are taken on them: each is investigated with the others as the past,
through the store and with the product's own defaults. The rows of the judged half follow for comparison.
"""

import argparse
import os
import random
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Final

from libs.contracts.document import Section
from services.investigator.evidence import Evidence
from services.investigator.gather import gather
from services.investigator.ranking.fuse import suspects
from services.investigator.ranking.history import history, kind_votes
from tests.bench.rca_incidents import EventCase, event_sets, root_cause_of
from tests.bench.rca_quality import PROJECT, place_of, scene_for, stores

FOLDS: Final = 5
SEED: Final = 7
# "nearest past incidents" of the data's own README, measured on the judged half: HR@1 / 3 / 5 and fault type accuracy.
REFERENCES: Final = {"sockshop": ".758 / .850 / .883, kind .542", "hotel": ".821 / .923 / .949, kind .795"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """What was said about one incident.

    Attributes:
        place: Of the label among the suspects, from 1; a tie counts at its worst, no answer as 1000.
        kind: The kind that leads for the first suspect, "" when nothing is known.
        label: What people called it.
    """

    place: int
    kind: str
    label: str


def splits(cases: Sequence[EventCase], repeats: int) -> Iterator[tuple[list[EventCase], list[EventCase]]]:
    """Past and judged incidents: every fifth of a shuffled history in turn."""
    for repeat in range(repeats):
        order = list(cases)
        random.Random(SEED + repeat).shuffle(order)
        for fold in range(FOLDS):
            judged = order[fold::FOLDS]
            yield [case for place, case in enumerate(order) if place % FOLDS != fold], judged


def judge(past: Sequence[EventCase], judged: Iterable[EventCase]) -> list[tuple[Told, Told]]:
    """What the seven most similar incidents say alone, and what all of the past says, for each judged incident."""
    with stores() as (telemetry, incidents):
        for case in past:
            incidents.put(case.ticket.id, Section.INCIDENT, case.ticket)
            incidents.put(case.ticket.id, Section.ROOT_CAUSE, root_cause_of(case))
        told = []
        for case in judged:
            at = case.ticket.opened_at + timedelta(days=800)  # after the whole past
            ticket = replace(case.ticket, started_at=at, opened_at=at, updated_at=at, observed_at=at)
            evidence = gather(scene_for(ticket, telemetry, incidents)).evidence
            nearest = [(finding.service, finding.strength) for finding in history(evidence)]
            everything = [(suspect.service, suspect.score) for suspect in suspects(evidence)]
            told.append((_told(case, replace(evidence, lessons=()), nearest), _told(case, evidence, everything)))
    return told


def _told(case: EventCase, evidence: Evidence, scores: Sequence[tuple[str, float]]) -> Told:
    first = max(scores, key=lambda entry: entry[1], default=("", 0.0))[0]
    kinds = kind_votes(evidence, first)
    leading = max(kinds, key=lambda kind: (kinds[kind], kind), default="")
    return Told(place=place_of(case.label, scores), kind=leading, label=case.kind)


def macro_f1(told: Sequence[Told]) -> float:
    """Mean over the kinds that occur of the harmonic mean of precision and recall."""
    scores = []
    for kind in {one.label for one in told}:
        right = sum(one.label == one.kind == kind for one in told)
        scores.append(2 * right / (sum(one.label == kind for one in told) + sum(one.kind == kind for one in told)))
    return sum(scores) / len(scores)


def row(name: str, told: Sequence[Told], reference: str = "") -> None:
    """Print one row."""
    hits = [sum(one.place <= k for one in told) / len(told) for k in (1, 3, 5)]
    reciprocal = sum(1 / one.place for one in told if one.place < 1000) / len(told)
    kind = sum(one.kind == one.label for one in told) / len(told)
    print(
        f"{name:34} {len(told):5} {hits[0]:6.3f} {hits[1]:6.3f} {hits[2]:6.3f} {reciprocal:6.3f} {kind:6.3f} "
        f"{macro_f1(told):6.3f}  {reference}",
        flush=True,
    )


def main(arguments: Iterable[str] | None = None) -> int:
    """Print the tables; 2 when the data is not there."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    default = os.environ.get("PARAMEDIC_BENCH_DATA", str(PROJECT.parent / "shared" / "bench"))
    parser.add_argument("--data", type=Path, default=Path(default), help="folder that holds rca/")
    parser.add_argument("--repeats", type=int, default=2, help="how often the history is dealt out anew")
    parser.add_argument("--history-only", action="store_true", help="do not look at the judged half")
    options = parser.parse_args(None if arguments is None else list(arguments))
    root = options.data / "rca"
    if not root.is_dir():
        print(f"no labelled failures at {root}: name their folder with --data or PARAMEDIC_BENCH_DATA", file=sys.stderr)
        return 2
    print("past incidents only                 case   AC@1   AC@3   AC@5    MRR   kind     F1  reference, judged half")
    for system, reference in REFERENCES.items():
        past = list(event_sets(root, system, "history"))
        told = [pair for known, judged in splits(past, options.repeats) for pair in judge(known, judged)]
        row(f"{system} left out, seven nearest", [nearest for nearest, _ in told])
        row(f"{system} left out, all of the past", [everything for _, everything in told])
        if not options.history_only:
            told = judge(past, event_sets(root, system, "eval"))
            row(f"{system} judged half, seven nearest", [nearest for nearest, _ in told])
            row(f"{system} judged half, all", [everything for _, everything in told], reference)
    return 0


if __name__ == "__main__":
    sys.exit(main())
