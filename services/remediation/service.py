"""Build the remediation service: the handler behind a loop that tells it when its emits are written."""

from libs.contracts.remediation import Mode
from libs.errors import ConfigurationError
from libs.runbooks import Runbook, load_runbooks
from libs.service.platform import Platform
from libs.service.run import Runnable
from libs.service.settings import Settings
from libs.streaming.acknowledging import AcknowledgingBroker
from libs.streaming.loop import Loop, LoopOptions
from services.remediation.executors.port import open_executor
from services.remediation.handler import Parts, RemediationHandler
from services.remediation.ledger import Ledger
from services.remediation.performer import Performer
from services.remediation.run import Limits
from services.remediation.self_healing_log import SelfHealingLog


def handler(settings: Settings, platform: Platform) -> RemediationHandler:
    """The functional core behind the handler protocol; stores are read with the first message or tick.

    Raises:
        ConfigurationError: a runbook, a mode or the executor's address is wrong.
    """
    runbooks = load_runbooks(settings.runbooks_dir)
    _check_modes(settings, runbooks)
    log = SelfHealingLog(settings.data_dir / "logs" / "self_healing.jsonl")
    ledger = Ledger(platform.incidents, log, platform.log)
    performer = Performer(
        incidents=platform.incidents,
        telemetry=platform.telemetry,
        executor=open_executor(settings.executor_url),
        runbooks={runbook.name: runbook for runbook in runbooks},
        ledger=ledger,
        modes=settings.modes,
    )
    return RemediationHandler(
        Parts(
            incidents=platform.incidents,
            telemetry=platform.telemetry,
            ledger=ledger,
            performer=performer,
            runbooks=runbooks,
            limits=lambda runbook: limits_of(settings, runbook),
            clock=platform.clock,
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
        LoopOptions(group="remediation"),
        log=platform.log,
        metrics=platform.metrics,
        clock=platform.clock,
    )


def limits_of(settings: Settings, runbook: Runbook | None) -> Limits:
    """Times of a run.

    A deviation is told at the latest two windows and the wait for late data after it began: the second window
    confirms it.
    """
    within_s = runbook.verification.within_s if runbook else None
    return Limits(
        verify_s=within_s or settings.verify_s,
        hold_s=settings.hold_s,
        settle_s=settings.window_s,
        detection_s=2 * settings.window_s + settings.lateness_s,
        neighbours=runbook.verification.neighbours if runbook else True,
    )


def _check_modes(settings: Settings, runbooks: list[Runbook]) -> None:
    names = {runbook.name for runbook in runbooks}
    for pattern, mode in settings.modes.items():
        if pattern not in names:
            raise ConfigurationError(f"PARAMEDIC_MODES: no pattern {pattern!r}; there are {', '.join(sorted(names))}")
        if mode not in set(Mode):
            raise ConfigurationError(f"PARAMEDIC_MODES: {pattern}: {mode!r} is not observe, approve or auto")
