"""Whether a service deviates by its own request telemetry, asked only of services between two anomalies."""

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import Final

from libs.contracts.codec import ns_from_utc
from libs.stores.telemetry import RedWindow, TelemetryReader, Window

BASELINE_S: Final = 120.0
_STEP_S: Final = 5.0
_LEAST_REQUESTS: Final = 5
# One request in 20 failing more than before is seen by users; smaller shifts at 5 requests are chance.
_MORE_ERRORS: Final = 0.05
# Quiet services of the example shop vary their mean duration by up to 1.3 and their rate by up to 1.4 between a
# 10 s window and the two minutes before it.
_SLOWER: Final = 1.5
_BUSIER: Final = 2.0


def deviating_services(
    reader: TelemetryReader, services: Iterable[str], *, started_at: datetime, until: datetime
) -> frozenset[str]:
    """Those of `services` whose server spans differ between [started_at, until) and the two minutes before.

    Raises:
        Unavailable: the telemetry store cannot be reached.
    """
    wanted = tuple(sorted(services))
    if not wanted:
        return frozenset()
    onset_ns = ns_from_utc(started_at)
    window = Window(start_ns=ns_from_utc(started_at - timedelta(seconds=BASELINE_S)), end_ns=ns_from_utc(until))
    rows = [row for row in reader.red(window, _STEP_S, services=wanted) if not row.peer]
    found = set()
    for service in wanted:
        mine = [row for row in rows if row.service == service]
        before = [row for row in mine if row.start_ns < onset_ns]
        after = [row for row in mine if row.start_ns >= onset_ns]
        if differs(before, after):
            found.add(service)
    return frozenset(found)


def differs(before: Sequence[RedWindow], after: Sequence[RedWindow]) -> bool:
    """Whether failures, mean duration or rate moved beyond what a quiet service shows."""
    requests_before, requests_after = sum(r.requests for r in before), sum(r.requests for r in after)
    if min(requests_before, requests_after) < _LEAST_REQUESTS:
        return False
    failed = sum(r.errors for r in after) / requests_after - sum(r.errors for r in before) / requests_before
    mean_before = sum(r.duration_sum_s for r in before) / requests_before
    mean_after = sum(r.duration_sum_s for r in after) / requests_after
    rate_ratio = (requests_after / len(after)) / (requests_before / len(before))
    return failed > _MORE_ERRORS or mean_after > _SLOWER * mean_before or rate_ratio > _BUSIER
