"""Requests of a small service `cart` as telemetry, written through the SQLite store; every figure is given or drawn."""

import random
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from libs.contracts.batch_rows import EventIn, LogIn, SpanIn
from libs.contracts.batches import LogBatchBuilder, SpanBatchBuilder
from libs.stores.telemetry import TelemetryStore, Window
from services.recommender.configuration import Sources
from services.recommender.observe import observe
from services.recommender.scene import Scene

BEGAN = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)
RECEIVED = BEGAN + timedelta(days=1)  # telemetry may not be ahead of the time at which it was received
BEGAN_NS = int(BEGAN.timestamp()) * 1_000_000_000
MINUTE_S = 60.0
SHOW = {"code.function.name": "shop.cart.Carts.show", "code.file.path": "shop/cart.py", "code.line.number": "20"}
FETCH = {"code.function.name": "shop.cart.Carts._product", "code.file.path": "shop/cart.py", "code.line.number": "40"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Sent:
    """One call of a request.

    Attributes:
        at_ms: Start after the request's.
        took_ms: Duration.
        path: What is asked for.
        peer: Who is asked, "" for a database.
        statement: SQL, "" for a call.
        answer_ms: Duration of the callee's span, 0 when it reports none.
        failed: Whether it failed.
        method: HTTP method.
        attributes: More.
    """

    at_ms: float
    took_ms: float
    path: str = "/products/1"
    template: str = "/products/{id}"
    peer: str = "catalog"
    statement: str = ""
    answer_ms: float = 0.0
    failed: bool = False
    method: str = "GET"
    attributes: dict[str, str] = field(default_factory=lambda: dict(FETCH))


class Traffic:
    """Collects requests and writes them."""

    def __init__(self, seed: int = 1) -> None:
        self.draw = random.Random(seed)
        self._spans: dict[tuple[str, str], list[SpanIn]] = defaultdict(list)
        self._logs: list[LogIn] = []
        self.ends_s = 0.0

    def request(
        self,
        at_s: float,
        took_ms: float,
        calls: Sequence[Sent] = (),
        *,
        service: str = "cart",
        name: str = "GET /carts/{id}",
        version: str = "1.8.0",
        failed: bool = False,
        attributes: dict[str, str] | None = None,
        exception: dict[str, str] | None = None,
        logged: dict[str, str] | None = None,
    ) -> str:
        """One request with its calls; the trace id."""
        trace, span = self._id(16), self._id(8)
        self.ends_s = max(self.ends_s, at_s + 1.0)
        start = BEGAN_NS + round(at_s * 1e9)
        events = (EventIn(name="exception", timestamp=start, attributes=exception),) if exception else ()
        self._add(
            service, version, trace_id=trace, span_id=span, parent_span_id=bytes(8), start=start, kind=2, name=name,
            duration=round(took_ms * 1e6), status=2 if failed else 0, attributes=attributes or dict(SHOW),
            events=events,
        )  # fmt: skip
        for call in calls:
            self._call(service, version, trace, span, start, call)
        if logged:
            self._logs.append(
                LogIn(
                    timestamp=start,
                    severity=13,
                    body="not awarded",
                    trace_id=trace,
                    span_id=span,
                    logger="shop",
                    attributes=logged,
                )
            )
        return trace.hex()

    def _call(self, service: str, version: str, trace: bytes, parent: bytes, start: int, call: Sent) -> None:
        span, began = self._id(8), start + round(call.at_ms * 1e6)
        if call.statement:
            attributes = {"db.system.name": "sqlite", "db.query.text": call.statement, **call.attributes}
            name = call.statement.split()[0]
        else:
            attributes = {
                "http.request.method": call.method, "url.path": call.path, "url.template": call.template,
                "server.address": "127.0.0.1", **call.attributes,
            }  # fmt: skip
            name = f"{call.method} {call.template}"
        self._add(
            service, version, trace_id=trace, span_id=span, parent_span_id=parent, start=began, kind=3, name=name,
            duration=round(call.took_ms * 1e6), status=2 if call.failed else 0, attributes=attributes,
            peer="" if call.statement else call.peer,
        )  # fmt: skip
        if call.answer_ms:
            lag = round((call.took_ms - call.answer_ms) * 5e5)
            self._add(
                call.peer, "2.3.0", trace_id=trace, span_id=self._id(8), parent_span_id=span, start=began + lag, kind=2,
                name=f"{call.method} {call.template}", duration=round(call.answer_ms * 1e6), status=0, attributes={},
            )  # fmt: skip

    def _add(self, service: str, version: str, **fields: Any) -> None:
        self._spans[service, version].append(SpanIn(**fields))

    def _id(self, width: int) -> bytes:
        return self.draw.getrandbits(8 * width).to_bytes(width)

    def write(self, store: TelemetryStore) -> None:
        """Record everything."""
        spans = []
        for (service, version), rows in self._spans.items():
            builder = SpanBatchBuilder(service, resource(service, version), RECEIVED)
            for row in rows:
                builder.add(row)
            spans += builder.build()
        logs = LogBatchBuilder("cart", resource("cart", "1.8.0"), RECEIVED)
        for entry in self._logs:
            logs.add(entry)
        store.write(spans=spans, logs=logs.build() if self._logs else ())


def resource(service: str, version: str) -> dict[str, str]:
    return {"service.name": service, "service.instance.id": f"{service}-1", "service.version": version}


def scene(store: TelemetryStore, *, sources: Sources | None = None, end_s: float = 120.0) -> Scene:
    """What a rule sees of everything up to a moment."""
    window = Window(start_ns=BEGAN_NS, end_ns=BEGAN_NS + round(end_s * 1e9))
    return observe(store, window, sources or Sources(least_requests=20))


def product(at_ms: float, number: int, took_ms: float = 10.0, **more: Any) -> Sent:
    """A call for one product."""
    return Sent(at_ms=at_ms, took_ms=took_ms, path=f"/products/{number}", answer_ms=took_ms * 0.8, **more)


def n_plus_one(
    traffic: Traffic, *, requests: int = 60, together: bool = False, sizes: Sequence[int] = (1, 3, 5)
) -> None:
    """Carts whose products are fetched one by one, or all at once."""
    for number in range(requests):
        size = sizes[number % len(sizes)]
        gap = 0.5 if together else 11.0
        calls = [product(2 + gap * at, number * 10 + at) for at in range(size)]
        took = 4 + (11 + gap * size if together else 11.0 * size)
        traffic.request(number, took, calls)


def healthy(traffic: Traffic, *, seconds: int = 110) -> None:
    """A service without a weakness under varied traffic: fan-outs, a dependent pair, backed-off retries, few errors."""
    draw = traffic.draw
    checked = {**FETCH, "http.client.timeout": "3"}
    for second in range(seconds):
        for part in range(4):
            at = second + part * 0.25
            size, slow = draw.randint(1, 6), draw.lognormvariate(0, 0.5)
            calls = [product(2 + 0.3 * n, draw.randrange(10**6), 9 * slow, attributes=checked) for n in range(size)]
            traffic.request(at, 6 + 10 * slow, calls)
            first = Sent(at_ms=1, took_ms=6 * slow, path=f"/users/{second}", template="/users/{id}", peer="users",
                         answer_ms=5 * slow, attributes={**checked, "code.line.number": "60"})  # fmt: skip
            second_call = Sent(at_ms=2 + 6 * slow, took_ms=8 * slow, path=f"/offers/{second}", peer="offers",
                               template="/offers/{group}", answer_ms=7 * slow,
                               attributes={**checked, "code.line.number": "62"})  # fmt: skip
            traffic.request(at, 4 + 14 * slow, [first, second_call], name="GET /offers")
            fast = Sent(at_ms=1, took_ms=draw.uniform(0.2, 3), statement="SELECT id FROM lines WHERE user_id = ?")
            write = Sent(at_ms=5, took_ms=draw.uniform(0.2, 2), statement="INSERT INTO lines VALUES (?, ?)")
            traffic.request(at, 8, [fast, write], name="POST /lines")
        if second % 9 == 0:
            again = [
                Sent(at_ms=1, took_ms=5, failed=True, attributes=checked),
                Sent(at_ms=110, took_ms=5, failed=True, attributes=checked),
                Sent(at_ms=330, took_ms=5, attributes=checked),
            ]
            traffic.request(second, 340, again, name="GET /products/{id}")
        if second % 25 == 0:
            traffic.request(
                second, 5, name="POST /lines", failed=True, exception=raised("KeyError", "put", 70, "x = y[z]")
            )


def raised(kind: str, function: str, line: int, source: str) -> dict[str, str]:
    """An exception event as the SDK writes it."""
    return {
        "exception.type": kind,
        "exception.message": "broken",
        "exception.stacktrace": (
            "Traceback (most recent call last):\n"
            '  File "/app/lib/python3.11/site-packages/starlette/routing.py", line 10, in app\n    await app()\n'
            f'  File "/app/shop/cart.py", line {line}, in {function}\n    {source}\n{kind}: broken\n'
        ),
    }
