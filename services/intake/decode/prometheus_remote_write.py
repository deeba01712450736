"""Prometheus remote write 1.0: snappy-compressed protobuf, translated into the terms of OTLP.

Remote write carries no types with its samples, so names decide: `_total` is a counter, `_bucket` with `le` is part of
a histogram, `_sum` and `_count` belong to a histogram or a summary when both are there, everything else is a gauge.
A histogram is put together from the buckets of one request. job and instance become service.name and
service.instance.id.

Source: Prometheus remote write specification 1.0; OpenTelemetry, "Prometheus and OpenMetrics compatibility".
"""

import math
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final

import cramjam
from google.protobuf.message import DecodeError
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.metrics.v1.metrics_pb2 import AggregationTemporality, ScopeMetrics

from libs.errors import InvalidMessage
from services.intake.decode.formats import PAYLOAD_MAX_BYTES, Decoded, Format
from services.intake.decode.prometheus_histograms import ClassicHistogram, add_classic, add_native
from services.intake.decode.runtime_messages import message_class
from services.intake.signals import Signal

SNAPPY: Final = "application/x-protobuf+snappy"  # our own name: on the wire it is a content encoding
CUMULATIVE: Final = AggregationTemporality.AGGREGATION_TEMPORALITY_CUMULATIVE
_STALE: Final = 0x7FF0000000000002  # Prometheus' staleness marker, a NaN of its own
_COUNTER, _GAUGE = 1, 2  # MetricMetadata.MetricType
_UNITS: Final = {"seconds": "s", "bytes": "By", "ratio": "1", "celsius": "Cel", "joules": "J", "volts": "V"}
_MAX_NS: Final = 2**63 - 1

Labels = tuple[tuple[str, str], ...]


@dataclass(slots=True)
class _Block:
    """What one job and instance sent.

    Attributes:
        scope: Where its metrics go.
        histograms: Histograms in the making, by name and labels without `le`.
    """

    scope: ScopeMetrics
    histograms: dict[tuple[str, Labels], ClassicHistogram] = field(default_factory=dict)


def decode(signal: Signal, payload: bytes) -> Decoded:
    """Decompress, parse and translate a write request."""
    write = message_class("WriteRequest")
    try:
        found = write.FromString(_decompressed(payload))
    except DecodeError as error:
        raise InvalidMessage(f"malformed remote write ({signal}, {len(payload)} bytes): {error}") from error
    return _Translation(found).decoded()


def _decompressed(payload: bytes) -> bytes:
    try:
        claimed = cramjam.snappy.decompress_raw_len(payload)
        if claimed > PAYLOAD_MAX_BYTES:
            raise InvalidMessage(f"{claimed} bytes uncompressed; at most {PAYLOAD_MAX_BYTES} are read")
        return bytes(cramjam.snappy.decompress_raw(payload))
    except cramjam.DecompressionError as error:
        raise InvalidMessage(f"malformed snappy ({len(payload)} bytes): {error}") from error


class _Translation:
    """One write request on its way to OTLP."""

    def __init__(self, write: Any) -> None:
        self._write = write
        self._request = ExportMetricsServiceRequest()
        self._blocks: dict[tuple[str, str], _Block] = {}
        self._rejected: list[tuple[str, str, int]] = []
        self._types = {entry.metric_family_name: entry.type for entry in write.metadata}

    def decoded(self) -> Decoded:
        """The request in the terms of OTLP."""
        series = [({pair.name: pair.value for pair in entry.labels}, entry) for entry in self._write.timeseries]
        names = {labels.get("__name__", "") for labels, _ in series}
        for labels, entry in series:
            name = labels.pop("__name__", "")
            if not name:
                self._rejected.append(("series without a name", "remote write", len(entry.samples)))
                continue
            block = self._block(labels)
            for histogram in entry.histograms:
                reason = add_native(block.scope.metrics.add(name=name, unit=_unit(name)), histogram, labels)
                if reason:
                    self._rejected.append((reason, name, 1))
                    del block.scope.metrics[-1]
            samples = list(_samples(entry))
            if samples:
                self._add_samples(name, labels, samples, names, block)
        for block in self._blocks.values():
            for (name, rest), histogram in block.histograms.items():
                metric = block.scope.metrics.add(name=name, unit=_unit(name))
                self._rejected += [(reason, name, 1) for reason in add_classic(metric, histogram, dict(rest))]
        return Decoded(request=self._request, rejected=tuple(self._rejected))

    def _block(self, labels: dict[str, str]) -> _Block:
        job, instance = labels.pop("job", "") or labels.pop("service_name", ""), labels.pop("instance", "")
        block = self._blocks.get((job, instance))
        if block is None:
            resource_metrics = self._request.resource_metrics.add()
            namespace, _, service = job.rpartition("/")
            identity = {
                "service.name": service,
                "service.namespace": namespace,
                "service.instance.id": instance,
            }
            for key, text in identity.items():
                if text:
                    resource_metrics.resource.attributes.add(key=key).value.string_value = text
            block = self._blocks[job, instance] = _Block(resource_metrics.scope_metrics.add())
        return block

    def _add_samples(
        self,
        name: str,
        labels: dict[str, str],
        samples: list[tuple[int, float]],
        names: set[str],
        block: _Block,
    ) -> None:
        family, _, suffix = name.rpartition("_")
        if suffix == "bucket" and "le" in labels:
            bound = labels.pop("le")
            self._histogram(family, labels, block).add_bucket(bound, samples)
        elif suffix in ("sum", "count") and f"{family}_bucket" in names:
            self._histogram(family, labels, block).add_total(suffix, samples)
        elif self._counts(name, family, suffix, names):
            metric = block.scope.metrics.add(name=name, unit=_unit(name))
            metric.sum.is_monotonic = True
            metric.sum.aggregation_temporality = CUMULATIVE
            _add_points(metric.sum.data_points, labels, samples)
        else:
            metric = block.scope.metrics.add(name=name, unit=_unit(name))
            statistic = _percentile(labels.get("quantile", ""))
            if statistic:
                labels = {key: text for key, text in labels.items() if key != "quantile"}
                labels["paramedic.statistic"] = statistic
            _add_points(metric.gauge.data_points, labels, samples)

    def _histogram(self, family: str, labels: dict[str, str], block: _Block) -> ClassicHistogram:
        return block.histograms.setdefault((family, tuple(sorted(labels.items()))), ClassicHistogram())

    def _counts(self, name: str, family: str, suffix: str, names: set[str]) -> bool:
        declared = self._types.get(name) or self._types.get(family)
        if declared in (_COUNTER, _GAUGE):
            return bool(declared == _COUNTER)
        if suffix == "total":
            return True
        return suffix in ("sum", "count") and {f"{family}_sum", f"{family}_count"} <= names


def _samples(entry: Any) -> Iterator[tuple[int, float]]:
    """Unix nanoseconds and value; a staleness marker says that there is no sample."""
    for sample in entry.samples:
        value = sample.value
        if value != value and struct.unpack("<Q", struct.pack("<d", value))[0] == _STALE:
            continue
        yield min(_MAX_NS, max(0, sample.timestamp * 1_000_000)), value


def _add_points(points: Any, labels: dict[str, str], samples: list[tuple[int, float]]) -> None:
    for time_ns, value in samples:
        point = points.add(time_unix_nano=time_ns, as_double=value)
        for key, text in labels.items():
            point.attributes.add(key=key).value.string_value = text


def _unit(name: str) -> str:
    for word in reversed(name.split("_")[-2:]):
        if word in _UNITS:
            return _UNITS[word]
    return ""


def _percentile(quantile: str) -> str:
    """Statistic of a summary's quantile label, "" when it is none."""
    try:
        share = float(quantile)
    except ValueError:
        return ""
    return f"p{share * 100:.4f}".rstrip("0").rstrip(".") if math.isfinite(share) and 0 <= share <= 1 else ""


FORMAT: Final = Format(
    name="prometheus_remote_write",
    signals=frozenset({Signal.METRICS}),
    content_types=frozenset({SNAPPY}),
    decode=decode,
)
