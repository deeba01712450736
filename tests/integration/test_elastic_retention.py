"""Forgetting in Elasticsearch drops whole indices, keeps what was learned, and is not undone by what arrives late."""

from collections.abc import Iterator

import httpx
import pytest

from tests.integration.elastic_servers import Space, empty_space, names, own_prefix
from tests.unit.libs.stores.telemetry_samples import CLIENT, EVER, Log, Span, at, log_batch, metric_batch, span_batch

pytestmark = [pytest.mark.stack, pytest.mark.timeout(300)]
HOUR = 3_600


@pytest.fixture
def space() -> Iterator[Space]:
    with own_prefix() as prefix, empty_space(prefix) as space:
        yield space


def slices(space: Space, kind: str) -> list[str]:
    with httpx.Client(base_url=space.address, timeout=60.0) as http:
        return sorted(name for name in names(http, space.prefix) if name.startswith(f"{space.prefix}-{kind}-2026"))


def test_an_index_is_dropped_when_all_of_it_is_forgotten(space: Space) -> None:
    store = space.telemetry()
    for hour in range(3):
        spans = [Span(trace=hour + 1, span=n + 1, kind=CLIENT, peer="bank", start_s=hour * HOUR + n) for n in range(5)]
        store.write(
            spans=[span_batch("cart", spans)],
            logs=[log_batch("cart", [Log(at_s=hour * HOUR)])],
            metrics=[metric_batch("cart", [("cpu", hour * HOUR, 1.0)])],
        )
    assert [len(slices(space, kind)) for kind in ("spans", "span-columns", "logs", "metrics")] == [3, 3, 3, 3]
    assert store.prune(at(HOUR + 1)) > 5
    assert [len(slices(space, kind)) for kind in ("spans", "span-columns", "logs", "metrics")] == [2, 2, 2, 2]
    (edge,) = store.edges()
    assert (edge.caller, edge.callee, edge.calls) == ("cart", "bank", 15)
    (other,) = space.telemetry().edges()  # a client that has never seen the dropped spans
    assert other == edge


def test_what_arrives_late_does_not_replace_what_was_learned(space: Space) -> None:
    store = space.telemetry()
    early = [Span(trace=1, span=n + 1, kind=CLIENT, peer="bank", start_s=n) for n in range(5)]
    store.write(spans=[span_batch("cart", early)], metrics=[metric_batch("cart", [("cpu", 3 * HOUR, 1.0)])])
    store.prune(at(2 * HOUR))
    assert slices(space, "spans") == []
    store.write(spans=[span_batch("cart", [Span(trace=2, span=9, kind=CLIENT, peer="bank", start_s=2)])])
    for client in (store, space.telemetry()):
        assert [edge.calls for edge in client.edges()] == [5]
        assert client.red(EVER, 5.0) == []
    store.prune(at(2 * HOUR + 1))
    assert slices(space, "spans") == []


def test_documents_of_every_signal_are_found_by_their_common_names(space: Space) -> None:
    """What people see in Kibana: ECS fields that can be searched."""
    store = space.telemetry()
    store.write(
        spans=[span_batch("cart", [Span(trace=5, span=1, status=2, user="u1", attributes={"http.route": "/buy"})])],
        logs=[log_batch("cart", [Log(body="Payment refused", severity=17, trace=5)])],
    )
    with httpx.Client(base_url=space.address, timeout=60.0) as http:
        http.post(f"/{space.prefix}-*/_refresh").raise_for_status()
        for kind, field, wanted in (
            ("spans", "trace.id", f"{5:032x}"),
            ("spans", "event.outcome", "failure"),
            ("spans", "labels.http.route", "/buy"),
            ("spans", "span.kind", "server"),
            ("logs", "message", "refused"),
            ("logs", "log.level", "error"),
            ("logs", "service.name", "cart"),
        ):
            found = http.post(f"/{space.prefix}-{kind}-*/_search", json={"query": {"match": {field: wanted}}}).json()
            assert found["hits"]["total"]["value"] == 1, (kind, field)
