"""Build the ticketing service: the handler behind a loop, and the incident API beside it."""

from libs.errors import ConfigurationError
from libs.service.platform import Platform
from libs.service.run import Runnable
from libs.service.settings import Settings
from libs.streaming.acknowledging import AcknowledgingBroker
from libs.streaming.loop import Loop, LoopOptions
from services.ticketing.backends import open_backends
from services.ticketing.backends.jsonl import TicketLog
from services.ticketing.delivery import Delivery
from services.ticketing.handler import Parts, TicketingHandler
from services.ticketing.ledger import Ledger
from services.ticketing.lookup import Lookup
from services.ticketing.server import ApiServer, TicketingService

# The journal of a batch holds its changes whole: a hundred of the largest incidents are 30 MB.
_BATCH_MESSAGES = 100


def handler(settings: Settings, platform: Platform) -> TicketingHandler:
    """The functional core behind the handler protocol; nothing is opened before the first message or tick."""
    backends = dict(open_backends(settings))
    ticket_log = backends.pop("jsonl")
    if not isinstance(ticket_log, TicketLog):
        raise ConfigurationError("the ticket log is the backend jsonl")
    ledger = Ledger(platform.incidents, ticket_log)
    lookup = Lookup(
        platform.incidents,
        platform.telemetry,
        ledger,
        correlation_s=settings.correlation_s,
        clock=platform.clock,
    )
    return TicketingHandler(
        Parts(
            incidents=platform.incidents,
            telemetry=platform.telemetry,
            lookup=lookup,
            ledger=ledger,
            ticket_log=ticket_log,
            delivery=Delivery(backends, platform.incidents, platform.log),
            log=platform.log,
        )
    )


def build(settings: Settings, platform: Platform) -> Runnable:
    """The running service: a loop over the topics in the calling thread, the API in another."""
    core = handler(settings, platform)
    core.wait_for_acknowledgement()
    loop = Loop(
        core,
        AcknowledgingBroker(platform.broker, core),
        platform.codec,
        LoopOptions(group="ticketing", batch_messages=_BATCH_MESSAGES),
        log=platform.log,
        metrics=platform.metrics,
        clock=platform.clock,
    )
    return TicketingService(loop, ApiServer(settings, platform, lambda: loop.state))
