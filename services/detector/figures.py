"""Figures for people: a value in its unit, short."""

import math
from typing import Final

_TIME: Final = {"s": 1.0, "ms": 1e-3, "us": 1e-6, "ns": 1e-9, "min": 60.0, "seconds": 1.0}
_BYTE: Final = {"By": 1.0, "bytes": 1.0, "KiBy": 1024.0, "MiBy": 1024.0**2, "GiBy": 1024.0**3}


def quantity(value: float, unit: str = "") -> str:
    """A value in words: 0.412 s is "412 ms", 2e8 By is "200 MB", 0.34 with unit "ratio" is "34 %"."""
    if not math.isfinite(value):
        return "unknown"
    if unit in _TIME:
        return _duration(value * _TIME[unit])
    if unit in _BYTE:
        return _bytes(value * _BYTE[unit])
    if unit.endswith("/s") and unit[:-2] in _BYTE:
        return f"{_bytes(value * _BYTE[unit[:-2]])}/s"
    if unit == "ratio":
        return f"{_short(value * 100)} %"
    annotated = unit.startswith("{")
    if not unit or unit == "1":
        return _short(value)
    return f"{_short(value)} {unit.replace('{', '').replace('}', '') if annotated else unit}"


def _duration(seconds: float) -> str:
    size = abs(seconds)
    if size >= 1.0 or size == 0.0:
        return f"{_short(seconds)} s"
    return f"{_short(seconds * 1e3)} ms" if size >= 1e-3 else f"{_short(seconds * 1e6)} us"


def _bytes(count: float) -> str:
    for factor, name in ((1e12, "TB"), (1e9, "GB"), (1e6, "MB"), (1e3, "kB")):
        if abs(count) >= factor:
            return f"{_short(count / factor)} {name}"
    return f"{_short(count)} B"


def _short(value: float) -> str:
    size = abs(value)
    if size >= 100 or value == int(value):
        return f"{value:.0f}"
    return f"{value:.1f}" if size >= 10 else f"{value:.3g}"
