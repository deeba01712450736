"""Stores in which every text is as long, as wide and as hidden as its author could make it."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

from libs.contracts.codec import utc_from_ns
from libs.contracts.document import Section
from libs.contracts.investigation import Evidence
from libs.contracts.telemetry import ChangeEvent, ChangeKind, MetricSeries
from libs.service.platform import Platform
from tests.unit.libs.runbooks.made import a_hypothesis, an_anomaly, an_incident
from tests.unit.libs.stores.telemetry_samples import Log, Span, at, log_batch, metric_batch, span_batch
from tests.unit.services.mcp.shop import HEAP, NOON, NUMBER, a_run, sections

LONG: Final = "\u202e\U000e0041\x1b[31m" + "🔥漢" * 1_100
WIDE: Final = {f"{number}{LONG}"[:300]: LONG for number in range(14)}
MANY: Final = range(25)


def fill_hostile(platform: Platform) -> None:
    """The names that the laws ask for, with everything around them hostile."""
    _telemetry(platform)
    for identity, number, opened in (("old", "INC-000001", NOON.replace(year=2025)), ("new", NUMBER, NOON)):
        anomalies = [an_anomaly(f"{n}{LONG}", explanation=LONG, attributes=WIDE, trace_ids=(LONG,) * 22) for n in MANY]
        fields: dict[str, Any] = {"id": identity, "number": number, "title": LONG, "opened_at": opened}
        core = an_incident(*anomalies, fingerprint=("a", "b"), **fields)
        platform.incidents.put(identity, Section.INCIDENT, core)
        for section, value in _sections(identity).items():
            platform.incidents.put(identity, section, value)


def _telemetry(platform: Platform) -> None:
    raised = {"exception.type": LONG, "exception.message": LONG, "exception.stacktrace": LONG}
    spans = [
        Span(
            trace=500,
            span=n + 1,
            parent=n,
            name=f"{n}{LONG}",
            start_s=n / 100,
            attributes=WIDE,
            exceptions=(raised,) * 5,
            peer=f"{n}{LONG}",
            kind=3,
        )
        for n in MANY
    ]
    series = [replace(HEAP, attributes={"n": f"{n}{LONG}"}) for n in MANY]
    points = [(one, float(second), value) for one in series for second, value in ((1, float("nan")), (2, float("inf")))]
    others = [(MetricSeries(name=f"{n}{LONG}"), 1.0, 1.0) for n in MANY]
    logs = [
        Log(at_s=n / 10, body=f"{n}{LONG}", severity=17, attributes=WIDE, logger=f"{n}{LONG}", trace=500) for n in MANY
    ]
    changes = [
        ChangeEvent(
            id=f"{n}{LONG}",
            kind=ChangeKind.FLAG,
            service=LONG,
            timestamp=utc_from_ns(at(n / 10)),
            version=LONG,
            summary=LONG,
            actor=LONG,
            attributes=WIDE,
        )
        for n in MANY
    ]
    platform.telemetry.write(
        spans=[
            span_batch("catalog", spans, instance=LONG, version=LONG),
            *(span_batch(f"{n}{LONG}", [replace(spans[0], trace=n)]) for n in MANY),
        ],
        metrics=[metric_batch("catalog", points, instance=LONG), metric_batch("catalog", others)],
        logs=[log_batch("catalog", logs, instance=LONG)],
        changes=changes,
    )


def _sections(identity: str) -> Mapping[Section, Any]:
    found = sections(identity)
    evidence = (Evidence(text=LONG, weight=0.1, source=LONG),) * 12
    hypotheses = tuple(
        a_hypothesis(rank=n, cause=LONG, evidence_for=evidence, evidence_against=evidence, instance=LONG) for n in MANY
    )
    known, context, timeline = (found[name] for name in (Section.INVESTIGATION, Section.CONTEXT, Section.TIMELINE))
    steps = (replace(known.steps[0], query=LONG, finding=LONG),) * 25
    run = replace(a_run(identity), reason=LONG, fix=LONG, parameters=WIDE, verification=LONG)
    return {
        Section.CONTEXT: replace(context, logs=(replace(context.logs[0], body=LONG),) * 25),
        Section.TIMELINE: (replace(timeline[1], text=LONG),) * 25,
        Section.INVESTIGATION: replace(known, hypotheses=hypotheses, gaps=(LONG,) * 25, author=LONG, steps=steps),
        Section.REMEDIATION: (run,) * 25,
    }
