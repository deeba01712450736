"""Where schema ids come from: fixed in schemas/ids.toml, or a Schema Registry; both give the same bytes."""

import json
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import schemas
from libs.errors import ConfigurationError, InvalidMessage


@dataclass(frozen=True, slots=True, kw_only=True)
class ReleasedSchema:
    """One released version of one record.

    Attributes:
        record: Name of the schema file.
        version: Counts up from 1; 0 where a registry knows only the id.
        schema: Parsed JSON of the .avsc.
    """

    record: str
    version: int
    schema: Mapping[str, Any]


class SchemaIds(Protocol):
    """Turns a schema into the id on the wire and an id back into its schema."""

    def id_of(self, topic: str, record: str) -> int:
        """Id that a producer writes for today's version of a record on a topic."""
        ...

    def schema_of(self, schema_id: int) -> ReleasedSchema:
        """Schema that a message was written with; `InvalidMessage` when the id is unknown."""
        ...


class FixedSchemaIds:
    """Ids from schemas/ids.toml, append-only: [record] version = id; schemas from schemas/released/."""

    def __init__(self, root: Path = schemas.ROOT) -> None:
        self._by_id: dict[int, ReleasedSchema] = {}
        self._newest: dict[str, int] = {}
        for record, versions in tomllib.loads((root / "ids.toml").read_text()).items():
            for version, schema_id in sorted(versions.items(), key=lambda item: int(item[0])):
                path = root / "released" / f"{record}.{version}.avsc"
                if schema_id in self._by_id:
                    raise ConfigurationError(f"schemas/ids.toml: id {schema_id} is used twice")
                self._by_id[schema_id] = ReleasedSchema(
                    record=record, version=int(version), schema=json.loads(path.read_text())
                )
                self._newest[record] = schema_id

    def id_of(self, topic: str, record: str) -> int:
        """Newest fixed id of a record; the topic does not matter."""
        return self._newest[record]

    def schema_of(self, schema_id: int) -> ReleasedSchema:
        """Released schema of an id; `InvalidMessage` when the id is unknown."""
        try:
            return self._by_id[schema_id]
        except KeyError:
            raise InvalidMessage(f"unknown schema id {schema_id}") from None
