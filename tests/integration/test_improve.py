"""A recommended patch on the real shop: applied to a copy, deployed from it, and measured as the demo measures."""

import difflib
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from examples.shop.faults import WorldError
from examples.shop.otlp_sink import OtlpSink
from examples.shop.shop import Shop
from libs.contracts.recommendation import CodeChangeRecommended, CodeLocation
from libs.stores.telemetry import SpanQuery, SpanRow, Window
from paramedic.demo.improve_act import deploy_patched, measure
from paramedic.demo.improvement import LEAST_REQUESTS, Improvement, failures_of, is_enough, next_version

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(240)]

ROOT = Path(__file__).resolve().parents[2]
SCHEMA = "examples/shop/sql/checkout.sql"
OPERATION = "GET /orders"


class SinkSpans:
    """The spans that a sink has received, asked for as a telemetry store is."""

    def __init__(self, sink: OtlpSink) -> None:
        self._sink = sink

    def spans(self, query: SpanQuery) -> list[SpanRow]:
        kinds = {2: "SERVER", 3: "CLIENT"}
        return [
            SpanRow(
                trace_id=span.trace_id,
                span_id=span.span_id,
                parent_span_id=span.parent_id,
                service=span.service,
                version=span.resource["service.version"],
                name=span.name,
                kind=query.kinds[0],
                status=0,
                start_ns=int(span.start_s * 1e9),
                duration_ns=int((span.end_s - span.start_s) * 1e9),
            )
            for span in list(self._sink.spans)
            if span.service in query.services
            and span.kind in {kinds[kind] for kind in query.kinds}
            and query.window.start_ns <= span.end_s * 1e9 < query.window.end_ns
        ]

    def watermark_ns(self) -> int:
        return max((int(span.end_s * 1e9) for span in list(self._sink.spans)), default=0)


def wait_until(condition: Callable[[], bool], within_s: float) -> None:
    """Poll four times a second; the condition, not the time, decides."""
    never = threading.Event()
    deadline_s = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < deadline_s, f"not so within {within_s} s"
        never.wait(0.25)


def index_for_orders(before_s: float) -> CodeChangeRecommended:
    """What a recommender says of the slow query: by the trace, the query is all but 2 ms of the operation."""
    before = (ROOT / SCHEMA).read_text()
    after = before + "CREATE INDEX IF NOT EXISTS orders_by_user_id ON orders (user_id);\n"
    diff = difflib.unified_diff(before.splitlines(True), after.splitlines(True), f"a/{SCHEMA}", f"b/{SCHEMA}")
    return CodeChangeRecommended(
        id="by-hand",
        rule="slow_query",
        service="checkout",
        title="orders are read whole for each user",
        location=CodeLocation(path="examples/shop/checkout.py", line=52, function="orders_of"),
        diff="".join(diff),
        operation=OPERATION,
        before_s=before_s,
        after_s=0.004,
        recommended_at=datetime.now(UTC),
    )


def test_a_patched_copy_brings_what_it_promised(tmp_path: Path) -> None:
    sink = OtlpSink()
    releases = tmp_path / "releases"
    code = (ROOT / SCHEMA).read_text()
    with Shop.start(sink.endpoint, tmp_path, rate_per_s=12.0, seed=5, releases=releases) as shop:
        store = SinkSpans(sink)
        everything = [Window(start_ns=0, end_ns=2**62)]
        chosen = index_for_orders(0.0)
        wait_until(lambda: measure(store, chosen, "3.1.2", everything).requests >= LEAST_REQUESTS, 90.0)
        before = measure(store, chosen, "3.1.2", everything)
        chosen = index_for_orders(before.mean_s)
        state = shop.services()["checkout"]
        version = next_version(str(state["version"]), state["versions"])
        files = deploy_patched(shop, chosen, version, releases, root=ROOT)
        saving_s = chosen.before_s - chosen.after_s
        wait_until(lambda: is_enough(before, measure(store, chosen, version, everything), saving_s), 90.0)
        after = measure(store, chosen, version, everything)
        assert shop.load_stats(30.0).total.failed == 0
        assert shop.services()["checkout"]["version"] == version == "3.1.3"
    sink.close()
    assert files == (SCHEMA,)
    assert (ROOT / SCHEMA).read_text() == code
    print(f"{OPERATION}: {before.mean_s * 1e3:.1f} ms -> {after.mean_s * 1e3:.1f} ms")
    judged = Improvement(
        rules=("1", "2", "3", "4"),
        chosen=chosen.title,
        operation=OPERATION,
        version=version,
        estimated_before_s=chosen.before_s,
        estimated_after_s=chosen.after_s,
        before=before,
        after=after,
    )
    assert failures_of(judged) == ()


def test_a_shop_that_was_given_no_folder_deploys_none(tmp_path: Path) -> None:
    with Shop.start("http://127.0.0.1:9", tmp_path, rate_per_s=1.0) as shop:
        with pytest.raises(WorldError, match="--releases"):
            deploy_patched(shop, index_for_orders(0.03), "3.1.3", tmp_path / "releases", root=ROOT)
        assert shop.services()["checkout"]["version"] == "3.1.2"
