"""Build the investigator: the handler, and the loop that feeds it."""

from libs.runbooks import SHIPPED, load_runbooks
from libs.service.platform import Platform
from libs.service.run import Runnable
from libs.service.settings import Settings
from libs.streaming.loop import Loop, LoopOptions
from services.investigator.further import Further
from services.investigator.handler import InvestigatorHandler


def handler(settings: Settings, platform: Platform) -> InvestigatorHandler:
    """The functional core behind the handler protocol; without a model it starts no thread."""
    folders = [SHIPPED] if settings.runbooks_dir is None else [SHIPPED, settings.runbooks_dir]
    return InvestigatorHandler(
        telemetry=platform.telemetry,
        incidents=platform.incidents,
        runbooks=load_runbooks(*folders),
        window_s=settings.window_s,
        clock=platform.clock,
        log=platform.log,
        further=Further(settings.model, settings.investigation_s, platform.log) if settings.model else None,
    )


def build(settings: Settings, platform: Platform) -> Runnable:
    """The running service."""
    return Loop(
        handler(settings, platform),
        platform.broker,
        platform.codec,
        LoopOptions(group="investigator"),
        log=platform.log,
        metrics=platform.metrics,
        clock=platform.clock,
    )
