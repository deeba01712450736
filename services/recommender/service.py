"""Build the recommender service: the handler behind a loop that tells it when its emits are written."""

import os
import sys
from concurrent.futures import Executor, ThreadPoolExecutor
from threading import Event, get_native_id
from typing import Final

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

_NICENESS: Final = 19


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
            executor=executor or background(),
            stopping=stopping,
            log=platform.log,
        )
    )


def background() -> Executor:
    """One thread that gives way to everything else on the machine, as do the test runs that it starts.

    On two cores that also ran the demo shop, validation at equal rights slowed the shop into a ticket of its own.
    """
    return ThreadPoolExecutor(1, thread_name_prefix="analysis", initializer=_give_way)


def _give_way() -> None:
    if sys.platform == "linux":  # elsewhere a priority is of the whole process, which must answer decisions
        os.setpriority(os.PRIO_PROCESS, get_native_id(), _NICENESS)


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
