"""The laws of every tool, as functions that list what is wrong: seen to fail on planted tools in test_tool_laws.py."""

import re
from collections.abc import Iterator
from typing import Any, Final

from services.mcp.bounds import UNTRUSTED
from services.mcp.tool import AnyTool

_OWN_WORDS: Final = frozenset({"summary", "how", "next_arguments", "caution"})  # written by the tools themselves
_UNIT_IN_NAME: Final = re.compile(r"(_s|_ratio)$")
_UNIT_IN_WORDS: Final = re.compile(r"`unit`|0 to 1|standard deviations|[Tt]imes as|interval|similarity|1: the same")

Schema = dict[str, Any]


def problems(tool: AnyTool) -> list[str]:
    """Everything that breaks a law; empty for a good tool."""
    asked = tool.arguments.model_json_schema()
    found = tool.result.model_json_schema(mode="serialization")
    return [*_described(tool), *_asked(asked), *_bounded(asked), *_bounded(found), *_told(found), *_measured(found)]


def _described(tool: AnyTool) -> Iterator[str]:
    if not 100 <= len(tool.description) <= 1_000:
        yield f"description has {len(tool.description)} characters"
    if not tool.title:
        yield "no title"


def _asked(schema: Schema) -> Iterator[str]:
    if schema.get("additionalProperties") is not False:
        yield "takes arguments that it does not know"
    for name, field in schema.get("properties", {}).items():
        if "description" not in field:
            yield f"argument {name} has no description"
    for place, leaf in _leaves(schema):
        if leaf.get("maxLength", 0) > 500:
            yield f"argument {place} is longer than a next page can carry"
        if leaf.get("type") in ("number", "integer") and not {"minimum", "maximum"} <= set(leaf):
            yield f"argument {place} is not bounded"


def _bounded(schema: Schema) -> Iterator[str]:
    for place, leaf in _leaves(schema):
        kind = leaf.get("type")
        if kind == "string" and not {"maxLength", "enum", "const", "format", "pattern"} & set(leaf):
            yield f"text {place} is not bounded"
        if kind == "array" and "maxItems" not in leaf:
            yield f"list {place} is not bounded"
        if kind == "object" and "properties" not in leaf and "maxProperties" not in leaf:
            yield f"mapping {place} is not bounded"


def _told(schema: Schema) -> Iterator[str]:
    for place, leaf in _leaves(schema):
        plain = leaf.get("type") == "string" and not {"enum", "const", "format"} & set(leaf)
        if plain and UNTRUSTED not in leaf.get("description", "") and not _OWN_WORDS & set(place.split(".")):
            yield f"text {place} does not say that it is untrusted"


def _measured(schema: Schema) -> Iterator[str]:
    for place, leaf in _leaves(schema):
        if leaf.get("type") != "number" or "next_arguments" in place:
            continue
        name = next(part for part in reversed(place.split(".")) if part != "[]")
        if not _UNIT_IN_NAME.search(name) and not _UNIT_IN_WORDS.search(leaf.get("description", "")):
            yield f"figure {place} has no unit"


def _leaves(schema: Schema) -> Iterator[tuple[str, Schema]]:
    """Every place of a schema with its dotted path; a place without words of its own inherits those around it."""
    yield from _walk(schema, schema, "", "")


def _walk(root: Schema, node: Schema, place: str, words: str) -> Iterator[tuple[str, Schema]]:
    words = node.get("description", words)
    while "$ref" in node:
        target = root["$defs"][node["$ref"].removeprefix("#/$defs/")]
        node = {**target, **{key: value for key, value in node.items() if key != "$ref"}}
    yield place, {**node, "description": words}
    for branch in node.get("anyOf", ()):
        yield from _walk(root, branch, place, words)
    if "items" in node:
        yield from _walk(root, node["items"], f"{place}.[]", words)
    if isinstance(node.get("additionalProperties"), dict):
        yield from _walk(root, node["additionalProperties"], place, words)
    for name, field in node.get("properties", {}).items():
        yield from _walk(root, field, f"{place}.{name}".lstrip("."), "")
