"""Static thresholds from a TOML file.

[[threshold]]
metric = "db.client.connection.pending_requests"
service = "checkout"        # default "*"
statistic = "value"         # default: any
above = 20.0                # or below = ...
for_points = 3              # points in a row, default 2
severity = "high"           # default medium
"""

from pathlib import Path
from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from libs.contracts.anomaly import Severity
from services.detector.toml_entries import read_entries


class Threshold(BaseModel):
    """One limit that a metric must keep."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    metric: Annotated[str, Field(min_length=1)]
    service: Annotated[str, Field(min_length=1)] = "*"
    statistic: str | None = None
    above: float | None = None
    below: float | None = None
    for_points: Annotated[int, Field(ge=1, le=100)] = 2
    severity: Severity = Severity.MEDIUM

    @model_validator(mode="after")
    def _has_one_limit(self) -> Self:
        if (self.above is None) == (self.below is None):
            raise ValueError("give either above or below")
        return self

    def applies(self, service: str, metric: str, statistic: str) -> bool:
        """Whether it speaks of a series."""
        return self.metric == metric and self.service in ("*", service) and self.statistic in (None, statistic)


def load_thresholds(path: Path | None) -> tuple[Threshold, ...]:
    """Thresholds of a file, none without one; `ConfigurationError` says what is wrong."""
    return () if path is None else tuple(read_entries(path, "threshold", Threshold))
