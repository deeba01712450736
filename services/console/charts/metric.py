"""A metric over time with its expected band, the deviation, and the changes that happened meanwhile."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from markupsafe import Markup

from services.console.charts.scale import Scale, round_ticks
from services.console.charts.svg import drawing, element, join, shorten
from services.console.wording import band, clock_time, quantity

_WIDTH: Final = 560.0
_HEIGHT: Final = 228.0
_LEFT, _RIGHT, _TOP, _BOTTOM = 84.0, 548.0, 26.0, 198.0
_MOST_MARKS: Final = 8  # more vertical lines would hide the curve
_LARGEST: Final = 1e30
_GAP_STEPS: Final = 2.5  # a line over more missing steps than that would claim what nobody measured


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One curve.

    Attributes:
        times_s: Unix seconds, ascending.
        values: As many, in the unit of the chart.
    """

    times_s: tuple[float, ...]
    values: tuple[float, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """A change that happened meanwhile.

    Attributes:
        at_s: Unix seconds.
        text: What, in a few words.
    """

    at_s: float
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricDrawing:
    """What is drawn.

    Attributes:
        label: Name of the metric, for people.
        unit: UCUM unit.
        start_s: Left edge, unix seconds.
        end_s: Right edge.
        step_s: Usual distance of two points in seconds.
        lines: Curves; none when the telemetry is not kept any more.
        lower: Lower edge of the expected band.
        upper: Upper edge.
        observed: The worst value.
        deviates_from_s: Begin of the deviation, unix seconds.
        deviates_until_s: End of it, None while it lasts.
        marks: Changes.
    """

    label: str
    unit: str
    start_s: float
    end_s: float
    step_s: float
    lines: tuple[Line, ...] = ()
    lower: float
    upper: float
    observed: float
    deviates_from_s: float
    deviates_until_s: float | None = None
    marks: tuple[Mark, ...] = ()


def draw_metric(figures: MetricDrawing) -> Markup:
    """The picture; band, curve, deviation and changes each with a class of its own."""
    end_s = max(figures.end_s, figures.start_s + 1.0)
    along = Scale(low=figures.start_s, high=end_s, start=_LEFT, end=_RIGHT)
    ticks = _value_ticks(figures)
    up = Scale(low=ticks[0], high=ticks[-1], start=_BOTTOM, end=_TOP)
    words = (
        f"{figures.label}: {quantity(figures.observed, figures.unit)} at worst, "
        f"expected {band(figures.lower, figures.upper, figures.unit)}"
    )
    return drawing(
        _WIDTH,
        _HEIGHT,
        words,
        _deviation(figures, along, end_s),
        _band(figures, up),
        _grid(ticks, up, figures.unit),
        _time_axis(figures.start_s, end_s, along),
        join(_curve(line, along, up, figures.step_s) for line in figures.lines),
        _worst(figures, along, up),
        _marks(figures.marks, along),
        kind="metric",
    )


def _drawable(value: float) -> bool:
    """Whether a value has a place on an axis; a sender may give infinity, and 1e308 is as good as that."""
    return abs(value) <= _LARGEST


def _value_ticks(figures: MetricDrawing) -> list[float]:
    candidates = [figures.lower, figures.upper, figures.observed]
    candidates += [value for line in figures.lines for value in line.values]
    finite = [value for value in candidates if _drawable(value)] or [0.0]
    # From zero unless the curve lies far from it: half of a gauge that moves by 2 % would be empty paper.
    low = min(finite)
    low = min(low, 0.0) if low < 0.6 * max(finite) else low
    high = max(finite)
    if high <= low:
        low, high = (low - abs(low) / 10, high + abs(high) / 10) if abs(low) > 1e-300 else (0.0, 1.0)
    return round_ticks(low, high)


def _deviation(figures: MetricDrawing, along: Scale, end_s: float) -> Markup:
    left = along.at(figures.deviates_from_s)
    right = along.at(end_s if figures.deviates_until_s is None else figures.deviates_until_s)
    return element("rect", class_="deviation", x=left, y=_TOP, width=max(right - left, 1.0), height=_BOTTOM - _TOP)


def _band(figures: MetricDrawing, up: Scale) -> Markup:
    top = up.at(figures.upper) if _drawable(figures.upper) else up.end
    bottom = up.at(figures.lower) if _drawable(figures.lower) else up.start
    return element("rect", class_="band", x=_LEFT, y=top, width=_RIGHT - _LEFT, height=max(bottom - top, 1.5))


def _grid(ticks: Sequence[float], up: Scale, unit: str) -> Markup:
    return join(
        join(
            (
                element("line", class_="grid", x1=_LEFT, x2=_RIGHT, y1=up.at(tick), y2=up.at(tick)),
                element("text", quantity(tick, unit), class_="tick", x=_LEFT - 6, y=up.at(tick) + 4, text_anchor="end"),
            )
        )
        for tick in ticks
    )


def _time_axis(start_s: float, end_s: float, along: Scale) -> Markup:
    step_s = next((s for s in (15, 30, 60, 120, 300, 600, 1800, 3600, 21600) if (end_s - start_s) / s <= 5), 86400)
    first = math.ceil(start_s / step_s) * step_s
    moments = [first + step_s * number for number in range(int((end_s - first) // step_s) + 1)]
    return join(
        element("text", _time_label(moment, step_s), class_="tick", x=along.at(moment), y=220, text_anchor="middle")
        for moment in moments
        if _LEFT + 26 <= along.at(moment) <= _RIGHT - 26
    )


def _time_label(moment_s: float, step_s: float) -> str:
    shown = clock_time(datetime.fromtimestamp(moment_s, UTC))
    return shown if step_s < 60 else shown[:5]


def _curve(line: Line, along: Scale, up: Scale, step_s: float) -> Markup:
    path: list[str] = []
    before = -math.inf
    for moment, value in zip(line.times_s, line.values, strict=True):
        if not _drawable(value):
            continue
        pen = "L" if moment - before <= step_s * _GAP_STEPS else "M"
        path.append(f"{pen}{along.at(moment):.1f} {up.at(value):.1f}")
        before = moment
    return element("path", class_="curve", d=" ".join(path), fill="none") if path else Markup("")


def _worst(figures: MetricDrawing, along: Scale, up: Scale) -> Markup:
    """A dot where the worst value lies on the curve; at the begin of the deviation when there is no curve."""
    at_s = figures.deviates_from_s
    points = [
        (abs(value - figures.observed), moment)
        for line in figures.lines
        for moment, value in zip(line.times_s, line.values, strict=True)
        if _drawable(value) and moment >= figures.deviates_from_s - figures.step_s
    ]
    if points:
        at_s = min(points)[1]
    if not _drawable(figures.observed):
        return Markup("")
    x, y = along.at(at_s), up.at(figures.observed)
    text = quantity(figures.observed, figures.unit)
    right = x < _RIGHT - 110
    return join(
        (
            element("circle", class_="worst", cx=x, cy=y, r=4),
            element(
                "text",
                text,
                class_="worst-value",
                x=x + (9 if right else -9),
                y=max(y - 6, _TOP + 12),
                text_anchor="start" if right else "end",
            ),
        )
    )


def _marks(marks: Sequence[Mark], along: Scale) -> Markup:
    """Vertical lines; the text of a line that stands too near to the one before is left to its title."""
    drawn: list[Markup] = []
    free_from = -math.inf
    for mark in sorted(marks, key=lambda mark: mark.at_s)[-_MOST_MARKS:]:
        x = along.at(mark.at_s)
        text = shorten(mark.text, 26)
        width = 6.4 * len(text) + 8
        left = x if x + width <= _RIGHT else x - width
        parts = [
            element("title", mark.text),
            element("line", class_="change", x1=x, x2=x, y1=_TOP - 8, y2=_BOTTOM),
        ]
        if left >= free_from:
            anchor = "start" if left == x else "end"
            parts.append(
                element("text", text, class_="change-text", x=x + (4 if left == x else -4), y=14, text_anchor=anchor)
            )
            free_from = left + width
        drawn.append(element("g", *parts))
    return join(drawn)
