"""Scoring of telemetry series: streaming, causal, one configuration for all; docs/detection.md explains the features.

The names below are imported on first use: numba takes about a second to import, which the command line cannot spare.
"""

from typing import TYPE_CHECKING

from services.detector.scoring.config import FEATURE_NAMES, ScoringConfig

if TYPE_CHECKING:
    from services.detector.scoring.forest import Forest
    from services.detector.scoring.multivariate import MultivariateConfig, MultivariateScorer, MultivariateScores
    from services.detector.scoring.series_bank import Scores, SeriesBank

__all__ = [
    "FEATURE_NAMES",
    "Forest",
    "MultivariateConfig",
    "MultivariateScorer",
    "MultivariateScores",
    "Scores",
    "ScoringConfig",
    "SeriesBank",
]

_HOMES = {
    "Forest": "services.detector.scoring.forest",
    "MultivariateConfig": "services.detector.scoring.multivariate",
    "MultivariateScorer": "services.detector.scoring.multivariate",
    "MultivariateScores": "services.detector.scoring.multivariate",
    "Scores": "services.detector.scoring.series_bank",
    "SeriesBank": "services.detector.scoring.series_bank",
}


def __getattr__(name: str) -> object:
    """Import a public name from its module (PEP 562)."""
    from importlib import import_module

    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
