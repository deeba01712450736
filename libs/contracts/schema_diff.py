"""What differs between two versions of an Avro record schema, in words."""

import json
from collections.abc import Iterator, Mapping
from typing import Any

Schema = Mapping[str, Any]


def differences(before: Schema, after: Schema) -> list[str]:
    """One line a field that was added, removed or changed; nested records by their path. Documentation is left out."""
    return list(_records(before, after, "", _named(before), _named(after), frozenset()))


def _records(
    before: Schema, after: Schema, path: str, old: Mapping[str, Schema], new: Mapping[str, Schema], seen: frozenset[str]
) -> Iterator[str]:
    if after["name"] in seen:
        return
    seen = seen | {after["name"]}
    was = {field["name"]: field for field in before["fields"]}
    now = {field["name"]: field for field in after["fields"]}
    for name in was.keys() - now.keys():
        yield f"- {path}{name}: {_text(was[name]['type'])}"
    for name, field in now.items():
        if name not in was:
            default = f", default {json.dumps(field['default'])}" if "default" in field else ", no default"
            yield f"+ {path}{name}: {_text(field['type'])}{default}"
            continue
        earlier = was[name]
        if _text(earlier["type"]) != _text(field["type"]):
            yield f"~ {path}{name}: {_text(earlier['type'])} -> {_text(field['type'])}"
        if earlier.get("default", _NONE) != field.get("default", _NONE):
            yield f"~ {path}{name}: default {_default(earlier)} -> {_default(field)}"
        for inner_before, inner_after in zip(_inner(earlier["type"], old), _inner(field["type"], new), strict=False):
            yield from _records(inner_before, inner_after, f"{path}{name}.", old, new, seen)


_NONE = object()


def _default(field: Schema) -> str:
    return json.dumps(field["default"]) if "default" in field else "none"


def _inner(kind: Any, named: Mapping[str, Schema]) -> list[Schema]:
    """Records that a type holds directly."""
    if isinstance(kind, str):
        return [named[kind]] if kind in named else []
    if isinstance(kind, list):
        return [record for branch in kind for record in _inner(branch, named)]
    if kind["type"] == "record":
        return [kind]
    for key in ("items", "values"):
        if key in kind:
            return _inner(kind[key], named)
    return []


def _named(kind: Any) -> dict[str, Schema]:
    """Every record defined anywhere in a schema, by name."""
    if isinstance(kind, list):
        return {name: record for branch in kind for name, record in _named(branch).items()}
    if not isinstance(kind, Mapping):
        return {}
    found: dict[str, Schema] = {}
    if kind.get("type") == "record":
        found[str(kind["name"])] = kind
        for field in kind["fields"]:
            found |= _named(field["type"])
    for key in ("items", "values", "type"):
        if isinstance(kind.get(key), (Mapping, list)):
            found |= _named(kind[key])
    return found


def _text(kind: Any) -> str:
    if isinstance(kind, str):
        return kind
    if isinstance(kind, list):
        return " | ".join(_text(branch) for branch in kind)
    if kind["type"] == "array":
        return f"array of {_text(kind['items'])}"
    if kind["type"] == "map":
        return f"map of {_text(kind['values'])}"
    if kind["type"] == "record":
        return str(kind["name"])
    return f"{kind['type']} ({kind['logicalType']})" if "logicalType" in kind else str(kind["type"])
