"""The source formats by signal and content type. A new format is a new file in this package with a `FORMAT`."""

import importlib
import pkgutil
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Final

from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from libs.errors import InvalidMessage
from services.intake.normalise.changes import PostedChange
from services.intake.signals import Signal

PROTOBUF: Final = "application/x-protobuf"
JSON: Final = "application/json"
PAYLOAD_MAX_BYTES: Final = 16 * 1024 * 1024  # uncompressed; 8,192 items, the Collector's default batch, take 1 to 4 MiB


@dataclass(frozen=True, slots=True, kw_only=True)
class Changes:
    """Change events as posted."""

    posted: tuple[PostedChange, ...]


Request = ExportMetricsServiceRequest | ExportLogsServiceRequest | ExportTraceServiceRequest | Changes


@dataclass(frozen=True, slots=True, kw_only=True)
class Decoded:
    """What a payload says.

    Attributes:
        request: Its content in the terms of OTLP, or change events.
        rejected: What the format cannot express: reason, first example and number of items.
    """

    request: Request
    rejected: tuple[tuple[str, str, int], ...] = ()


class UnsupportedContentType(InvalidMessage):
    """No format reads this content type."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Format:
    """A source format.

    Attributes:
        name: Its name in documentation and tests.
        signals: What it can carry.
        content_types: Media types that it reads, lower case, without parameters.
        decode: Bytes of one signal to a request; raises `InvalidMessage` with the reason, and nothing else.
    """

    name: str
    signals: frozenset[Signal]
    content_types: frozenset[str]
    decode: Callable[[Signal, bytes], Decoded]


@cache
def formats() -> dict[str, Format]:
    """Every format of this package by name."""
    package = __name__.rpartition(".")[0]
    found: dict[str, Format] = {}
    for module in pkgutil.iter_modules(importlib.import_module(package).__path__, package + "."):
        candidate = getattr(importlib.import_module(module.name), "FORMAT", None)
        if isinstance(candidate, Format):
            found[candidate.name] = candidate
    return found


@cache
def _by_media_type() -> dict[tuple[Signal, str], Format]:
    return {
        (signal, media_type): candidate
        for candidate in formats().values()
        for signal in candidate.signals
        for media_type in candidate.content_types
    }


def format_for(signal: Signal, content_type: str) -> Format:
    """The format that reads a content type; `UnsupportedContentType` names those that would do."""
    media_type = content_type.partition(";")[0].strip().lower()
    found = _by_media_type().get((signal, media_type))
    if found is None:
        wanted = " or ".join(sorted(known for of, known in _by_media_type() if of is signal))
        raise UnsupportedContentType(f"content type {content_type[:100]!r}: {signal} are read as {wanted}")
    return found


def sniff(payload: bytes) -> str:
    """Content type of an OTLP payload that carries none.

    JSON begins with "{", perhaps behind blanks; as protobuf that byte would open a group, which OTLP does not have.
    A line feed is not skipped: it is the tag of the first field of every OTLP request.
    """
    return JSON if payload.lstrip(b" \t\r")[:1] == b"{" else PROTOBUF
