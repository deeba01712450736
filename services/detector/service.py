"""The detector: its handler, and the Faust worker around it."""

from typing import Any

from libs.service.platform import Platform
from libs.service.run import Runnable
from libs.service.settings import Settings
from services.detector import detectors as package
from services.detector.counters import DetectorCounters
from services.detector.detector import DETECTORS, Detector, DetectorOptions
from services.detector.handler import DetectorHandler
from services.detector.objectives import load_objectives
from services.detector.thresholds import load_thresholds


def options_from(settings: Settings) -> DetectorOptions:
    """What an operator set; `ConfigurationError` when a file is wrong."""
    return DetectorOptions(
        warmup_s=settings.warmup_s,
        window_s=settings.window_s,
        objectives=load_objectives(settings.slo_file),
        thresholds=load_thresholds(settings.thresholds_file),
    )


def all_detectors(options: DetectorOptions) -> list[Detector[Any, Any]]:
    """Every registered detector, in order of name."""
    DETECTORS.load(package)
    return [make(options) for _, make in DETECTORS]


def handler(settings: Settings, platform: Platform, *, scores_ahead: bool = False) -> DetectorHandler:
    """The detector as a plain handler: used live, by replay and by tests."""
    options = options_from(settings)
    return DetectorHandler(
        all_detectors(options),
        options,
        lateness_s=settings.lateness_s,
        counters=DetectorCounters(platform.metrics.registry),
        scores_ahead=scores_ahead,
    )


def build(settings: Settings, platform: Platform) -> Runnable:
    """The Faust worker."""
    from services.detector.app import DetectorWorker

    return DetectorWorker(handler(settings, platform, scores_ahead=True), settings, platform)
