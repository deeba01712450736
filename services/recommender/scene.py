"""What a rule sees: the requests of a window of telemetry with everything below them, and nothing after its end."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from libs.stores.telemetry import LogRow, SpanRow

SERVER: Final = 2
CLIENT: Final = 3
ERROR: Final = 2
DAY_S: Final = 86_400.0


@dataclass(frozen=True, slots=True, kw_only=True)
class CodePlace:
    """A place in the code as telemetry names it.

    Attributes:
        path: `code.file.path`, or the file of a stack frame; "" when unknown.
        line: 0 when unknown.
        function: Qualified name, "" when unknown.
    """

    path: str = ""
    line: int = 0
    function: str = ""

    @property
    def name(self) -> str:
        """The function's own name."""
        return self.function.rpartition(".")[2]

    def __str__(self) -> str:
        return f"{self.path}:{self.line}" if self.line else self.path or "an unknown place"


def place_of(span: SpanRow) -> CodePlace:
    """Where in the code a span was made; old names of the attributes count too."""
    found = span.attributes
    line = found.get("code.line.number") or found.get("code.lineno", "")
    function = found.get("code.function.name") or found.get("code.function", "")
    if "." not in function and "code.namespace" in found:
        function = f"{found['code.namespace']}.{function}"
    return CodePlace(
        path=found.get("code.file.path") or found.get("code.filepath", ""),
        line=int(line) if line.isascii() and line.isdigit() else 0,
        function=function,
    )


def end_ns(span: SpanRow) -> int:
    """When a span ended."""
    return span.start_ns + span.duration_ns


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One request of a service.

    Attributes:
        server: Its server span.
        calls: Client spans of the service below it (calls and statements), by start.
    """

    server: SpanRow
    calls: tuple[SpanRow, ...]

    @property
    def duration_s(self) -> float:
        """Seconds."""
        return self.server.duration_ns / 1e9


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """The requests of one server span name at the deployed version.

    Attributes:
        service: service.name.
        name: Server span name.
        version: service.version of all of them, "" when unknown.
        requests: By start.
        covered_s: Seconds of telemetry that they were counted in.
    """

    service: str
    name: str
    version: str
    requests: tuple[Request, ...]
    covered_s: float

    @property
    def requests_per_day(self) -> float:
        """The rate of the window, kept up for a day."""
        return len(self.requests) / self.covered_s * DAY_S

    @property
    def mean_s(self) -> float:
        """Mean duration in seconds."""
        return sum(request.server.duration_ns for request in self.requests) / len(self.requests) / 1e9


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """A window of telemetry.

    Attributes:
        start_ns: Start of what is covered, unix nanoseconds.
        end_ns: End of what is covered.
        operations: Operations with enough requests to be judged, by service and name.
        versions: Deployed version by service.
        children: Spans by trace id and parent span id.
        logs: Log records that carry an exception, by time.
        instances: Instances by service.
    """

    start_ns: int
    end_ns: int
    operations: tuple[Operation, ...]
    versions: Mapping[str, str] = field(default_factory=dict)
    children: Mapping[tuple[str, str], tuple[SpanRow, ...]] = field(default_factory=dict)
    logs: tuple[LogRow, ...] = ()
    instances: Mapping[str, frozenset[str]] = field(default_factory=dict)

    @property
    def covered_s(self) -> float:
        """Length in seconds."""
        return (self.end_ns - self.start_ns) / 1e9

    def below(self, span: SpanRow) -> tuple[SpanRow, ...]:
        """Children of a span, by start."""
        return self.children.get((span.trace_id, span.span_id), ())

    def answer(self, call: SpanRow) -> SpanRow | None:
        """The callee's server span, None when it reports none."""
        return next((span for span in self.below(call) if span.kind == SERVER), None)

    def own_s(self, span: SpanRow) -> float:
        """Time of a span in which none of its children ran, seconds: what cannot wait elsewhere meanwhile."""
        return max(span.duration_ns - union_ns(self.below(span)), 0) / 1e9

    def judged(self, service: str) -> bool:
        """Whether any operation of a service had enough requests."""
        return any(operation.service == service for operation in self.operations)


def union_ns(spans: Sequence[SpanRow]) -> int:
    """Nanoseconds in which at least one of the spans ran."""
    total, until = 0, 0
    for start, end in sorted((span.start_ns, end_ns(span)) for span in spans):
        total += max(end - max(start, until), 0)
        until = max(until, end)
    return total


def exemplars(spans: Sequence[SpanRow], most: int = 3) -> Iterator[SpanRow]:
    """The longest spans of different traces, to be looked at."""
    seen: set[str] = set()
    for span in sorted(spans, key=lambda span: (-span.duration_ns, span.trace_id, span.span_id)):
        if span.trace_id not in seen and len(seen) < most:
            seen.add(span.trace_id)
            yield span
