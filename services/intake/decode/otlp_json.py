"""OTLP as JSON: trace and span ids are hex, 64-bit numbers may be text, enums are numbers or names.

Other than protobuf's own JSON mapping, which has base64 ids; unknown fields are ignored, so a newer sender is read.

Source: OTLP specification, "JSON Protobuf Encoding".
"""

import base64
import binascii
import re
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from typing import Any, Final, cast

import msgspec
from google.protobuf.descriptor import Descriptor, EnumDescriptor, FieldDescriptor

from libs.errors import InvalidMessage
from services.intake.decode.formats import JSON, Decoded, Format
from services.intake.decode.otlp_proto import REQUESTS
from services.intake.signals import Signal

Convert = Callable[[Any], Any]
_HEX_IDS: Final = frozenset({"trace_id", "span_id", "parent_span_id"})
_WHOLE: Final = re.compile(r"[+-]?\d{1,20}")
_SPECIAL: Final = {"NaN": float("nan"), "Infinity": float("inf"), "-Infinity": float("-inf")}
_INTEGERS: Final = frozenset(
    {
        FieldDescriptor.CPPTYPE_INT32,
        FieldDescriptor.CPPTYPE_INT64,
        FieldDescriptor.CPPTYPE_UINT32,
        FieldDescriptor.CPPTYPE_UINT64,
    }
)


def decode(signal: Signal, payload: bytes) -> Decoded:
    """Parse a request; an empty payload is no JSON and refused."""
    try:
        found = msgspec.json.decode(payload)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidMessage(f"malformed JSON ({signal}, {len(payload)} bytes): {error}") from error
    return request_of(signal, found)


def request_of(signal: Signal, found: object) -> Decoded:
    """The request that parsed JSON stands for; `InvalidMessage` names the field that is wrong."""
    request_type = REQUESTS[signal]
    try:
        return Decoded(request=request_type(**_message(request_type.DESCRIPTOR)(found)))
    except (ValueError, TypeError, RecursionError) as error:
        raise InvalidMessage(f"OTLP JSON ({signal}): {error}") from error


@cache
def _message(descriptor: Descriptor) -> Convert:
    """Converter of one message type: JSON object in, constructor arguments out."""
    plan: dict[str, tuple[str, Convert]] = {}
    name = descriptor.name

    def convert(found: Any) -> dict[str, Any]:
        if not isinstance(found, dict):
            raise InvalidMessage(f"{name} is not an object")
        if not plan:
            # Filled at first use because AnyValue contains itself.
            plan.update(_plan(descriptor))
        fields: dict[str, Any] = {}
        for key, value in found.items():
            known = plan.get(key)
            if known is not None and value is not None:
                fields[known[0]] = known[1](value)
        return fields

    return convert


def _plan(descriptor: Descriptor) -> dict[str, tuple[str, Convert]]:
    """Fields by lowerCamelCase name, and by the name in the .proto file, which parsers must accept too."""
    plan: dict[str, tuple[str, Convert]] = {}
    for field in descriptor.fields:
        one = _scalar(field)
        entry = (field.name, _list_of(field.name, one) if field.is_repeated else one)
        plan[field.name] = entry
        plan[field.json_name] = entry
    return plan


def _list_of(name: str, one: Convert) -> Convert:
    def convert(found: Any) -> list[Any]:
        if not isinstance(found, list):
            raise InvalidMessage(f"{name} is not an array")
        return [one(entry) for entry in found]

    return convert


def _scalar(field: FieldDescriptor) -> Convert:
    kind, name = field.cpp_type, field.name
    if kind == FieldDescriptor.CPPTYPE_MESSAGE:
        return _message(cast(Descriptor, field.message_type))
    if kind in _INTEGERS:
        return lambda found: found if type(found) is int else _whole(found, name)
    if kind == FieldDescriptor.CPPTYPE_ENUM:
        return _enum(cast(EnumDescriptor, field.enum_type), name)
    if kind in (FieldDescriptor.CPPTYPE_DOUBLE, FieldDescriptor.CPPTYPE_FLOAT):
        return lambda found: found if type(found) is float else _real(found, name)
    if kind == FieldDescriptor.CPPTYPE_BOOL:
        return lambda found: _checked(found, bool, name)
    if field.type == FieldDescriptor.TYPE_BYTES:
        return (lambda found: _hex(found, name)) if name in _HEX_IDS else (lambda found: _base64(found, name))
    return lambda found: _checked(found, str, name)


def _checked(found: Any, kind: type, name: str) -> Any:
    if type(found) is not kind:
        raise InvalidMessage(f"{name}: {str(found)[:50]!r} is not a {kind.__name__}")
    return found


def _whole(found: Any, name: str) -> int:
    if type(found) is str and _WHOLE.fullmatch(found):
        return int(found)
    if type(found) is float and found.is_integer():
        return int(found)
    raise InvalidMessage(f"{name}: {str(found)[:50]!r} is not a whole number")


def _real(found: Any, name: str) -> float:
    if type(found) is str and found in _SPECIAL:
        return _SPECIAL[found]
    if type(found) in (int, str):
        with suppress(ValueError, OverflowError):
            return float(found)
    raise InvalidMessage(f"{name}: {str(found)[:50]!r} is not a number")


def _enum(enum: EnumDescriptor, name: str) -> Convert:
    numbers = {value.name: value.number for value in enum.values}

    def convert(found: Any) -> int:
        if type(found) is int:
            return found
        if type(found) is str and found in numbers:
            return numbers[found]
        return _whole(found, name)

    return convert


def _hex(found: Any, name: str) -> bytes:
    try:
        return binascii.unhexlify(_checked(found, str, name))
    except ValueError as error:
        raise InvalidMessage(f"{name}: {found[:50]!r} is not hex") from error


def _base64(found: Any, name: str) -> bytes:
    text = _checked(found, str, name).replace("-", "+").replace("_", "/")
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    except ValueError as error:
        raise InvalidMessage(f"{name}: not base64") from error


FORMAT: Final = Format(name="otlp_json", signals=frozenset(REQUESTS), content_types=frozenset({JSON}), decode=decode)
