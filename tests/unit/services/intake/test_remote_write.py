"""Prometheus remote write: names decide what a series is, and its histograms are put together again."""

import struct
from collections.abc import Mapping, Sequence

import cramjam
import pytest

from libs.contracts.telemetry import MetricBatch
from libs.errors import InvalidMessage
from services.intake.decode.prometheus_remote_write import SNAPPY
from services.intake.decode.runtime_messages import message_class
from services.intake.normalise.normaliser import Normaliser
from services.intake.signals import Accepted, Signal
from tests.unit.services.intake.requests import NOON, NOON_NS, values

NOON_MS = NOON_NS // 1_000_000
STALE = struct.unpack("<d", struct.pack("<Q", 0x7FF0000000000002))[0]
Series = tuple[Mapping[str, str], Sequence[tuple[float, float]]]


def write(normaliser: Normaliser, *series: Series, types: Mapping[str, int] | None = None) -> Accepted:
    """Send series given as labels and (second, value)."""
    request = message_class("WriteRequest")()
    for labels, samples in series:
        entry = request.timeseries.add()
        for key, value in labels.items():
            entry.labels.add(name=key, value=value)
        for at_s, number in samples:
            entry.samples.add(timestamp=NOON_MS + round(at_s * 1_000), value=number)
    for name, kind in (types or {}).items():
        request.metadata.add(metric_family_name=name, type=kind)
    return post(normaliser, request.SerializeToString())


def post(normaliser: Normaliser, plain: bytes) -> Accepted:
    payload = bytes(cramjam.snappy.compress_raw(plain))
    return normaliser.emits_for_request(Signal.METRICS, payload, SNAPPY, NOON)


def labels(name: str, **rest: str) -> dict[str, str]:
    return {"__name__": name, "job": "shop/cart", "instance": "10.0.0.1:9090", **rest}


def test_job_and_instance_say_who_sent_it() -> None:
    (emit,) = write(Normaliser(), (labels("process_resident_memory_bytes", kind="rss"), [(0, 5.0)])).emits
    assert isinstance(emit.record, MetricBatch)
    assert emit.record.service == "cart"
    assert emit.record.resource == {"service.namespace": "shop", "service.instance.id": "10.0.0.1:9090"}
    (series,) = emit.record.series
    assert (series.name, series.unit) == ("process_resident_memory_bytes", "By")
    assert series.attributes == {"kind": "rss"}


def test_a_total_becomes_a_rate_over_its_samples() -> None:
    accepted = write(Normaliser(), (labels("http_requests_total"), [(0, 10), (10, 30), (20, 5)]))
    assert values(accepted) == {("http_requests_total", "rate"): [2.0, 0.5]}


def test_sum_and_count_together_are_counters_and_a_lone_count_is_a_gauge() -> None:
    accepted = write(
        Normaliser(),
        (labels("rpc_sum"), [(0, 1.0), (1, 2.0)]),
        (labels("rpc_count"), [(0, 1.0), (1, 4.0)]),
        (labels("queue_count"), [(0, 7.0)]),
    )
    assert values(accepted) == {
        ("rpc_sum", "rate"): [1.0],
        ("rpc_count", "rate"): [3.0],
        ("queue_count", "value"): [7.0],
    }


def test_metadata_knows_better_than_names() -> None:
    accepted = write(
        Normaliser(),
        (labels("odd_total"), [(0, 7.0)]),
        (labels("requests"), [(0, 1.0), (1, 2.0)]),
        types={"odd_total": 2, "requests": 1},
    )
    assert values(accepted) == {("odd_total", "value"): [7.0], ("requests", "rate"): [1.0]}


def test_buckets_become_quantiles_of_the_interval() -> None:
    bounds = {"0.1": (0.0, 0.0), "0.2": (0.0, 100.0), "+Inf": (5.0, 105.0)}
    accepted = write(
        Normaliser(),
        *((labels("d_seconds_bucket", le=le), [(0, first), (10, then)]) for le, (first, then) in bounds.items()),
        (labels("d_seconds_sum"), [(0, 1.0), (10, 16.0)]),
        (labels("d_seconds_count"), [(0, 5.0), (10, 105.0)]),
    )
    found = {statistic: found[0] for (_, statistic), found in values(accepted).items()}
    assert found == pytest.approx({"rate": 10.0, "mean": 0.15, "p50": 0.15, "p95": 0.195, "p99": 0.199})


def test_buckets_without_the_last_one_are_rejected_with_a_reason() -> None:
    accepted = write(Normaliser(), (labels("d_bucket", le="0.1"), [(0, 1.0)]))
    assert "without its +Inf bucket" in accepted.reason


@pytest.mark.parametrize("counts", [(5.0, 3.0), (-1.0, 3.0), (float("nan"), 3.0), (1.0, 1e300)])
def test_buckets_that_shrink_are_rejected(counts: tuple[float, float]) -> None:
    accepted = write(
        Normaliser(),
        (labels("d_bucket", le="0.1"), [(0, counts[0])]),
        (labels("d_bucket", le="+Inf"), [(0, counts[1])]),
    )
    assert "do not grow" in accepted.reason


def test_the_quantiles_of_a_summary_keep_their_statistic() -> None:
    accepted = write(Normaliser(), (labels("gc_seconds", quantile="0.99"), [(0, 0.1)]))
    assert values(accepted) == {("gc_seconds", "p99"): [0.1]}


def test_a_staleness_marker_is_no_sample_and_another_nan_is_rejected() -> None:
    accepted = write(Normaliser(), (labels("a"), [(0, STALE)]), (labels("b"), [(0, float("nan"))]))
    assert (accepted.accepted, accepted.rejected) == (0, 1)
    assert "(first: b)" in accepted.reason


def test_a_series_without_a_name_is_rejected() -> None:
    assert "without a name" in write(Normaliser(), ({"job": "cart"}, [(0, 1.0)])).reason


def test_times_beyond_int64_are_rejected_as_future() -> None:
    accepted = write(Normaliser(), (labels("a"), [(2**62 / 1_000 - NOON_MS / 1_000, 1.0)]))
    assert "in the future" in accepted.reason


def native(count: int, deltas: Sequence[int], spans: Sequence[tuple[int, int]], at_s: float, schema: int = 0) -> bytes:
    request = message_class("WriteRequest")()
    series = request.timeseries.add()
    series.labels.add(name="__name__", value="d_seconds")
    point = series.histograms.add(count_int=count, sum=0.5, schema=schema, timestamp=NOON_MS + round(at_s * 1_000))
    for offset, length in spans:
        point.positive_spans.add(offset=offset, length=length)
    point.positive_deltas.extend(deltas)
    return bytes(request.SerializeToString())


def test_a_native_histogram_becomes_quantiles() -> None:
    normaliser = Normaliser()
    assert post(normaliser, native(3, [1, 1], [(1, 1), (1, 1)], 0)).skipped == 1
    found = values(post(normaliser, native(103, [1, 101], [(1, 1), (1, 1)], 10)))
    # Bucket 3 of Prometheus at schema 0 is (4, 8]; all 100 new observations lie in it.
    assert found["d_seconds", "rate"] == [10.0]
    assert found["d_seconds", "p50"] == [pytest.approx(4 * 2**0.5)]


@pytest.mark.parametrize(
    ("deltas", "spans", "schema", "reason"),
    [
        ([1], [(0, 2)], 0, "do not fit together"),
        ([1, -2], [(0, 2)], 0, "do not fit together"),
        ([1, 1], [(0, 1), (2**31 - 1, 1)], 0, "do not fit together"),
        ([1], [(0, 1)], -53, "schema outside"),
        ([1], [(-(2**31), 1)], 0, "do not fit together"),
    ],
)
def test_a_native_histogram_that_contradicts_itself_is_rejected(
    deltas: list[int], spans: list[tuple[int, int]], schema: int, reason: str
) -> None:
    assert reason in post(Normaliser(), native(1, deltas, spans, 0, schema)).reason


def test_a_body_that_is_not_snappy_is_refused() -> None:
    with pytest.raises(InvalidMessage, match="malformed snappy"):
        Normaliser().emits_for_request(Signal.METRICS, b"\x05plain", SNAPPY, NOON)
