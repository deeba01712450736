"""Spans of one window with the joins that several questions need: who answered which call, what served a request."""

from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import Final

from libs.stores.telemetry import SpanRow

SERVER_KINDS: Final = frozenset({2, 5})
CALLER_KINDS: Final = frozenset({3, 4})
_DEEPEST: Final = 64

Endpoint = tuple[str, str]


class SpanSet:
    """Spans with their joins.

    A request is served by a server span, by a span whose parent is another service's, or by a root that calls nobody
    itself; the rest are operations, counted under the request that they serve.

    Args:
        rows: Spans of one window, in any order.

    Attributes:
        rows: The spans.
        answered: Pairs of a span and the span of another service that it caused.
        calls: Client spans that name a peer.
        serving: Spans that serve a request.
        requests: Requests by service and endpoint (span name).
        request_ids: Their ids, trace id and span id together.
        endpoints: Endpoints of each service in each trace: (trace id, service) to names.
        callee_of: Service that answers what a caller calls by a name: (caller, peer) to service.
        instance_of: Instance that answers at an address: (service, host:port) to service.instance.id.
    """

    def __init__(self, rows: Sequence[SpanRow]) -> None:
        self.rows = rows
        self._by_id = {(row.trace_id, row.span_id): row for row in rows}
        self.answered: list[tuple[SpanRow, SpanRow]] = []
        self.serving: list[SpanRow] = []
        self.requests: Counter[Endpoint] = Counter()
        self.request_ids: dict[Endpoint, set[str]] = defaultdict(set)
        self.endpoints: dict[tuple[str, str], list[str]] = defaultdict(list)
        self._answered_ids: set[tuple[str, str]] = set()
        self._inner: list[SpanRow] = []
        for row in rows:
            self._place(row)
        self.calls = [row for row in rows if row.kind in CALLER_KINDS and row.peer]
        self.callee_of = {(call.service, call.peer): answer.service for call, answer in self.answered if call.peer}
        self.instance_of = {
            (answer.service, address): answer.instance
            for call, answer in self.answered
            if (address := address_of(call)) and answer.instance
        }

    def _place(self, row: SpanRow) -> None:
        parent = self._by_id.get((row.trace_id, row.parent_span_id)) if row.parent_span_id else None
        from_outside = parent is not None and parent.service != row.service
        if parent is not None and from_outside:
            self.answered.append((parent, row))
        if row.kind in SERVER_KINDS or from_outside or (not row.parent_span_id and row.kind not in CALLER_KINDS):
            if row.parent_span_id:
                self._answered_ids.add((row.trace_id, row.parent_span_id))
            self.serving.append(row)
            self.requests[row.service, row.name] += 1
            self.request_ids[row.service, row.name].add(row.trace_id + row.span_id)
            self.endpoints[row.trace_id, row.service].append(row.name)
        else:
            self._inner.append(row)

    def is_answered(self, call: SpanRow) -> bool:
        """Whether another service has a span that this call caused."""
        return (call.trace_id, call.span_id) in self._answered_ids

    @property
    def operations(self) -> Counter[tuple[str, str]]:
        """Spans that serve no request themselves, by service and name."""
        return Counter((row.service, row.name) for row in self._inner)

    def done(self) -> dict[tuple[str, str], dict[str, set[str]]]:
        """Requests in which each operation happened: (service, operation) to endpoint to ids of the requests."""
        found: dict[tuple[str, str], dict[str, set[str]]] = defaultdict(lambda: defaultdict(set))
        for row in self._inner:
            served = self._serving_ancestor(row)
            if served is not None:
                found[row.service, row.name][served.name].add(served.trace_id + served.span_id)
        return found

    def _serving_ancestor(self, row: SpanRow) -> SpanRow | None:
        current: SpanRow | None = row
        for _ in range(_DEEPEST):
            if current is None or not current.parent_span_id:
                return None
            parent = self._by_id.get((current.trace_id, current.parent_span_id))
            if parent is None or parent.service != row.service:
                return None
            if (grand := self._by_id.get((parent.trace_id, parent.parent_span_id))) is None or (
                grand.service != parent.service or parent.kind in SERVER_KINDS
            ):
                return parent
            current = parent
        return None


def address_of(call: SpanRow) -> str:
    """host:port that a client span called, "" when it does not say."""
    host, port = call.attributes.get("server.address", ""), call.attributes.get("server.port", "")
    return f"{host}:{port}" if host and port else ""
