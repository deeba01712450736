"""What a metric tells of: which golden signal, which way is bad, which resource; from its name, unit and statistic.

Names are cut into lower-case words (separators, camel case), so that OpenTelemetry, Prometheus and home-made names meet
the same rules: `http.server.request.duration`, `http_server_duration_p99_ms` and `PodServerLatencyP99(s)` are latency.
The rules are tried in the order of `classify`; the first one that knows a word decides.

Sources: OpenTelemetry semantic conventions 1.28 (http, rpc, db, messaging, process, system, container, k8s, jvm);
Prometheus naming practices; the four golden signals of the Google SRE book, chapter 6.
"""

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Final, Literal

from libs.contracts.anomaly import Signal

Bad = Literal["high", "low", "both"]
Resource = Literal["", "cpu", "memory", "disk", "network", "pool", "queue", "threads", "gc"]


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricKind:
    """What a metric tells of.

    Attributes:
        signal: Golden signal.
        bad: Direction that hurts.
        resource: What is used up, "" when the metric is of no resource.
        is_limit: Whether it is a configured limit (a pool's size, a memory limit): not a measurement, never anomalous.
    """

    signal: Signal
    bad: Bad
    resource: Resource = ""
    is_limit: bool = False


_WORD: Final = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+xx|\d+")
_QUANTILE: Final = re.compile(r"(?<![A-Za-z])[pP](?:50|75|90|95|99)(?!\d)|(?<=[a-z])P(?:50|75|90|95|99)(?!\d)")


def _list(*lines: str) -> frozenset[str]:
    return frozenset(" ".join(lines).split())


# Most specific resource first: a connection pool's wait tells of the pool, a GC's pause of the collector.
_RESOURCES: Final[tuple[tuple[Resource, frozenset[str]], ...]] = (
    ("gc", frozenset({"gc", "garbage"})),
    ("queue", frozenset({"queue", "queued", "backlog", "pending", "lag", "inflight"})),
    ("pool", frozenset({"pool", "connection", "connections", "conn", "conns", "worker", "workers"})),
    ("threads", frozenset({"thread", "threads", "goroutine", "goroutines", "fibers", "coroutines"})),
    ("cpu", frozenset({"cpu", "cfs"})),
    ("memory", frozenset({"memory", "mem", "rss", "heap", "swap", "oom", "paging"})),
    ("disk", frozenset({"disk", "filesystem", "fs", "volume", "inode", "inodes", "iops", "storage", "wal"})),
    ("network", frozenset({"network", "net", "tcp", "udp", "socket", "sockets", "packet", "packets", "nic"})),
)
_ERRORS: Final = _list(
    "error errors err failure failures failed fail exception exceptions 5xx 500 502 503 504 fault faults timeout",
    "timeouts dropped drops rejected refused exhausted aborted aborts crash crashes restart restarts unhealthy",
    "retransmits retransmit retry retries violation violations unavailable panic panics oom killed lost poison",
    "deadlock deadlocks",
)
_SUCCESS: Final = _list("success successful succeeded availability healthy ready")
_UP: Final = frozenset({"up", "uptime", "heartbeat", "heartbeats", "alive"})
_THROTTLED: Final = frozenset({"throttle", "throttled", "throttling", "throttles", "pressure", "saturation"})
_LATENCY: Final = frozenset({"latency", "latencies", "duration", "elapsed", "rtt", "delay", "ttfb", "responsetime"})
_WAIT: Final = frozenset({"wait", "waiting", "age", "blocked"})
_LIMIT: Final = frozenset({"limit", "limits", "max", "maximum", "capacity", "quota"})
_IDLE: Final = frozenset({"free", "idle", "available", "avail", "remaining", "left", "unused"})
_TRAFFIC: Final = _list(
    "request requests req reqs rps qps tps rpm throughput ops operations workload calls call messages queries query",
    "transactions orders hits invocations events records visits sessions",
)
_TIME_UNITS: Final = frozenset({"s", "ms", "us", "ns", "min", "seconds", "milliseconds", "microseconds"})
_LONG_UNITS: Final = frozenset({"ms", "seconds", "milliseconds", "microseconds"})  # "requests/s" is no duration
_PER_TIME: Final = frozenset({"per", "rate", "rps", "qps", "tps", "rpm", "throughput"})
_HIT: Final = frozenset({"hit", "hits"})
_EXPIRY: Final = frozenset({"expiry", "expiration", "expires"})
_CUMULATIVE_READS: Final = frozenset({"read", "write", "reads", "writes", "receive", "transmit", "io", "bytes"})


@lru_cache(maxsize=8192)
def classify(name: str, unit: str = "", statistic: str = "value") -> MetricKind:
    """Say what a metric tells of; an unknown name is `other`, bad in both directions.

    Args:
        name: Metric name in any convention.
        unit: UCUM unit, "" when unknown.
        statistic: value, rate, mean, p50, p95 or p99; the rate of a duration histogram is traffic.
    """
    words = words_of(name)
    resource = _resource(words)
    if _is_limit(words, resource):
        return MetricKind(signal=Signal.OTHER, bad="both", resource=resource, is_limit=True)
    return (
        _availability(words, resource)
        or _throttling(words, resource)
        or _failures(words, resource)
        or _special(words)
        or _duration(name, words, unit, statistic, resource)
        or _usage(words, unit, statistic, resource)
        or _flow(words, unit, statistic)
        or MetricKind(signal=Signal.OTHER, bad="both")
    )


@lru_cache(maxsize=8192)
def words_of(name: str) -> frozenset[str]:
    """The lower-case words of a metric name."""
    return frozenset(word.lower() for word in _WORD.findall(name))


def _resource(words: frozenset[str]) -> Resource:
    for resource, known in _RESOURCES:
        if words & known:
            return resource
    if {"working", "set"} <= words:
        return "memory"
    return "cpu" if "load" in words and words & {"1", "5", "15", "1m", "5m", "15m", "average"} else ""


def _is_limit(words: frozenset[str], resource: Resource) -> bool:
    if not resource:
        return False
    if words & _LIMIT and not words & {"ratio", "utilization", "usage", "used", "exceeded"}:
        return True
    return "size" in words and resource == "pool"


def _availability(words: frozenset[str], resource: Resource) -> MetricKind | None:
    if words & _UP and not resource:
        return MetricKind(signal=Signal.SILENCE, bad="low")
    if words & _SUCCESS:
        return MetricKind(signal=Signal.ERRORS, bad="low")
    return None


def _throttling(words: frozenset[str], resource: Resource) -> MetricKind | None:
    if words & _THROTTLED:
        return MetricKind(signal=Signal.SATURATION, bad="high", resource=resource)
    return None


def _failures(words: frozenset[str], resource: Resource) -> MetricKind | None:
    if words & _ERRORS:
        # memory_persist_error_ratio is no memory: only where a device itself fails does the resource matter
        of_device = resource in ("network", "disk")
        return MetricKind(signal=Signal.ERRORS, bad="high", resource=resource if of_device else "")
    return None


def _special(words: frozenset[str]) -> MetricKind | None:
    if words & _EXPIRY or ("cache" in words and words & _HIT):
        return MetricKind(signal=Signal.OTHER, bad="low")
    return None


def _duration(name: str, words: frozenset[str], unit: str, statistic: str, resource: Resource) -> MetricKind | None:
    is_quantile = statistic in {"p50", "p95", "p99", "mean"} or _QUANTILE.search(name) is not None
    timed = bool(words & _LATENCY) or {"response", "time"} <= words or {"request", "time"} <= words
    timed = timed or bool(words & {"request", "requests"} and words & _LONG_UNITS and not words & _PER_TIME)
    timed = timed or (is_quantile and (unit in _TIME_UNITS or bool(words & _TIME_UNITS)))
    if resource in ("gc", "pool", "queue", "threads") and (timed or words & _WAIT):
        return MetricKind(signal=Signal.SATURATION, bad="high", resource=resource)
    if not timed:
        return None
    if statistic == "rate" or words & {"count", "bucket"}:
        return MetricKind(signal=Signal.TRAFFIC, bad="both")
    return MetricKind(signal=Signal.LATENCY, bad="high", resource=resource)


def _usage(words: frozenset[str], unit: str, statistic: str, resource: Resource) -> MetricKind | None:
    if {"active", "requests"} <= words or {"in", "flight"} <= words or {"concurrent", "requests"} <= words:
        return MetricKind(signal=Signal.SATURATION, bad="high", resource="queue")
    if words & {"fds", "descriptors"}:
        return MetricKind(signal=Signal.SATURATION, bad="high")
    if not resource:
        is_io = bool(words & {"syscall"}) and bool(words & _CUMULATIVE_READS)
        return MetricKind(signal=Signal.TRAFFIC, bad="both", resource="disk") if is_io else None
    if resource in ("network", "disk"):
        moved = bool(words & _CUMULATIVE_READS) and not words & {"usage", "used", "utilization", *_IDLE}
        if moved and (statistic == "rate" or unit.endswith("/s") or "usage" not in words):
            return MetricKind(signal=Signal.TRAFFIC, bad="both", resource=resource)
    return MetricKind(signal=Signal.SATURATION, bad="low" if words & _IDLE else "high", resource=resource)


def _flow(words: frozenset[str], unit: str, statistic: str) -> MetricKind | None:
    if words & _TRAFFIC or statistic == "rate" or unit.endswith("/s") or words & (_PER_TIME - {"rate"}):
        return MetricKind(signal=Signal.TRAFFIC, bad="both")
    return None
