"""The demo on servers of the settings: only where nobody's data is, with everything in place before it starts."""

from collections.abc import Callable

from libs.contracts.topics import topics
from libs.errors import ConfigurationError
from libs.service.settings import Settings
from libs.stores.incidents import IncidentQuery
from libs.stores.open import open_incident_store, open_telemetry_store
from libs.streaming.kafka_topics import TopicAdmin
from paramedic.setup_steps import Patience, Status, carry_out, setup_steps

_ADVICE = (
    "the demo would mix with it, and deletes nothing: empty the stack with `python -m deploy.stack down --erase` and "
    "start it again, name other servers, or let `make demo-stack` start its own"
)
_PREFIX = "In Elasticsearch PARAMEDIC_ELASTICSEARCH_PREFIX gives the demo indices of its own"


def require_own(settings: Settings) -> None:
    """Refuse servers that hold somebody's data.

    Raises:
        ConfigurationError: No cluster is named, or a topic or a store holds something; says which.
        Unavailable: A server does not answer.
    """
    if settings.broker == "embedded":
        raise ConfigurationError(
            "--stack runs on the servers of the settings, and PARAMEDIC_BROKER names none; `make demo-stack` starts "
            'its own, eval "$(python -m deploy.stack env --settings)" names those of `make stack-up`'
        )
    names = [name for topic in topics().values() for name in (topic.name, topic.dead_letter)]
    held = TopicAdmin(settings.broker, settings.kafka).messages(names)
    if held:
        told = ", ".join(f"{name} ({count:,} messages)" for name, count in sorted(held.items()))
        raise ConfigurationError(f"the broker {settings.broker} holds data: {told}; {_ADVICE}")
    _require_empty_incidents(settings)
    _require_empty_telemetry(settings)


def _require_empty_incidents(settings: Settings) -> None:
    store = open_incident_store(settings.incident_store, settings.data_dir, settings.elastic)
    try:
        count, states = store.search(IncidentQuery(limit=1)).total, store.states("")
    finally:
        store.close()
    if count or states:
        raise ConfigurationError(
            f"the incident store {settings.incident_store} holds data: {count:,} incidents, {len(states):,} pieces of "
            f"shared state; {_ADVICE}. {_PREFIX}"
        )


def _require_empty_telemetry(settings: Settings) -> None:
    store = open_telemetry_store(settings.telemetry_store, settings.data_dir, settings.elastic)
    try:
        services = [one.service for one in store.services()]
    finally:
        store.close()
    if services:
        raise ConfigurationError(
            f"the telemetry store {settings.telemetry_store} holds data of {', '.join(services[:5])}; "
            f"{_ADVICE}. {_PREFIX}"
        )


def put_in_place(settings: Settings, tell: Callable[[str], None]) -> None:
    """Topics, schemas and index templates, as `paramedic setup` does; `ConfigurationError` when a step fails."""
    for outcome in carry_out(setup_steps(settings), Patience(tell=tell)):
        if outcome.status is Status.FAILED:
            raise ConfigurationError(f"{outcome.step}: {outcome.detail}; {outcome.advice}".rstrip("; "))
        if outcome.status is not Status.SKIPPED:
            tell(f"{outcome.step}: {outcome.status}, {outcome.detail}")
