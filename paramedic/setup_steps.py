"""What has to be in place before services run on real servers: each step looks, then does what is missing."""

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import TYPE_CHECKING, Final

from libs.errors import ConfigurationError, InvalidMessage, ParamedicError, Unavailable
from libs.service.settings import Settings
from libs.stores.elastic_options import ElasticOptions, is_elastic, parse_addresses
from libs.stores.open import with_client

if TYPE_CHECKING:
    from libs.stores.elastic_provision import Provisioned

WAIT_S: Final = 120.0  # Kibana is the slowest: its own health check allows it a minute to start (docker-compose.yml)
_AGAIN_S: Final = 2.0


class Status(StrEnum):
    """How a step ended."""

    DONE = "done"
    SAME = "already so"
    PLANNED = "to do"
    SKIPPED = "not needed"
    FAILED = "failed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """One line of the set-up.

    Attributes:
        step: What it was about.
        status: How it ended.
        detail: What was done or found.
        advice: What to do, "" when nothing.
    """

    step: str
    status: Status
    detail: str
    advice: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One thing to put in place.

    Attributes:
        name: What.
        where: The server that is asked, "" for none.
        act: Does it, or with `dry_run` only looks.
        advice: What to do when it fails.
    """

    name: str
    where: str
    act: Callable[[bool], tuple[Status, str]]
    advice: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """How long a server may take to come up.

    Attributes:
        longest_s: Seconds for each step.
        sleep: Waits.
        now: Seconds of a steady clock.
        tell: Told once a step what is waited for.
    """

    longest_s: float = WAIT_S
    sleep: Callable[[float], None] = time.sleep
    now: Callable[[], float] = time.monotonic
    tell: Callable[[str], None] = print


def carry_out(steps: Iterable[Step], patience: Patience, *, dry_run: bool = False) -> Iterator[Outcome]:
    """Do one step after the other; one that fails does not keep the next from being tried."""
    for step in steps:
        yield _attempt(step, patience, dry_run=dry_run)


def _attempt(step: Step, patience: Patience, *, dry_run: bool) -> Outcome:
    deadline, told = patience.now() + patience.longest_s, False
    while True:
        try:
            status, detail = step.act(dry_run)
            return Outcome(step=step.name, status=status, detail=detail)
        except Unavailable as error:
            if patience.now() + _AGAIN_S > deadline:
                detail = f"{error}; given up after {patience.longest_s:g} s"
                return Outcome(step=step.name, status=Status.FAILED, detail=detail, advice=step.advice)
            if not told:
                patience.tell(f"waiting at most {patience.longest_s:g} s for {step.where}: {error}")
                told = True
            patience.sleep(_AGAIN_S)
        except ParamedicError as error:
            advice = "" if isinstance(error, ConfigurationError) else step.advice  # its own text says what to do
            return Outcome(step=step.name, status=Status.FAILED, detail=str(error), advice=advice)


def setup_steps(settings: Settings, kibana_url: str = "") -> list[Step]:
    """The steps that the settings ask for.

    Args:
        settings: All settings.
        kibana_url: Address of Kibana instead of that of the settings.
    """
    kibana = kibana_url or settings.kibana_url
    return [
        Step(
            name="topics",
            where=f"Kafka at {settings.broker}",
            act=lambda dry_run: _topics(settings, dry_run=dry_run),
            advice="start the broker, or correct PARAMEDIC_BROKER and PARAMEDIC_KAFKA",
        ),
        Step(
            name="schemas",
            where=f"the Schema Registry at {settings.schema_registry}",
            act=lambda dry_run: _schemas(settings, dry_run=dry_run),
            advice="start the registry, or correct PARAMEDIC_SCHEMA_REGISTRY; `paramedic schemas check` shows more",
        ),
        _store(settings, "incident", settings.incident_store),
        _store(settings, "telemetry", settings.telemetry_store),
        Step(
            name="kibana",
            where=f"Kibana at {kibana}",
            act=lambda dry_run: _kibana(settings, kibana, dry_run=dry_run),
            advice="start Kibana, or correct --kibana and PARAMEDIC_KIBANA_*; `paramedic kibana import` shows more",
        ),
    ]


def _store(settings: Settings, store: str, address: str) -> Step:
    return Step(
        name=f"{store} store",
        where=f"Elasticsearch at {address}",
        act=lambda dry_run: _indices(settings, store, address, dry_run=dry_run),
        advice=f"start Elasticsearch, or correct PARAMEDIC_{store.upper()}_STORE and PARAMEDIC_ELASTICSEARCH_*",
    )


def _topics(settings: Settings, *, dry_run: bool) -> tuple[Status, str]:
    if settings.broker == "embedded":
        return Status.SKIPPED, "the embedded broker makes its topics itself"
    from paramedic.topics_apply import apply_topics

    steps = apply_topics(settings, dry_run=dry_run)
    changed = [step for step in steps if step.changes]
    notes = [f"{step.name}: {note}" for step in steps for note in step.notes]
    verb = "to change" if dry_run else "changed"
    told = [f"{len(changed)} {verb}, {len(steps) - len(changed)} as declared", *notes]
    return _status(changed, dry_run=dry_run), "; ".join(told)


def _schemas(settings: Settings, *, dry_run: bool) -> tuple[Status, str]:
    if not settings.schema_registry:
        return Status.SKIPPED, "no Schema Registry is configured; the ids of schemas/ids.toml are used"
    from libs.service.open_registry import open_registry
    from paramedic.schema_registration import SubjectState, compare, register, require_compatible

    registry = open_registry(settings)
    if dry_run:
        subjects = compare(registry)
        require_compatible(subjects)
    else:
        subjects = register(registry)
    changed = [subject for subject in subjects if subject.state is not SubjectState.REGISTERED]
    verb = "to register" if dry_run else "registered"
    return _status(changed, dry_run=dry_run), f"{len(changed)} {verb}, {len(subjects) - len(changed)} were there"


def _indices(settings: Settings, store: str, address: str, *, dry_run: bool) -> tuple[Status, str]:
    if not is_elastic(address):
        return Status.SKIPPED, "SQLite makes its file when it is first opened"

    def put_in_place(options: ElasticOptions) -> "Provisioned":
        from libs.stores.elastic_provision import provision

        return provision(options, store, dry_run=dry_run)

    addresses = parse_addresses(address, f"PARAMEDIC_{store.upper()}_STORE")
    found = with_client(put_in_place, replace(settings.elastic, addresses=addresses))
    made = "to make" if dry_run else "made"
    kept = "there" if dry_run else "there and brought up to date"
    told = [f"{len(found.missing)} index templates {made}, {len(found.present)} {kept}", *found.notices]
    if found.lacking:
        told.append(f"{found.lacking} incidents of an earlier release {'to index' if dry_run else 'indexed'} anew")
    return _status(found.missing or range(found.lacking), dry_run=dry_run), "; ".join(told)


def _kibana(settings: Settings, url: str, *, dry_run: bool) -> tuple[Status, str]:
    if not url:
        return Status.SKIPPED, "no Kibana is configured; --kibana http://host:5601 imports its dashboard"
    from paramedic.kibana import import_objects, kibana_access, saved_objects

    access, objects = kibana_access(settings, url), saved_objects(settings.elasticsearch_prefix)
    if dry_run:
        return Status.PLANNED, f"{len(objects.splitlines())} objects to import; Kibana was not asked"
    result = import_objects(access, objects)
    if result.rejected:
        raise InvalidMessage("; ".join(f"{refused.type} {refused.id}: {refused.reason}" for refused in result.rejected))
    new = [taken for taken in result.imported if not taken.replaced]
    return _status(new, dry_run=False), f"{len(new)} objects new, {len(result.imported) - len(new)} replaced"


def _status(changed: Iterable[object], *, dry_run: bool) -> Status:
    if not list(changed):
        return Status.SAME
    return Status.PLANNED if dry_run else Status.DONE
