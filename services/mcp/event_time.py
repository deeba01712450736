"""Windows of event time, from "the last 900 s" to nanoseconds; the newest telemetry is now."""

from dataclasses import dataclass, replace
from datetime import datetime
from typing import Annotated, Final

from pydantic import AwareDatetime, Field

from libs.contracts.codec import ns_from_utc, utc_from_ns
from libs.errors import InvalidMessage
from libs.stores.telemetry import TelemetryReader, Window
from services.mcp.answer import PageArguments, TimeShown

_NS: Final = 1_000_000_000
_US: Final = 1_000
LONGEST_S: Final = 6 * 3600.0  # as long as telemetry stays queryable by default
_FIRST_YEAR, _LAST_YEAR = 1970, 2200  # int64 nanoseconds end in 2262


class TimeArguments(PageArguments):
    """Arguments of a tool that reads a window of telemetry."""

    last_s: Annotated[
        float, Field(ge=1, le=LONGEST_S, description="Length of the window in seconds, back from `end`.")
    ] = 900.0
    end: Annotated[
        AwareDatetime | None,
        Field(
            description="End of the window (exclusive), RFC 3339 with offset, for example 2026-01-31T14:05:00Z. "
            "Default: the newest telemetry in the store."
        ),
    ] = None


@dataclass(frozen=True, slots=True, kw_only=True)
class EventWindow:
    """A window, and where the telemetry stands.

    Attributes:
        window: Unix nanoseconds.
        newest_ns: Event time of the newest telemetry; 0 when none was recorded.
    """

    window: Window
    newest_ns: int

    @property
    def seconds(self) -> float:
        """Its length."""
        return (self.window.end_ns - self.window.start_ns) / _NS

    @property
    def before(self) -> Window:
        """The window of the same length right before."""
        length_ns = self.window.end_ns - self.window.start_ns
        return Window(start_ns=max(self.window.start_ns - length_ns, 0), end_ns=self.window.start_ns)

    def extended(self, seconds: float) -> "EventWindow":
        """The same window with a later end."""
        end_ns = self.window.end_ns + round(seconds * 1e6) * _US
        return replace(self, window=Window(start_ns=self.window.start_ns, end_ns=end_ns))

    @property
    def shown(self) -> TimeShown:
        """For the answer."""
        return TimeShown(
            start=utc_from_ns(self.window.start_ns),
            end=utc_from_ns(self.window.end_ns),
            newest_telemetry=utc_from_ns(self.newest_ns) if self.newest_ns else None,
        )

    @property
    def pinned(self) -> dict[str, str]:
        """The end, so that a next page reads the same window although telemetry goes on."""
        return {"end": utc_from_ns(self.window.end_ns).isoformat()}

    def nothing(self, what: str) -> str:
        """The summary of an answer without rows: what there is none of, and where there is telemetry."""
        if not self.newest_ns:
            return f"No {what}: no telemetry was recorded yet."
        text = f"No {what} in the {self.seconds:g} s before {utc_from_ns(self.window.end_ns).isoformat()}."
        if not self.window.start_ns <= self.newest_ns < self.window.end_ns:
            text += f" The newest telemetry is of {utc_from_ns(self.newest_ns).isoformat()}."
        return text


def window_of(telemetry: TelemetryReader, last_s: float, end: datetime | None) -> EventWindow:
    """The window that is asked for; it ends right after the newest telemetry when no end is given."""
    newest_ns = telemetry.watermark_ns()
    if end is None:
        # Up to the next microsecond: what RFC 3339 can say exactly, so that a next page names the same window.
        end_ns = (newest_ns // _US + 1) * _US
    elif _FIRST_YEAR <= end.year <= _LAST_YEAR:
        end_ns = max(ns_from_utc(end), _US)
    else:
        raise InvalidMessage(f"end: {end.isoformat()} is not within the years {_FIRST_YEAR} to {_LAST_YEAR}")
    start_ns = max(end_ns - round(last_s * 1e6) * _US, 0)
    return EventWindow(window=Window(start_ns=start_ns, end_ns=end_ns), newest_ns=newest_ns)
