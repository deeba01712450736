"""What the demo makes of recommended code changes: which one it tries, what it measured, what was expected.

Pure functions; `improve_act` is the act that feeds them.
"""

import math
from collections.abc import Container, Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from libs.contracts.recommendation import CodeChangeRecommended
from libs.stores.telemetry import SpanRow, Window
from paramedic.demo.observer import Seen

LEAST_RULES: Final = 4  # the shop has six kinds of weaknesses; this many must be found from its telemetry
LEAST_REQUESTS: Final = 20
LEAST_RATIO: Final = 0.5
MOST_RATIO: Final = 2.0
# the measured saving is known well enough when two standard errors are half of what was promised
_SURE_ERRORS: Final = 4.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """Durations of an operation's server spans.

    Attributes:
        requests: How many.
        mean_s: Mean in seconds; 0 of none.
        error_s: Standard error of the mean in seconds; infinite below two.
    """

    requests: int = 0
    mean_s: float = 0.0
    error_s: float = math.inf


@dataclass(frozen=True, slots=True, kw_only=True)
class Recommended:
    """One recommendation, as shown.

    Attributes:
        rule: What found it.
        service: service.name.
        place: file:line.
        title: One line for people.
        benefit: Estimated benefit in words.
        confidence: In [0, 1].
        has_diff: Whether a patch comes with it.
    """

    rule: str
    service: str
    place: str
    title: str
    benefit: str
    confidence: float
    has_diff: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Improvement:
    """What became of the recommendations.

    Attributes:
        found: Every open recommendation.
        rules: The rules that found them, sorted.
        chosen: Title of the one that was tried, "" for none.
        service: Its service.
        operation: Server span that it should make better.
        files: Files that its diff changes.
        version: Version that was deployed, "" when none was.
        estimated_before_s: Mean duration in the recommendation's evidence.
        estimated_after_s: Mean duration it promised.
        before: Measured at the version before, in calm.
        after: Measured at the deployed version.
        tickets: Tickets opened since the deployment.
        failures: Expectations that did not hold, in words.
    """

    found: tuple[Recommended, ...] = ()
    rules: tuple[str, ...] = ()
    chosen: str = ""
    service: str = ""
    operation: str = ""
    files: tuple[str, ...] = ()
    version: str = ""
    estimated_before_s: float = 0.0
    estimated_after_s: float = 0.0
    before: Sample = Sample()
    after: Sample = Sample()
    tickets: tuple[str, ...] = ()
    failures: tuple[str, ...] = ()

    @property
    def estimated_saving_s(self) -> float:
        """Seconds that each request should save."""
        return self.estimated_before_s - self.estimated_after_s

    @property
    def measured_saving_s(self) -> float:
        """Seconds that each request saves."""
        return self.before.mean_s - self.after.mean_s

    @property
    def saving_error_s(self) -> float:
        """Standard error of the measured saving, seconds."""
        return saving_error_s(self.before, self.after)

    @property
    def ratio(self) -> float | None:
        """Estimated over measured saving; None when nothing was saved or measured."""
        if not self.before.requests or not self.after.requests or self.measured_saving_s <= 0:
            return None
        return self.estimated_saving_s / self.measured_saving_s


def open_recommendations(events: Iterable[Seen]) -> list[CodeChangeRecommended]:
    """Newest state of each recommendation that is open, the greatest saving first."""
    newest: dict[str, CodeChangeRecommended] = {}
    for seen in events:
        if isinstance(seen.record, CodeChangeRecommended):
            newest[seen.record.id] = seen.record
    found = [one for one in newest.values() if one.state == "open"]
    return sorted(found, key=lambda one: (_saving_s(one), one.confidence, one.id), reverse=True)


def rules_of(found: Iterable[CodeChangeRecommended]) -> tuple[str, ...]:
    """Names of the rules, sorted."""
    return tuple(sorted({one.rule for one in found}))


def choose(found: Iterable[CodeChangeRecommended]) -> CodeChangeRecommended | None:
    """The one with a diff that promises the most time for a named operation; None when none does."""
    tried = [one for one in found if one.diff and one.operation and _saving_s(one) > 0]
    return max(tried, key=lambda one: (_saving_s(one), one.confidence, one.id), default=None)


def shown(found: Iterable[CodeChangeRecommended]) -> tuple[Recommended, ...]:
    """What is shown of each."""
    return tuple(
        Recommended(
            rule=one.rule,
            service=one.service,
            place=f"{one.location.path}:{one.location.line}",
            title=one.title,
            benefit=one.benefit,
            confidence=one.confidence,
            has_diff=bool(one.diff),
        )
        for one in found
    )


def on_healthy(found: Iterable[CodeChangeRecommended], weak: Container[str]) -> tuple[str, ...]:
    """Recommendations for services that have nothing to improve, in words."""
    return tuple(
        f"false recommendation for {one.service} ({one.rule}): {one.title}" for one in found if one.service not in weak
    )


def next_version(live: str, taken: Sequence[str]) -> str:
    """The live version with its last number raised until no other version has that name."""
    head, _, last = live.rpartition(".")
    number = int(last) if last.isdigit() else 0
    while True:
        number += 1
        version = f"{head}.{number}" if head else str(number)
        if version not in taken:
            return version


def calm_windows(troubles: Sequence[tuple[int, int]], start_ns: int, end_ns: int) -> list[Window]:
    """What is left of a stretch of event time without the troubles (start, end) in it; unix nanoseconds."""
    found: list[Window] = []
    at = start_ns
    for began_ns, ended_ns in sorted(troubles):
        if began_ns > at:
            found.append(Window(start_ns=at, end_ns=min(began_ns, end_ns)))
        at = max(at, ended_ns)
    if at < end_ns:
        found.append(Window(start_ns=at, end_ns=end_ns))
    return found


def sample(spans: Iterable[SpanRow], operation: str, version: str) -> Sample:
    """Mean duration of an operation at one version, the same statistic that a recommendation estimates."""
    durations = [span.duration_ns / 1e9 for span in spans if span.name == operation and span.version == version]
    if not durations:
        return Sample()
    mean_s = math.fsum(durations) / len(durations)
    if len(durations) < 2:
        return Sample(requests=len(durations), mean_s=mean_s)
    variance = math.fsum((one - mean_s) ** 2 for one in durations) / (len(durations) - 1)
    return Sample(requests=len(durations), mean_s=mean_s, error_s=math.sqrt(variance / len(durations)))


def saving_error_s(before: Sample, after: Sample) -> float:
    """Standard error of the difference of two means, seconds."""
    return math.hypot(before.error_s, after.error_s)


def is_enough(before: Sample, after: Sample, estimated_saving_s: float) -> bool:
    """Whether the measured saving is sure enough to be compared with the estimate."""
    return after.requests >= LEAST_REQUESTS and saving_error_s(before, after) * _SURE_ERRORS <= estimated_saving_s


def failures_of(improvement: Improvement) -> tuple[str, ...]:
    """The expectations that did not hold."""
    failures = []
    if len(improvement.rules) < LEAST_RULES:
        names = ", ".join(improvement.rules) or "none"
        failures.append(f"weaknesses of {len(improvement.rules)} kinds were found ({names}), expected {LEAST_RULES}")
    if not improvement.chosen:
        return (*failures, "no recommendation came with a diff and a saving of time")
    if not improvement.version:
        return (*failures, f"{improvement.chosen}: not deployed")
    if not improvement.before.requests or improvement.after.requests < LEAST_REQUESTS:
        failures.append(
            f"too few requests of {improvement.operation} to compare: {improvement.before.requests} before, "
            f"{improvement.after.requests} after, expected {LEAST_REQUESTS}"
        )
    elif improvement.ratio is None or not LEAST_RATIO <= improvement.ratio <= MOST_RATIO:
        failures.append(
            f"{improvement.operation} saves {improvement.measured_saving_s * 1e3:.1f} ms, estimated "
            f"{improvement.estimated_saving_s * 1e3:.1f} ms: not within a factor of {MOST_RATIO:g}"
        )
    if improvement.tickets:
        failures.append(f"tickets after the improvement: {', '.join(improvement.tickets)}")
    return tuple(failures)


def _saving_s(one: CodeChangeRecommended) -> float:
    return one.before_s - one.after_s
