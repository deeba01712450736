"""Figures, durations and states in words, the same on every page."""

import math
from datetime import datetime
from typing import Final

_TIME_FACTORS: Final = {"s": 1.0, "ms": 1e-3, "us": 1e-6, "ns": 1e-9}
_BYTES: Final = ("B", "KiB", "MiB", "GiB", "TiB")


def quantity(value: float, unit: str) -> str:
    """A value with its unit, three significant digits: 412 ms, 3.2 %, 210 MiB."""
    if not math.isfinite(value):
        return "no limit" if value > 0 else "none"
    if unit in _TIME_FACTORS:
        return _seconds(value * _TIME_FACTORS[unit])
    if unit == "ratio":
        return f"{_digits(value * 100)} %"
    if unit in ("By", "bytes", "byte"):
        power = min(int(math.log(max(abs(value), 1.0), 1024)), len(_BYTES) - 1)
        return f"{_digits(value / 1024**power)} {_BYTES[power]}"
    shown = "" if unit in ("", "1") or (unit.startswith("{") and unit.endswith("}")) else f" {unit}"
    return f"{_digits(value)}{shown}"


def band(lower: float, upper: float, unit: str) -> str:
    """An expected band: 38 ms to 61 ms."""
    if not math.isfinite(lower):
        return f"up to {quantity(upper, unit)}" if math.isfinite(upper) else "anything"
    if not math.isfinite(upper):
        return f"{quantity(lower, unit)} or more"
    return f"{quantity(lower, unit)} to {quantity(upper, unit)}"


def lasting(seconds: float) -> str:
    """A duration for people: 45 s, 12 min, 3 h 5 min, 2 d 4 h."""
    whole = max(int(seconds), 0)
    if whole < 90:
        return f"{whole} s"
    minutes = whole // 60
    if minutes < 90:
        return f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    if hours < 48:
        return f"{hours} h {minutes} min" if minutes else f"{hours} h"
    days, hours = divmod(hours, 24)
    return f"{days} d {hours} h" if hours and days < 14 else f"{days} d"


def ago(moment: datetime, now: datetime) -> str:
    """How long ago: 3 min ago; a moment ahead of this machine's clock is just now."""
    seconds = (now - moment).total_seconds()
    return "just now" if seconds < 1 else f"{lasting(seconds)} ago"


def clock_time(moment: datetime) -> str:
    """Time of day in UTC: 09:00:10."""
    return moment.strftime("%H:%M:%S")


def day_and_time(moment: datetime) -> str:
    """Date and time in UTC: 24 Nov 2026 09:00:10 UTC."""
    return f"{moment.day} {moment.strftime('%b')} {moment.year:04d} {clock_time(moment)} UTC"


def share(value: float) -> str:
    """A share of one as a whole percentage; never rounded to a certainty that it is not."""
    percent = round(value * 100)
    if percent == 100 and value < 1:
        return "> 99 %"
    return "< 1 %" if percent == 0 and value > 0 else f"{percent} %"


def plain(name: str) -> str:
    """A state or kind as words: in_progress becomes in progress."""
    return name.replace("_", " ")


def count(number: int, one: str, many: str = "") -> str:
    """A number with its noun: 1 user, 17 users."""
    return f"{number:,} {one if number == 1 else many or one + 's'}"


def _seconds(value: float) -> str:
    size = abs(value)
    if size >= 120:
        return f"{_digits(value / 60)} min"
    if size >= 1:
        return f"{_digits(value)} s"
    if size >= 1e-3 or size == 0:
        return f"{_digits(value * 1e3)} ms"
    return f"{_digits(value * 1e6)} µs"


def _digits(value: float) -> str:
    size = abs(value)
    if size >= 1e6:
        return f"{value / 1e6:.3g} M"
    if size >= 100:
        return f"{value:,.0f}"
    return f"{value:.3g}" if size >= 1e-3 or size == 0 else f"{value:.1e}"
