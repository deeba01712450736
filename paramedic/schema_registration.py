"""Compare today's schemas with a Schema Registry, and register them; incompatible ones are never written."""

import io
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final

import fastavro
from fastavro.read import SchemaResolutionError
from fastavro.utils import generate_many

import schemas
from libs.contracts.avro_schema import derive
from libs.contracts.records import RECORDS
from libs.contracts.schema_diff import differences
from libs.contracts.topics import Topic, is_raw, topics
from libs.errors import ConfigurationError

if TYPE_CHECKING:
    from libs.streaming.registry import Registry

_SAMPLES: Final = 20  # random data visits the branches of every union
_STRICTER: Final[Mapping[str, frozenset[str]]] = {
    "BACKWARD": frozenset({"BACKWARD", "BACKWARD_TRANSITIVE", "FULL", "FULL_TRANSITIVE"})
}


class SubjectState(StrEnum):
    """How a subject compares with today's schema."""

    REGISTERED = "registered"
    MISSING = "missing"
    NEW_VERSION = "new version"
    INCOMPATIBLE = "incompatible"


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """One subject compared.

    Attributes:
        name: <topic>-value.
        record: Record of the topic.
        state: How it compares.
        version: Newest version in the registry, 0 for none.
        compatibility: Level set for the subject, "" for none.
        changes: What today's schema changes.
    """

    name: str
    record: str
    state: SubjectState
    version: int
    compatibility: str
    changes: tuple[str, ...] = ()


def compare(registry: "Registry") -> list[Subject]:
    """Compare every topic's subject; writes nothing."""
    return [_compare(registry, topic) for topic in topics().values() if not is_raw(topic.name)]


def register(registry: "Registry") -> list[Subject]:
    """Register what is missing or new, and hold every subject to its compatibility; how each was before.

    Raises:
        ConfigurationError: A schema is incompatible; nothing is written then.
    """
    found = compare(registry)
    require_compatible(found)
    declared = {_subject(topic): topic for topic in topics().values()}
    for subject in found:
        _register(registry, subject, declared[subject.name])
    return found


def require_compatible(subjects: Iterable[Subject]) -> None:
    """`ConfigurationError` names every subject that today's schema is not BACKWARD compatible with."""
    wrong = [subject for subject in subjects if subject.state is SubjectState.INCOMPATIBLE]
    if wrong:
        names = ", ".join(subject.name for subject in wrong)
        raise ConfigurationError(
            f"not BACKWARD compatible: {names}; nothing was registered. `paramedic schemas check` shows the changes: "
            "a new field needs a default, a field keeps its type"
        )


def _register(registry: "Registry", subject: Subject, topic: Topic) -> None:
    versions: list[Mapping[str, Any]] = [derive(RECORDS[topic.record])]
    if subject.state is SubjectState.MISSING:  # its history too, so that a reader of old messages finds their schema
        versions = [*_released(topic.record)[:-1], *versions]
        registry.register(subject.name, versions.pop(0))  # some registries keep no level of a subject that is not there
    if subject.compatibility not in _STRICTER[topic.compatibility]:
        registry.set_compatibility(subject.name, topic.compatibility)
    if subject.state is not SubjectState.REGISTERED:
        for schema in versions:
            registry.register(subject.name, schema)


def _compare(registry: "Registry", topic: Topic) -> Subject:
    name, today = _subject(topic), derive(RECORDS[topic.record])
    latest = registry.latest(name)
    if latest is None:
        return Subject(name=name, record=topic.record, state=SubjectState.MISSING, version=0, compatibility="")
    version, newest = latest
    if registry.id_of(name, today) is not None:
        state, changes = SubjectState.REGISTERED, []
    else:
        # A subject without a level of its own is accepted by its registry whatever it is: read old data to find out.
        compatible = registry.accepts(name, today) and _reads(today, newest)
        state = SubjectState.NEW_VERSION if compatible else SubjectState.INCOMPATIBLE
        changes = differences(newest, today)
    return Subject(
        name=name, record=topic.record, state=state, version=version, compatibility=registry.compatibility(name),
        changes=tuple(changes),
    )  # fmt: skip


def _reads(reader: Mapping[str, Any], writer: Mapping[str, Any]) -> bool:
    """Whether random data of one schema is read by the other."""
    old, new = fastavro.parse_schema(dict(writer)), fastavro.parse_schema(dict(reader))
    for sample in generate_many(old, _SAMPLES):
        body = io.BytesIO()
        fastavro.schemaless_writer(body, old, sample)
        body.seek(0)
        try:
            fastavro.schemaless_reader(body, old, new)
        except SchemaResolutionError:
            return False
    return True


def _released(record: str) -> list[Mapping[str, Any]]:
    """Every released version of a record, oldest first."""
    files = (schemas.ROOT / "released").glob(f"{record}.*.avsc")
    ordered = sorted(files, key=lambda path: int(path.name.split(".")[1]))
    return [json.loads(path.read_text()) for path in ordered]


def _subject(topic: Topic) -> str:
    return f"{topic.name}-value"
