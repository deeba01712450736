"""Build the recommender service: the handler behind a loop that tells it when its emits are written."""

from concurrent.futures import Executor, ThreadPoolExecutor
from threading import Event

from libs.observability.log import Logger
from libs.service.platform import Platform
from libs.service.run import Runnable
from libs.service.settings import Settings
from libs.streaming.acknowledging import AcknowledgingBroker
from libs.streaming.loop import Loop, LoopOptions
from services.recommender.analysis import Analyst, Improver
from services.recommender.configuration import load_configuration
from services.recommender.handler import Parts, RecommenderHandler
from services.recommender.ledger import Ledger
from services.recommender.patch import Declined, Patch
from services.recommender.rule import Finding
from services.recommender.source import Source


def handler(settings: Settings, platform: Platform, executor: Executor | None = None) -> RecommenderHandler:
    """The functional core behind the handler protocol; stores are read with the first message or tick.

    Args:
        executor: Where analyses run; a thread of its own by default.
    Raises:
        ConfigurationError: the configuration file is wrong.
    """
    configuration = load_configuration(settings.recommendations_file)
    stopping = Event()
    analyst = Analyst(
        telemetry=platform.telemetry,
        configuration=configuration,
        improve=_improver(settings.model, platform.log) if settings.model else None,
        stopping=stopping.is_set,
    )
    return RecommenderHandler(
        Parts(
            incidents=platform.incidents,
            telemetry=platform.telemetry,
            ledger=Ledger(platform.incidents, platform.log, tells=configuration.delivery.event),
            analyst=analyst,
            configuration=configuration,
            executor=executor or ThreadPoolExecutor(1, thread_name_prefix="analysis"),
            stopping=stopping,
            log=platform.log,
        )
    )


def build(settings: Settings, platform: Platform) -> Runnable:
    """The running service."""
    core = handler(settings, platform)
    core.wait_for_acknowledgement()
    return Loop(
        core,
        AcknowledgingBroker(platform.broker, core),
        platform.codec,
        LoopOptions(group="recommender"),
        log=platform.log,
        metrics=platform.metrics,
        clock=platform.clock,
    )


def _improver(model: str, log: Logger) -> Improver:
    """Asks the model; LangChain is imported with the first question."""

    def improve(finding: Finding, source: Source, why: str) -> Patch | Declined:
        from services.recommender.model_patch import ModelPatcher

        return ModelPatcher(model, log)(finding, source, why)

    return improve
