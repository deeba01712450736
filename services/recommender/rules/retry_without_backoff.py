"""A failed call is tried again at once: when the callee is overloaded, every caller multiplies its load.

The next attempt asks for the same thing under the same parent after one that failed, whatever instance it goes to.
What counts is the pause before it.
"""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated, ClassVar

from pydantic import Field

from libs.contracts.investigation import Evidence
from libs.stores.telemetry import SpanRow
from services.recommender.calls import address_of, callee_of, mean, percentile, statement_of
from services.recommender.rule import RULES, Benefit, Finding, Thresholds, milliseconds, per_day
from services.recommender.scene import ERROR, CodePlace, Request, Scene, end_ns, exemplars, place_of


class RetryThresholds(Thresholds):
    """When retries are a storm."""

    least_attempts: Annotated[
        int,
        Field(ge=2, description="Attempts of one call, the first included; 2 also counts one retry elsewhere at once."),
    ] = 3
    most_pause_ms: Annotated[
        float, Field(gt=0, description="A pause before the next attempt up to this is none, milliseconds.")
    ] = 20.0
    least_sequences: Annotated[int, Field(ge=1, description="Calls that must have been retried so.")] = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempts:
    """One call with its retries.

    Attributes:
        request: The request that made it.
        spans: Attempts by start.
    """

    request: Request
    spans: tuple[SpanRow, ...]

    @property
    def pauses_s(self) -> list[float]:
        """Seconds between the end of an attempt and the start of the next."""
        pairs = zip(self.spans, self.spans[1:], strict=False)
        return [max(later.start_ns - end_ns(earlier), 0) / 1e9 for earlier, later in pairs]


@RULES.register("retry_without_backoff")
class RetryWithoutBackoff:
    """Finds calls that are repeated without a pause."""

    name: ClassVar[str] = "retry_without_backoff"
    thresholds: ClassVar[type[Thresholds]] = RetryThresholds

    def find(self, scene: Scene, thresholds: RetryThresholds) -> Sequence[Finding]:
        """One finding per service and calling line."""
        found: list[Finding] = []
        for service, version in scene.versions.items():
            groups: dict[tuple[CodePlace, str], list[Attempts]] = defaultdict(list)
            covered_s = 1.0
            for operation in scene.operations:
                if operation.service != service:
                    continue
                covered_s = max(covered_s, operation.covered_s)
                for request in operation.requests:
                    for attempts in _retried(request):
                        if len(attempts.spans) >= thresholds.least_attempts:
                            groups[place_of(attempts.spans[0]), callee_of(attempts.spans[0])].append(attempts)
            for key in sorted(groups, key=str):
                at_once = [one for one in groups[key] if max(one.pauses_s) * 1e3 <= thresholds.most_pause_ms]
                # One retry with a pause shows that there is a back-off; chance makes some pauses short.
                if len(at_once) >= thresholds.least_sequences and len(at_once) == len(groups[key]):
                    found.append(_finding(service, version, key, at_once, covered_s))
        return found


def _retried(request: Request) -> Iterator[Attempts]:
    """Calls of a request of which a failed one was followed by the same again."""
    groups: dict[tuple[str, str, str], list[SpanRow]] = defaultdict(list)
    for call in request.calls:
        if not statement_of(call):
            groups[call.parent_span_id, callee_of(call), address_of(call)].append(call)
    for calls in groups.values():
        attempts = [calls[0]]
        following: list[SpanRow | None] = [*calls[1:], None]
        for following_call in following:
            last = attempts[-1]
            if following_call is not None and last.status == ERROR and following_call.start_ns >= end_ns(last):
                attempts.append(following_call)
                continue
            if len(attempts) > 1:
                yield Attempts(request=request, spans=tuple(attempts))
            attempts = [] if following_call is None else [following_call]


def _finding(
    service: str, version: str, key: tuple[CodePlace, str], found: list[Attempts], covered_s: float
) -> Finding:
    place, callee = key
    tries = mean([len(one.spans) for one in found])
    pauses = [pause for one in found for pause in one.pauses_s]
    daily = len(found) / covered_s * 86_400
    operations = sorted({one.request.server.name for one in found})
    return Finding(
        rule=RetryWithoutBackoff.name,
        service=service,
        version=version,
        operation=operations[0] if len(operations) == 1 else "",
        subject=callee,
        place=place,
        title=f"{service} repeats {callee} at once when it fails",
        evidence=(
            Evidence(
                text=f"{len(found)} failed calls {callee} were tried {tries:.1f} times in the mean; the pause before "
                f"the next attempt was {milliseconds(percentile(pauses, 0.5))} in the median and "
                f"{milliseconds(max(pauses))} at most",
                weight=min(1.0, len(found) / 20),
                source=f"client spans of {service} {version}".strip(),
            ),
            *(
                Evidence(text=f"an example in {one.name}", weight=0.5, source=f"trace {one.trace_id}")
                for one in exemplars([one.request.server for one in found])
            ),
        ),
        benefit=Benefit(
            words=f"at the failure rate of the window {per_day(daily)} failing calls/day become "
            f"{per_day(daily * tries)}: the callee gets {tries:.1f} times the load just when it fails; with an "
            "exponential back-off and jitter the additional calls are spread out",
            value=round(daily * (tries - 1)),
            unit="calls/day",
        ),
        confidence=round(0.5 + 0.3 * min(1.0, len(found) / 20), 2),
        advice="Wait before each further attempt: exponential back-off with full jitter, and a budget of retries.",
        acute=True,
    )
