"""Derive the Avro schema of a record from its dataclass; the law tests hold schemas/*.avsc to it.

`python -m libs.contracts.avro_schema` rewrites schemas/*.avsc; the docstrings' Attributes become `doc`.
"""

import dataclasses
import inspect
import json
import re
import types
import typing
from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Any, Final

import schemas

NAMESPACE: Final = "paramedic"
_PRIMITIVES: Final[Mapping[type, Any]] = {
    str: "string",
    int: "long",
    float: "double",
    bool: "boolean",
    bytes: "bytes",
    datetime: {"type": "long", "logicalType": "timestamp-micros"},
}
_ATTRIBUTE = re.compile(r"^\s{4,}(\w+): (.+)$")


def derive(record: type) -> dict[str, Any]:
    """Return the Avro schema of a dataclass, nested records inline at their first use.

    Raises:
        TypeError: a field has a type that the contract does not know.
    """
    return typing.cast(dict[str, Any], _record(record, set()))


def record_name(record: type) -> str:
    """File name of a record: AnomalyDetected -> anomaly-detected."""
    return re.sub(r"(?<!^)(?=[A-Z])", "-", record.__name__).lower()


def _record(record: type, seen: set[type]) -> Any:
    full_name = f"{NAMESPACE}.{record.__name__}"
    if record in seen:
        return full_name
    seen.add(record)
    hints = typing.get_type_hints(record)
    docs = _attribute_docs(record)
    fields = []
    for member in dataclasses.fields(record):
        entry: dict[str, Any] = {"name": member.name, "type": _type(hints[member.name], seen)}
        if member.default is not dataclasses.MISSING:
            entry["default"] = _default(member.default)
        elif member.default_factory is not dataclasses.MISSING:
            entry["default"] = member.default_factory()
        if member.name in docs:
            entry["doc"] = docs[member.name]
        fields.append(entry)
    summary = (inspect.getdoc(record) or "").split("\n", 1)[0]
    return {"type": "record", "name": full_name, "doc": summary, "fields": fields}


def _type(hint: Any, seen: set[type]) -> Any:
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (types.UnionType, typing.Union):
        (inner,) = [a for a in arguments if a is not type(None)]
        return ["null", _type(inner, seen)]
    if origin is tuple:
        return {"type": "array", "items": _type(arguments[0], seen), "default": []}
    if origin is not None and issubclass(origin, Mapping):
        return {"type": "map", "values": _type(arguments[1], seen), "default": {}}
    if isinstance(hint, type) and issubclass(hint, StrEnum):
        return "string"  # not an Avro enum: a new value must not break yesterday's reader
    if dataclasses.is_dataclass(hint) and isinstance(hint, type):
        return _record(hint, seen)
    if hint in _PRIMITIVES:
        return _PRIMITIVES[hint]
    raise TypeError(f"no Avro type for {hint!r}")


def _default(value: Any) -> Any:
    if isinstance(value, tuple):
        return list(value)
    if isinstance(value, bytes):
        return value.decode("latin-1")
    return value.value if isinstance(value, StrEnum) else value


def _attribute_docs(record: type) -> dict[str, str]:
    docs: dict[str, str] = {}
    name = ""
    section = (inspect.getdoc(record) or "").partition("Attributes:\n")[2]
    for line in section.splitlines():
        found = _ATTRIBUTE.match(line)
        if found and not line.startswith(" " * 8):
            name = found[1]
            docs[name] = found[2].strip()
        elif name and line.startswith(" " * 8):
            docs[name] += " " + line.strip()
    return docs


def write_all(root: Path = schemas.ROOT) -> list[Path]:
    """Write every record's schema to <root>/<record>.avsc and return the files whose text changed."""
    from libs.contracts.records import RECORDS

    changed = []
    for name, record in RECORDS.items():
        path = root / f"{name}.avsc"
        text = json.dumps(derive(record), indent=2) + "\n"
        if not path.exists() or path.read_text() != text:
            path.write_text(text)
            changed.append(path)
    return changed


if __name__ == "__main__":
    for written in write_all():
        print(f"wrote {written.name}")
