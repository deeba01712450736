"""What every kind of metric point has in common: its time, its value, where it is written, why it is refused."""

import math
import re
from dataclasses import dataclass
from typing import Final

from opentelemetry.proto.metrics.v1.metrics_pb2 import AggregationTemporality, DataPointFlags, NumberDataPoint

from libs.contracts.batches import AttributePairs, MetricBatchBuilder, SeriesKey
from libs.errors import InvalidMessage
from services.intake.normalise.resources import Resource
from services.intake.signals import Tally

CUMULATIVE: Final = int(AggregationTemporality.AGGREGATION_TEMPORALITY_CUMULATIVE)
DELTA: Final = int(AggregationTemporality.AGGREGATION_TEMPORALITY_DELTA)
NO_VALUE_FLAG: Final = int(DataPointFlags.DATA_POINT_FLAGS_NO_RECORDED_VALUE_MASK)
STATISTIC: Final = "paramedic.statistic"  # written by `paramedic record`: what the values of a gauge already are
_STATISTIC_FORM: Final = re.compile(r"value|rate|mean|p\d{1,3}(\.\d{1,6})?")

NO_VALUE: Final = "no recorded value"
NOT_FINITE: Final = "NaN or infinite value"
OUT_OF_ORDER: Final = "older than the last point of its series"
NO_TEMPORALITY: Final = "aggregation temporality is not specified"


@dataclass(frozen=True, slots=True)
class Target:
    """Where the points of one scope of one resource go.

    Attributes:
        resource: The sender.
        scope: Name of the instrumentation scope.
        builder: Collects the points of the resource.
        tally: Counts what came of them.
    """

    resource: Resource
    scope: str
    builder: MetricBatchBuilder
    tally: Tally

    def write(self, key: SeriesKey, time_ns: int, value: float) -> None:
        """Write the one value of a point; a series too large for a message is refused."""
        try:
            self.builder.add(key, time_ns, value)
        except InvalidMessage as error:
            self.tally.reject(str(error), key[0])
            return
        self.tally.accepted += 1

    def write_all(
        self, name: str, attributes: AttributePairs, time_ns: int, found: list[tuple[str, str, float]]
    ) -> None:
        """Write the statistics of a point as (statistic, unit, value); the point counts once, skipped without any."""
        if not found:
            self.tally.skipped += 1
            return
        try:
            for statistic, unit, value in found:
                self.builder.add((name, statistic, unit, attributes), time_ns, value)
        except InvalidMessage as error:
            self.tally.reject(str(error), name)
            return
        self.tally.accepted += 1


def number(point: NumberDataPoint, name: str, tally: Tally) -> float | None:
    """Value of a gauge or sum point, whole numbers exact; None when it was refused."""
    if point.flags & NO_VALUE_FLAG:
        tally.reject(NO_VALUE, name)
        return None
    # Exactly one of the two is set and the other reads 0; asking for the kind costs 0.1 us a point.
    value = point.as_double or point.as_int
    if not value:
        if point.WhichOneof("value") is None:
            tally.reject(NO_VALUE, name)
            return None
        return point.as_double  # 0.0 keeps its sign
    if not math.isfinite(value):
        tally.reject(NOT_FINITE, name)
        return None
    return value


def statistic_of(attributes: dict[str, str]) -> str:
    """Take the statistic that a recording wrote out of the attributes; "value" when there is none."""
    statistic = attributes.get(STATISTIC)
    if statistic is None or not _STATISTIC_FORM.fullmatch(statistic):
        return "value"
    del attributes[STATISTIC]
    return statistic
