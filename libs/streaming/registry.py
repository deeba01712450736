"""Schema ids from a Confluent-compatible Schema Registry; the door to its client.

A subject is <topic>-value. Services only look ids up: `paramedic schemas register` is what writes to a registry.
"""

import json
import weakref
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeVar

import fastavro
import httpx2
from confluent_kafka.schema_registry import Schema, SchemaRegistryClient
from confluent_kafka.schema_registry.error import SchemaRegistryError
from fastavro.schema import SchemaParseException, UnknownType

from libs.contracts.avro_schema import derive, record_name
from libs.contracts.records import RECORDS
from libs.contracts.schema_ids import ReleasedSchema
from libs.errors import ConfigurationError, InvalidMessage, Unavailable

T = TypeVar("T")
_TIMEOUT_S: Final = 5.0
_AVRO: Final = "AVRO"
_TRANSPORT: Final = (httpx2.TransportError, OSError)


@dataclass(frozen=True, slots=True, kw_only=True)
class RegistryAccess:
    """Where a registry is.

    Attributes:
        url: Base URL; Apicurio's ends in /apis/ccompat/v7.
        login: user:password, "" for none.
        ca_file: PEM file of the authority that signed its certificate, "" for the system's.
    """

    url: str
    login: str = ""
    ca_file: str = ""


class Registry:
    """What Paramedic needs of a registry.

    Args:
        access: Where it is.
    """

    def __init__(self, access: RegistryAccess) -> None:
        self._url = access.url
        fields: dict[str, Any] = {"url": access.url, "timeout": _TIMEOUT_S, "max.retries": 1}
        if access.login:
            fields["basic.auth.user.info"] = access.login
        if access.ca_file:
            fields["ssl.ca.location"] = access.ca_file
        try:
            self._client = SchemaRegistryClient(fields)
        except (ValueError, TypeError, OSError) as error:
            raise ConfigurationError(f"PARAMEDIC_SCHEMA_REGISTRY: {error}") from error
        weakref.finalize(self, self._client.close)  # its connections end with it

    def subjects(self) -> frozenset[str]:
        """Names of all subjects."""
        return frozenset(self._asking(lambda: self._client.get_subjects()) or ())

    def latest(self, subject: str) -> tuple[int, Mapping[str, Any]] | None:
        """Newest version of a subject and its schema; None when there is no such subject."""
        found = self._asking(lambda: self._client.get_latest_version(subject))
        return None if found is None else (int(found.version), json.loads(found.schema.schema_str))

    def compatibility(self, subject: str) -> str:
        """Compatibility set for a subject itself, "" when none is."""
        return str(self._asking(lambda: self._client.get_compatibility(subject)) or "")

    def set_compatibility(self, subject: str, level: str) -> None:
        """Set a subject's compatibility."""
        self._asking(lambda: self._client.set_compatibility(subject, level))

    def accepts(self, subject: str, schema: Mapping[str, Any]) -> bool:
        """Whether a schema may follow the versions of a subject, by the subject's compatibility."""
        wanted = Schema(json.dumps(schema), _AVRO)
        return bool(self._asking(lambda: self._client.test_compatibility(subject, wanted)))

    def register(self, subject: str, schema: Mapping[str, Any]) -> int:
        """Register a schema; its id. `ConfigurationError` when the registry refuses it as incompatible."""
        registered = self._asking(lambda: self._client.register_schema(subject, Schema(json.dumps(schema), _AVRO)))
        if registered is None:
            raise Unavailable(f"schema registry {self._url}: no answer to the registration of {subject}")
        return int(registered)

    def id_of(self, subject: str, schema: Mapping[str, Any]) -> int | None:
        """Id of a schema in a subject, None when it is not registered there."""
        found = self._asking(lambda: self._client.lookup_schema(subject, Schema(json.dumps(schema), _AVRO)))
        return None if found is None else int(found.schema_id)

    def schema(self, schema_id: int) -> Mapping[str, Any] | None:
        """Schema of an id, None when the registry does not know it."""
        found = self._asking(lambda: self._client.get_schema(schema_id))
        if found is None or found.schema_type != _AVRO:
            return None
        parsed = json.loads(found.schema_str)
        return parsed if isinstance(parsed, dict) else None

    def _asking(self, ask: Callable[[], T]) -> T | None:
        """Ask; None for "not found"."""
        try:
            return ask()
        except SchemaRegistryError as error:
            if error.http_status_code == 404:
                return None
            text = f"schema registry {self._url}: {error.error_message or error}"
            if error.http_status_code in (401, 403):
                raise ConfigurationError(f"{text}; set PARAMEDIC_SCHEMA_REGISTRY_AUTH to user:password") from error
            if error.http_status_code in (409, 422):
                raise ConfigurationError(text) from error
            raise Unavailable(text) from error
        except _TRANSPORT as error:
            raise Unavailable(f"schema registry {self._url}: {error or type(error).__name__}") from error


class RegistrySchemaIds:
    """Ids as a registry gave them; looked up once a topic and once an id, for a registered schema never changes.

    Args:
        registry: Where they are looked up.
    """

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._ids: dict[tuple[str, str], int] = {}
        self._schemas: dict[int, ReleasedSchema] = {}

    def id_of(self, topic: str, record: str) -> int:
        """Id of today's schema of a record on a topic; `Unavailable` until it is registered."""
        known = self._ids.get((topic, record))
        if known is None:
            subject = subject_of(topic)
            known = self._registry.id_of(subject, derive(RECORDS[record]))
            if known is None:
                raise Unavailable(f"{subject} has no schema of today's {record}; run `paramedic schemas register`")
            self._ids[topic, record] = known
        return known

    def schema_of(self, schema_id: int) -> ReleasedSchema:
        """Schema that a message was written with; `InvalidMessage` when it is unknown or no record of ours."""
        known = self._schemas.get(schema_id)
        if known is None:
            known = self._schemas[schema_id] = self._checked(schema_id, self._registry.schema(schema_id))
        return known

    def _checked(self, schema_id: int, schema: Mapping[str, Any] | None) -> ReleasedSchema:
        if schema is None:
            raise InvalidMessage(f"unknown schema id {schema_id}")
        full_name = str(schema.get("name", ""))
        record = _RECORD_OF_SCHEMA.get(full_name)
        if record is None:
            raise InvalidMessage(f"schema id {schema_id} is {full_name or 'no record'}, which Paramedic does not know")
        try:
            fastavro.parse_schema(dict(schema))
        except (SchemaParseException, UnknownType) as error:
            raise InvalidMessage(f"schema id {schema_id} is not valid Avro: {error}") from error
        return ReleasedSchema(record=record, version=0, schema=schema)


def subject_of(topic: str) -> str:
    """Subject of a topic's values (TopicNameStrategy)."""
    return f"{topic}-value"


_RECORD_OF_SCHEMA: Final[Mapping[str, str]] = {derive(kind)["name"]: record_name(kind) for kind in RECORDS.values()}
