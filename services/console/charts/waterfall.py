"""A trace as a waterfall: one bar a span, children below their parent, failed spans marked."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from markupsafe import Markup

from services.console.charts.scale import Scale, round_ticks
from services.console.charts.svg import drawing, element, join, shorten
from services.console.wording import quantity

_WIDTH: Final = 720.0
_ROW: Final = 22.0
_LEFT, _RIGHT, _TOP = 252.0, 640.0, 26.0
_INDENT: Final = 11.0
_DEEPEST: Final = 8  # deeper spans are not indented further: their names need the room
_MOST_ROWS: Final = 60
_ERROR: Final = 2  # OTLP StatusCode


@dataclass(frozen=True, slots=True, kw_only=True)
class Bar:
    """One span.

    Attributes:
        span_id: Hex.
        parent_span_id: Hex, "" for a root.
        service: service.name.
        name: Span name.
        status: OTLP StatusCode.
        start_s: Seconds after the first start of the trace.
        duration_s: Seconds.
        note: What went wrong, "" for nothing.
    """

    span_id: str
    parent_span_id: str
    service: str
    name: str
    status: int
    start_s: float
    duration_s: float
    note: str = ""


def draw_waterfall(bars: Sequence[Bar], suspect: str = "") -> Markup:
    """The picture; of a long trace the failed and the slowest spans.

    Args:
        bars: Spans in any order.
        suspect: Service of the leading hypothesis; its bars carry the class suspect.
    """
    rows = _in_tree_order(bars)
    left_out = max(len(rows) - _MOST_ROWS, 0)
    if left_out:
        weight = sorted(rows, key=lambda row: (row[0].status != _ERROR, -row[0].duration_s))[:_MOST_ROWS]
        kept = {bar.span_id for bar, _ in weight}
        rows = [row for row in rows if row[0].span_id in kept][:_MOST_ROWS]
    longest_s = max([1e-9, *(bar.start_s + bar.duration_s for bar in bars)])  # spans are told in nanoseconds
    ticks = round_ticks(0.0, longest_s)
    along = Scale(low=0.0, high=ticks[-1], start=_LEFT, end=_RIGHT)
    height = _TOP + _ROW * len(rows) + (24 if left_out else 8)
    note = element("text", f"{left_out} shorter spans are left out", class_="tick", x=8, y=height - 8)
    return drawing(
        _WIDTH,
        height,
        f"Trace of {len(bars)} spans over {quantity(longest_s, 's')}, {sum(b.status == _ERROR for b in bars)} failed",
        join(_tick(tick, along, height) for tick in ticks),
        join(_row(bar, depth, number, along, suspect) for number, (bar, depth) in enumerate(rows)),
        note if left_out else Markup(""),
        kind="waterfall",
    )


def _in_tree_order(bars: Sequence[Bar]) -> list[tuple[Bar, int]]:
    """Spans with their depth, each below its parent; spans without a known parent are roots."""
    known = {bar.span_id for bar in bars}
    children: dict[str, list[Bar]] = {}
    for bar in sorted(bars, key=lambda bar: (bar.start_s, -bar.duration_s, bar.span_id)):
        parent = bar.parent_span_id if bar.parent_span_id in known and bar.parent_span_id != bar.span_id else ""
        children.setdefault(parent, []).append(bar)
    ordered: list[tuple[Bar, int]] = []
    seen: set[str] = set()
    waiting = [(bar, 0) for bar in reversed(children.get("", []))]
    while waiting:
        bar, depth = waiting.pop()
        if bar.span_id in seen:
            continue
        seen.add(bar.span_id)
        ordered.append((bar, depth))
        waiting.extend((child, depth + 1) for child in reversed(children.get(bar.span_id, [])))
    # Spans that name one another as parents hang from no root; they are shown all the same.
    ordered.extend((bar, 0) for bar in bars if bar.span_id not in seen)
    return ordered


def _tick(tick: float, along: Scale, height: float) -> Markup:
    x = along.at(tick)
    return join(
        (
            element("line", class_="grid", x1=x, x2=x, y1=_TOP - 6, y2=height - 4),
            element("text", quantity(tick, "s"), class_="tick", x=x, y=14, text_anchor="middle"),
        )
    )


def _row(bar: Bar, depth: int, number: int, along: Scale, suspect: str) -> Markup:
    y = _TOP + number * _ROW
    indent = _INDENT * min(depth, _DEEPEST)
    x = along.at(bar.start_s)
    width = max(along.at(bar.start_s + bar.duration_s) - x, 2.0)
    failed = bar.status == _ERROR
    kind = "span failed" if failed else "span suspect" if bar.service == suspect else "span"
    room = int((_LEFT - 14 - indent) / 6.3)
    service = shorten(bar.service, max(room * 2 // 3, 6))
    words = f"{bar.service} {bar.name}: {quantity(bar.duration_s, 's')}{' failed' if failed else ''}"
    return element(
        "g",
        element("title", words + (f": {bar.note}" if bar.note else "")),
        element("rect", class_="row", x=0, y=y, width=_WIDTH, height=_ROW),
        element(
            "text",
            element("tspan", service, class_="span-service"),
            element("tspan", " " + shorten(bar.name, max(room - len(service) - 1, 3)), class_="span-name"),
            x=8 + indent,
            y=y + 15,
        ),
        element("rect", class_=kind, x=x, y=y + 5, width=width, height=_ROW - 10, rx=2),
        element(
            "text",
            ("✕ " if failed else "") + quantity(bar.duration_s, "s"),
            class_="tick failed-text" if failed else "tick",
            x=min(x + width + 5, _RIGHT + 8),
            y=y + 15,
        ),
    )
