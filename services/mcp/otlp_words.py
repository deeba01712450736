"""OTLP numbers as words: severities of log records, kinds and statuses of spans."""

from typing import Final, Literal

Severity = Literal["trace", "debug", "info", "warn", "error", "fatal"]
Kind = Literal["unspecified", "internal", "server", "client", "producer", "consumer"]
Status = Literal["unset", "ok", "error"]

# Least SeverityNumber of each word. Source: OpenTelemetry logs data model, "Field: SeverityNumber".
LEAST: Final[dict[Severity, int]] = {"trace": 1, "debug": 5, "info": 9, "warn": 13, "error": 17, "fatal": 21}
_KINDS: Final[tuple[Kind, ...]] = ("unspecified", "internal", "server", "client", "producer", "consumer")
_STATUSES: Final[tuple[Status, ...]] = ("unset", "ok", "error")


def severity_word(number: int) -> Severity:
    """Word of a SeverityNumber; an unspecified one (0) reads as info."""
    if number <= 0:
        return "info"
    return next(word for word, least in reversed(LEAST.items()) if number >= least)


def kind_word(number: int) -> Kind:
    """Word of a SpanKind."""
    return _KINDS[number] if 0 <= number < len(_KINDS) else "unspecified"


def status_word(number: int) -> Status:
    """Word of a StatusCode."""
    return _STATUSES[number] if 0 <= number < len(_STATUSES) else "unset"
