"""Build the investigator: the handler, and the loop that feeds it."""

from libs.runbooks import SHIPPED, load_runbooks
from libs.service.platform import Platform
from libs.service.run import Runnable
from libs.service.settings import Settings
from libs.streaming.loop import Loop, LoopOptions
from services.investigator.further import Further
from services.investigator.handler import InvestigatorHandler
from services.investigator.tool_servers import tool_servers


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
        further=further(settings, platform),
    )


def further(settings: Settings, platform: Platform) -> Further | None:
    """The model with the servers that it may ask, None without one; `ConfigurationError` names a missing variable."""
    if not settings.model:
        return None
    return Further(settings.model, settings.investigation_s, platform.log, servers=tool_servers(settings))


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
