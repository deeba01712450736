"""One incident document with every field of the contract filled."""

import dataclasses
import types
import typing
from collections.abc import Mapping
from datetime import UTC, datetime
from enum import Enum
from typing import Any

from libs.contracts.document import SECTION_TYPES, Section

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


def every_section() -> dict[Section, Any]:
    """A value with something in every field for every section."""
    return {section: example(kind) for section, kind in SECTION_TYPES.items()}


def example(kind: Any) -> Any:
    """An instance of a type of the contract with something in every field."""
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin in (typing.Union, types.UnionType):
        return example(next(argument for argument in arguments if argument is not types.NoneType))
    if origin is tuple:
        return (example(arguments[0]),)
    if origin is Mapping:
        return {"http.route": "/buy"}
    if dataclasses.is_dataclass(kind):
        hints = typing.get_type_hints(kind)
        return kind(**{field.name: example(hints[field.name]) for field in dataclasses.fields(kind)})  # type: ignore[operator]
    if isinstance(kind, type) and issubclass(kind, Enum):
        return next(iter(kind))
    simple: dict[Any, Any] = {str: "text", bool: True, int: 7, float: 0.5, datetime: NOON}
    return simple[kind]
