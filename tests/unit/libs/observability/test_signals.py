"""Metric names of every convention meet the same meaning."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from libs.contracts.anomaly import Signal
from libs.observability.signals import MetricKind, classify

OTEL_AND_PROMETHEUS = [
    ("http.server.request.duration", "s", "p95", Signal.LATENCY, "high", ""),
    ("http.server.request.duration", "s", "mean", Signal.LATENCY, "high", ""),
    ("http.server.request.duration", "{request}/s", "rate", Signal.TRAFFIC, "both", ""),
    ("http.server.active_requests", "{request}", "value", Signal.SATURATION, "high", "queue"),
    ("rpc.server.duration", "ms", "p50", Signal.LATENCY, "high", ""),
    ("process.memory.usage", "By", "value", Signal.SATURATION, "high", "memory"),
    ("process.cpu.utilization", "1", "value", Signal.SATURATION, "high", "cpu"),
    ("process.thread.count", "{thread}", "value", Signal.SATURATION, "high", "threads"),
    ("db.client.connection.count", "{connection}", "value", Signal.SATURATION, "high", "pool"),
    ("db.client.connection.pending_requests", "{request}", "value", Signal.SATURATION, "high", "queue"),
    ("db.client.connection.wait_time", "s", "p95", Signal.SATURATION, "high", "pool"),
    ("worker_pool.in_use", "{worker}", "value", Signal.SATURATION, "high", "pool"),
    ("worker_pool.queue_depth", "{request}", "value", Signal.SATURATION, "high", "queue"),
    ("jvm.gc.duration", "s", "p99", Signal.SATURATION, "high", "gc"),
    ("system.network.errors", "{error}/s", "rate", Signal.ERRORS, "high", "network"),
    ("system.network.io", "By/s", "rate", Signal.TRAFFIC, "both", "network"),
    ("system.disk.io", "By/s", "rate", Signal.TRAFFIC, "both", "disk"),
    ("shop.orders.placed", "{order}/s", "rate", Signal.TRAFFIC, "both", ""),
    ("up", "", "value", Signal.SILENCE, "low", ""),
    ("node_load1", "", "value", Signal.SATURATION, "high", "cpu"),
    ("node_memory_MemAvailable_bytes", "", "value", Signal.SATURATION, "low", "memory"),
    ("node_filesystem_avail_bytes", "", "value", Signal.SATURATION, "low", "disk"),
    ("container_memory_working_set_bytes", "", "value", Signal.SATURATION, "high", "memory"),
    ("process_open_fds", "", "value", Signal.SATURATION, "high", ""),
    ("go_goroutines", "", "value", Signal.SATURATION, "high", "threads"),
    ("kafka_consumergroup_lag", "", "value", Signal.SATURATION, "high", "queue"),
    ("http_requests_total", "", "rate", Signal.TRAFFIC, "both", ""),
    ("http_request_duration_seconds_bucket", "", "rate", Signal.TRAFFIC, "both", ""),
    ("http_server_requests_seconds_max", "", "value", Signal.LATENCY, "high", ""),
    ("http_server_requests_seconds_count", "", "rate", Signal.TRAFFIC, "both", ""),
    ("kube_pod_container_status_restarts_total", "", "rate", Signal.ERRORS, "high", ""),
]
PUBLIC_DATA_SETS = [
    ("latency", "", "p99", Signal.LATENCY, "high", ""),
    ("requests", "", "value", Signal.TRAFFIC, "both", ""),
    ("availability", "%", "mean", Signal.ERRORS, "low", ""),
    ("CpuUsageRate(%)", "", "value", Signal.SATURATION, "high", "cpu"),
    ("CpuUsage(m)", "", "value", Signal.SATURATION, "high", "cpu"),
    ("MemoryUsageRate(%)", "", "value", Signal.SATURATION, "high", "memory"),
    ("NodeMemoryUsageRate(%)", "", "value", Signal.SATURATION, "high", "memory"),
    ("NetworkP95(ms)", "", "value", Signal.LATENCY, "high", "network"),
    ("NetworkReceiveBytes", "", "value", Signal.TRAFFIC, "both", "network"),
    ("SyscallRead", "", "value", Signal.TRAFFIC, "both", "disk"),
    ("PodServerLatencyP99(s)", "", "value", Signal.LATENCY, "high", ""),
    ("PodSuccessRate(%)", "", "value", Signal.ERRORS, "low", ""),
    ("PodWorkload(Ops)", "", "value", Signal.TRAFFIC, "both", ""),
    ("http_5xx_ratio", "", "value", Signal.ERRORS, "high", ""),
    ("http_server_5xx_rate", "", "value", Signal.ERRORS, "high", ""),
    ("memory_persist_error_ratio", "", "value", Signal.ERRORS, "high", ""),
    ("http_server_duration_p99_ms", "", "value", Signal.LATENCY, "high", ""),
    ("http_requests_per_second", "", "value", Signal.TRAFFIC, "both", ""),
    ("container_cpu_cfs_throttled_seconds", "", "value", Signal.SATURATION, "high", "cpu"),
    ("container_memory_working_set_gib", "", "value", Signal.SATURATION, "high", "memory"),
    ("queue_oldest_message_age_seconds", "", "value", Signal.SATURATION, "high", "queue"),
    ("db_pool_wait_seconds_p99", "", "value", Signal.SATURATION, "high", "pool"),
    ("db_pool_in_use", "", "value", Signal.SATURATION, "high", "pool"),
    ("pod_ready_replicas", "", "value", Signal.ERRORS, "low", ""),
    ("cache_hit_ratio", "", "value", Signal.OTHER, "low", ""),
    ("tls_cert_seconds_until_expiry", "", "value", Signal.OTHER, "low", ""),
    ("flink_job_uptime_seconds", "", "value", Signal.SILENCE, "low", ""),
    ("tso_cas_retry_exhausted_total", "", "value", Signal.ERRORS, "high", ""),
]
LIMITS = [
    "container.memory.limit",
    "worker_pool.size",
    "db.client.connection.max",
    "db_pool_max_conns",
    "jvm.memory.max",
]


@pytest.mark.parametrize(
    ("name", "unit", "statistic", "signal", "bad", "resource"), OTEL_AND_PROMETHEUS + PUBLIC_DATA_SETS
)
def test_a_known_name_tells_its_signal_its_bad_direction_and_its_resource(
    name: str, unit: str, statistic: str, signal: Signal, bad: str, resource: str
) -> None:
    kind = classify(name, unit, statistic)
    assert (kind.signal, kind.bad, kind.resource, kind.is_limit) == (signal, bad, resource, False)


@pytest.mark.parametrize("name", LIMITS)
def test_a_configured_limit_is_no_measurement(name: str) -> None:
    kind = classify(name)
    assert kind.is_limit
    assert kind.resource


def test_an_unknown_name_is_other_and_bad_in_both_directions() -> None:
    assert classify("flux.capacitor") == MetricKind(signal=Signal.OTHER, bad="both")


@given(st.text(max_size=60), st.text(max_size=8), st.text(max_size=8))
def test_any_text_has_a_meaning(name: str, unit: str, statistic: str) -> None:
    assert classify(name, unit, statistic) == classify(name, unit, statistic)
