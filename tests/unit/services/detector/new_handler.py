"""A detector handler as the service builds it, on a clock that nobody reads."""

from libs.contracts.codec import Codec
from libs.observability.log import Logger
from libs.observability.metrics import ServiceMetrics
from libs.service.platform import Platform
from libs.service.settings import Settings
from services.detector.handler import DetectorHandler
from services.detector.service import handler


def new_handler(*, scores_ahead: bool = False, **overrides: object) -> DetectorHandler:
    """A handler with settings of the test's own."""
    settings = Settings(_env_file=None, **overrides)  # type: ignore[arg-type,call-arg]  # pydantic checks
    platform = Platform(
        service="detector",
        settings=settings,
        log=Logger("detector", level="error"),
        metrics=ServiceMetrics(),
        codec=Codec(),
    )
    return handler(settings, platform, scores_ahead=scores_ahead)
