"""The slice of the service graph around an incident, callers left of callees, the suspected cause marked."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import fmean
from typing import Final

from markupsafe import Markup

from services.console.charts.svg import drawing, element, join, shorten
from services.console.wording import share

_BOX_W, _BOX_H = 132.0, 44.0
_GAP_X, _GAP_Y = 76.0, 20.0
_EDGE: Final = 12.0
_FAILING: Final = 0.01  # below one failed call in a hundred an edge is drawn as healthy
_MOST_NODES: Final = 40
_SWEEPS: Final = 4
_BEND: Final = "\x1f"  # no service name has it


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """A call edge.

    Attributes:
        caller: Service that calls.
        callee: Service or external peer that is called.
        calls: Calls in the window.
        errors: Failed ones among them.
    """

    caller: str
    callee: str
    calls: int = 0
    errors: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class GraphDrawing:
    """What is drawn.

    Attributes:
        calls: Edges of the slice.
        affected: Services with an anomaly.
        suspect: Service of the leading hypothesis or of the confirmed cause, "" for none.
        confirmed: Whether the cause is confirmed.
    """

    calls: tuple[Call, ...]
    affected: frozenset[str]
    suspect: str = ""
    confirmed: bool = False


def draw_graph(figures: GraphDrawing) -> Markup:
    """The picture; nodes carry the classes affected, suspect or calm."""
    calls = [call for call in figures.calls if call.caller != call.callee]
    names = _names(calls, figures)
    column, bends = _bent(_columns(names, calls), calls)
    places = _places(_ordered(column, [(call.caller, *passed, call.callee) for call, passed in bends.items()]))
    width = max((x for x, _ in places.values()), default=0.0) + _BOX_W + _EDGE
    height = max((y for _, y in places.values()), default=0.0) + _BOX_H + _EDGE
    return drawing(
        width,
        height,
        _words(figures, calls),
        element("defs", _arrow("tip"), _arrow("tip-failing")),
        join(_edge(call, passed, places) for call, passed in bends.items()),
        join(_node(name, places[name], figures) for name in names),
        kind="graph",
    )


def _names(calls: Sequence[Call], figures: GraphDrawing) -> list[str]:
    """Every service of the slice; of a slice that is too large what matters to the incident stays."""
    extra = [*sorted(figures.affected), *([figures.suspect] if figures.suspect else [])]
    names = list(dict.fromkeys([*(name for call in calls for name in (call.caller, call.callee)), *extra]))
    if len(names) <= _MOST_NODES:
        return names
    busy: dict[str, int] = {}
    for call in calls:
        for name in (call.caller, call.callee):
            busy[name] = busy.get(name, 0) + call.calls
    kept = sorted(names, key=lambda name: (name not in extra, -busy.get(name, 0), name))[:_MOST_NODES]
    return [name for name in names if name in set(kept)]


def _columns(names: Sequence[str], calls: Iterable[Call]) -> dict[str, int]:
    """Column of each service: one right of its rightmost caller; calls that close a circle are passed over."""
    known = set(names)
    callers: dict[str, set[str]] = {name: set() for name in names}
    for call in calls:
        if call.caller in known and call.callee in known:
            callers[call.callee].add(call.caller)
    column: dict[str, int] = {}

    def place(name: str, path: frozenset[str]) -> int:
        if name not in column:
            above = [place(caller, path | {name}) for caller in sorted(callers[name]) if caller not in path | {name}]
            column[name] = max(above, default=-1) + 1
        return column[name]

    for name in names:
        place(name, frozenset())
    return column


def _bent(column: Mapping[str, int], calls: Iterable[Call]) -> tuple[dict[str, int], dict[Call, list[str]]]:
    """Bends where a call passes a column, as places of their own: else its line would run behind a box.

    Returns:
        Columns of services and bends, and the bends of each call in its direction.
    """
    columns, bends = dict(column), dict[Call, list[str]]()
    for call in calls:
        if call.caller not in column or call.callee not in column:
            continue
        first, last = column[call.caller], column[call.callee]
        bends[call] = [f"{call.caller}{_BEND}{call.callee}{_BEND}{between}" for between in range(first + 1, last)]
        columns |= {bend: first + 1 + place for place, bend in enumerate(bends[call])}
    return columns, bends


def _ordered(column: Mapping[str, int], chains: Iterable[Sequence[str]]) -> list[list[str]]:
    """Services and bends of each column from top to bottom, near those that they talk to.

    Source: the barycenter method of Sugiyama, Tagawa and Toda, IEEE Trans. SMC 11(2), 1981.
    """
    columns: list[list[str]] = [[] for _ in range(max(column.values(), default=-1) + 1)]
    for name, number in column.items():
        columns[number].append(name)
    near: dict[str, set[str]] = {name: set() for name in column}
    for chain in chains:
        for one, other in pairwise(chain):
            near[one].add(other)
            near[other].add(one)
    for _ in range(_SWEEPS):
        for names in columns:
            height = {name: _middle(index, held) for held in columns for index, name in enumerate(held)}
            centre = {name: fmean(height[other] for other in near[name]) if near[name] else 0.0 for name in names}
            names.sort(key=lambda name: (centre[name], name))
    return columns


def _middle(index: int, names: Sequence[str]) -> float:
    return index - (len(names) - 1) / 2


def _places(columns: Sequence[Sequence[str]]) -> dict[str, tuple[float, float]]:
    tallest = max((len(names) for names in columns), default=0)
    places = {}
    for number, names in enumerate(columns):
        top = _EDGE + (tallest - len(names)) * (_BOX_H + _GAP_Y) / 2
        for index, name in enumerate(names):
            places[name] = (_EDGE + number * (_BOX_W + _GAP_X), top + index * (_BOX_H + _GAP_Y))
    return places


def _edge(call: Call, bends: Sequence[str], places: Mapping[str, tuple[float, float]]) -> Markup:
    ratio = call.errors / call.calls if call.calls else 0.0
    failing = ratio >= _FAILING
    points = _points(call, bends, places)
    (x1, y1), (x2, y2) = points[:2]
    parts = [
        element("title", f"{call.caller} calls {call.callee}: {call.calls:,} calls, {call.errors:,} failed"),
        element(
            "path",
            class_="call failing" if failing else "call",
            d=_path(points),
            fill="none",
            marker_end=f"url(#{'tip-failing' if failing else 'tip'})",
        ),
    ]
    if failing:
        middle = {"x": (x1 + x2) / 2, "y": (y1 + y2) / 2 - 6}
        parts.append(element("text", f"{share(ratio)} fail", class_="call-text", text_anchor="middle", **middle))
    return element("g", *parts)


def _points(call: Call, bends: Sequence[str], places: Mapping[str, tuple[float, float]]) -> list[tuple[float, float]]:
    """Where the line of a call begins, passes columns on both sides, and ends."""
    (x1, y1), (x2, y2) = places[call.caller], places[call.callee]
    half = _BOX_H / 2
    passed = [(places[bend][0] + side, places[bend][1] + half) for bend in bends for side in (0.0, _BOX_W)]
    if x2 > x1:
        return [(x1 + _BOX_W, y1 + half), *passed, (x2 - 2, y2 + half)]
    return [(x1, y1 + half), (x2 + _BOX_W + 2, y2 + half)] if x2 < x1 else [(x1, y1 + half), (x2 - 2, y2 + half)]


def _path(points: Sequence[tuple[float, float]]) -> str:
    """A smooth line: level where it leaves and where it arrives."""
    drawn = [f"M{points[0][0]:.1f} {points[0][1]:.1f}"]
    for (x1, y1), (x2, y2) in pairwise(points):
        bend = (x2 - x1) / 2 or -34.0  # within a column the line goes out to the left and comes back
        second = x2 - bend if x2 != x1 else x2 + bend
        drawn.append(f"C{x1 + bend:.1f} {y1:.1f} {second:.1f} {y2:.1f} {x2:.1f} {y2:.1f}")
    return " ".join(drawn)


def _node(name: str, place: tuple[float, float], figures: GraphDrawing) -> Markup:
    x, y = place
    suspect, affected = name == figures.suspect, name in figures.affected
    note = ("cause" if figures.confirmed else "suspected cause") if suspect else "deviates" if affected else ""
    middle = x + _BOX_W / 2
    parts = [
        element("title", f"{name}{': ' if note else ''}{note}"),
        element("rect", x=x, y=y, width=_BOX_W, height=_BOX_H, rx=7),
        element(
            "text", shorten(name, 15), class_="node-name", x=middle, y=y + (19 if note else 27), text_anchor="middle"
        ),
    ]
    if note:
        parts.append(element("text", note, class_="node-note", x=middle, y=y + 36, text_anchor="middle"))
    return element("g", *parts, class_=f"node {'suspect' if suspect else 'affected' if affected else 'calm'}")


def _arrow(identity: str) -> Markup:
    return element(
        "marker",
        element("path", d="M0 0 L8 4 L0 8 Z"),
        id=identity,
        class_=identity,
        viewBox="0 0 8 8",
        refX=7,
        refY=4,
        markerWidth=8,
        markerHeight=8,
        orient="auto",
    )


def _words(figures: GraphDrawing, calls: Sequence[Call]) -> str:
    said = ", ".join(f"{call.caller} calls {call.callee}" for call in calls[:12])
    affected = ", ".join(sorted(figures.affected)) or "none"
    suspect = f"; {'cause' if figures.confirmed else 'suspected cause'}: {figures.suspect}" if figures.suspect else ""
    return f"Service graph: {said or 'no calls known'}. Deviating: {affected}{suspect}"
