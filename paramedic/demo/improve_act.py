"""The act after the faults: take the best recommendation, try it on a copy of the shop, and measure what it brought."""

import shutil
import time
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, Protocol

from rich.markup import escape
from rich.syntax import Syntax

from examples.shop.faults import WorldError
from examples.shop.shop import Shop
from libs.contracts.codec import ns_from_utc
from libs.contracts.recommendation import CodeChangeRecommended
from libs.stores.telemetry import SpanQuery, SpanRow, Window
from paramedic.console import console
from paramedic.demo.improvement import (
    LEAST_RULES,
    Improvement,
    Recommended,
    Sample,
    calm_windows,
    choose,
    failures_of,
    is_enough,
    next_version,
    open_recommendations,
    rules_of,
    sample,
    shown,
)
from paramedic.demo.observer import Seen, openings
from paramedic.demo.patched_copy import PatchRefused, patched_copy
from paramedic.demo.stage import LAG_FACTOR, ROOT, Stage

RECOMMENDATIONS_S: Final = 60.0  # the recommender looks once a minute
LONGEST_MEASURING_S: Final = 60.0  # event time; 20 requests of the rarest operation take half of it
_POLL_S: Final = 0.5
_MOST_SPANS: Final = 20_000
_DIFF_LINES: Final = 40
_SERVER_KIND: Final = 2


class Spans(Protocol):
    """What is asked of the telemetry store."""

    def spans(self, query: SpanQuery) -> list[SpanRow]:
        """Spans that match."""
        ...

    def watermark_ns(self) -> int:
        """Newest event time recorded."""
        ...


def improve(stage: Stage) -> Improvement:
    """Show the open recommendations, deploy the one that promises most, compare what it brings with the promise."""
    stage.timeline.say("── recommended code changes, from the telemetry of the healthy shop")
    found = _await_recommendations(stage)
    for one in shown(found):
        console.print(_line(one), soft_wrap=True)
    chosen = choose(found)
    result = Improvement(found=shown(found), rules=rules_of(found))
    if chosen is not None:
        _show_diff(chosen)
        result = _try(stage, chosen, result)
    return replace(result, failures=(*result.failures, *failures_of(result)))


def _await_recommendations(stage: Stage) -> list[CodeChangeRecommended]:
    """The open recommendations, as soon as enough kinds are there and one of them can be tried."""

    def enough(events: list[Seen]) -> list[CodeChangeRecommended] | None:
        found = open_recommendations(events)
        return found if len(rules_of(found)) >= LEAST_RULES and choose(found) is not None else None

    return stage.wait(enough, RECOMMENDATIONS_S) or open_recommendations(stage.observer.events())


def _try(stage: Stage, chosen: CodeChangeRecommended, result: Improvement) -> Improvement:
    state = stage.shop.services()[chosen.service]
    version = next_version(str(state["version"]), state["versions"])
    now = datetime.now(UTC)
    calm = calm_windows(
        [(ns_from_utc(start), ns_from_utc(end)) for start, end in stage.troubles],
        ns_from_utc(stage.began_at),
        ns_from_utc(now),
    )
    result = replace(
        result,
        chosen=chosen.title,
        service=chosen.service,
        operation=chosen.operation,
        estimated_before_s=chosen.before_s,
        estimated_after_s=chosen.after_s,
        before=measure(stage.platform.telemetry, chosen, str(state["version"]), calm),
    )
    try:
        files = deploy_patched(stage.shop, chosen, version, stage.settings.data_dir / "shop" / "releases", root=ROOT)
    except (PatchRefused, WorldError) as error:
        return replace(result, failures=(f"{chosen.title}: {error}",))
    stage.timeline.say(f"{chosen.service} {version} is live: {', '.join(files)} changed in a copy", "yellow")
    with console.status(f"measuring {chosen.operation} at {version}"):
        after = _await_measure(stage, chosen, version, now, result.before)
    tickets = tuple(incident.number for _, incident in openings(stage.observer.events(), now))
    return replace(result, files=files, version=version, after=after, tickets=tickets)


def deploy_patched(
    shop: Shop, chosen: CodeChangeRecommended, version: str, releases: Path, *, root: Path
) -> tuple[str, ...]:
    """Apply a recommendation's diff to a copy of the code and deploy it; returns the changed files.

    Raises:
        PatchRefused: the diff does not fit.
        WorldError: the control API did not make it live.
    """
    copy = releases / f"{chosen.service}-{version}"
    shutil.rmtree(copy, ignore_errors=True)
    files = patched_copy(root, chosen.diff, copy)
    body = {"version": version, "source": str(copy.resolve())}
    shop.control("POST", f"/services/{chosen.service}/deploy", body)
    return files


def measure(spans: Spans, chosen: CodeChangeRecommended, version: str, windows: list[Window]) -> Sample:
    """Mean duration of a recommendation's operation at one version over windows of event time."""
    rows = [
        row
        for window in windows
        for row in spans.spans(
            SpanQuery(window=window, services=(chosen.service,), kinds=(_SERVER_KIND,), limit=_MOST_SPANS)
        )
    ]
    return sample(rows, chosen.operation, version)


def _await_measure(
    stage: Stage, chosen: CodeChangeRecommended, version: str, since: datetime, before: Sample
) -> Sample:
    """The sample at the new version, when it is sure enough or its time, in telemetry, is up."""
    telemetry, start_ns = stage.platform.telemetry, ns_from_utc(since)
    until_ns = start_ns + int(LONGEST_MEASURING_S * 1e9)
    wall_s = time.monotonic() + LAG_FACTOR * LONGEST_MEASURING_S
    while True:
        now_ns = telemetry.watermark_ns()
        after = measure(telemetry, chosen, version, [Window(start_ns=start_ns, end_ns=now_ns + 1)])
        over = now_ns >= until_ns or time.monotonic() > wall_s or stage.stop.is_set()
        if over or is_enough(before, after, chosen.before_s - chosen.after_s):
            return after
        stage.supervisor.tend()
        stage.stop.wait(_POLL_S)


def _line(one: Recommended) -> str:
    patch = "patch" if one.has_diff else "advice"
    return (
        f"  [bold]{escape(one.service)}[/] {escape(one.place)} {escape(one.title)}\n"
        f"    [dim]{one.rule}, {one.confidence:.0%}, {patch}:[/] {escape(one.benefit)}"
    )


def _show_diff(chosen: CodeChangeRecommended) -> None:
    lines = chosen.diff.splitlines()
    console.print(f"\nthe one that promises the most: [bold]{escape(chosen.title)}[/]")
    console.print(Syntax("\n".join(lines[:_DIFF_LINES]), "diff", background_color="default", word_wrap=True))
    if len(lines) > _DIFF_LINES:
        console.print(f"[dim]… and {len(lines) - _DIFF_LINES} lines more[/]")
