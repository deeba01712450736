"""Configuration of scoring: one set of defaults for every series; nothing is tuned per file or per metric."""

from dataclasses import dataclass
from typing import Final

from libs.errors import ConfigurationError

FEATURE_NAMES: Final = ("novelty", "seasonal", "local", "level", "variance", "drift", "forest")


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoringConfig:
    """How series are scored; docs/detection.md says where each default comes from.

    Attributes:
        max_series: Slots kept at once; the slot with the oldest event time is evicted.
        max_families: Forests kept at once; further families share the last one.
        warm_up_points: Points a series must have taught before `is_anomaly` may be true. The refractory window is
            at least 100 points wide, and the n-th point of any series is its most novel so far with chance 1/n:
            before 100 points every hundredth series would alarm on nothing.
        novelty_threshold: Novelty, in standard deviations of the series, from which a point is an anomaly.
        band_width: Half width of the expected band in robust standard deviations.
        random_seed: Seed of the forests.
    """

    max_series: int = 5_000
    max_families: int = 64
    warm_up_points: int = 100
    novelty_threshold: float = 0.2
    band_width: float = 4.0
    random_seed: int = 7

    def __post_init__(self) -> None:
        if self.max_series < 1 or self.max_families < 1:
            raise ConfigurationError("max_series and max_families must be at least 1")
        if self.warm_up_points < 2:
            raise ConfigurationError("warm_up_points must be at least 2: a spread needs two points")
        if not 0.0 < self.novelty_threshold < float("inf") or not 0.0 < self.band_width < float("inf"):
            raise ConfigurationError("novelty_threshold and band_width must be finite and positive")
