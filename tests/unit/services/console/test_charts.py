"""Drawings: what is in them, whatever the figures are."""

import math
import re
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.console.charts.graph import Call, GraphDrawing, draw_graph
from services.console.charts.metric import Line, Mark, MetricDrawing, draw_metric
from services.console.charts.scale import Scale, round_ticks
from services.console.charts.svg import element
from services.console.charts.waterfall import Bar, draw_waterfall
from services.console.wording import band, lasting, quantity, share

NAMES = st.sampled_from(["gateway", "catalog", "cart", "<b>", "payments", "bank", "a" * 40])


def parsed(drawing: str) -> ElementTree.Element:
    """The drawing as XML; a parse error is a failed test."""
    return ElementTree.fromstring(drawing)


def numbers(drawing: str) -> list[float]:
    return [float(n) for n in re.findall(r"-?\d+\.?\d*", " ".join(re.findall(r'(?:d|x|y|cx|cy)="([^"]*)"', drawing)))]


def figures(**given: object) -> MetricDrawing:
    fields: dict[str, object] = {
        "label": "catalog p95",
        "unit": "s",
        "start_s": 1_000.0,
        "end_s": 1_600.0,
        "step_s": 5.0,
        "lower": 0.03,
        "upper": 0.07,
        "observed": 0.412,
        "deviates_from_s": 1_300.0,
    }
    return MetricDrawing(**{**fields, **given})  # type: ignore[arg-type]


def test_the_metric_shows_curve_band_deviation_and_worst_value() -> None:
    line = Line(
        times_s=tuple(1_000.0 + 5 * n for n in range(120)), values=tuple(0.05 if n < 60 else 0.4 for n in range(120))
    )
    drawing = draw_metric(figures(lines=(line,), marks=(Mark(at_s=1_290.0, text="deploy catalog 2"),)))
    classes = {node.get("class") for node in parsed(drawing).iter()}
    assert {"band", "deviation", "curve", "worst", "change", "grid"} <= classes
    assert "412 ms" in drawing
    assert "catalog p95: 412 ms at worst, expected 30 ms to 70 ms" in drawing


def test_a_gap_in_the_points_is_a_gap_in_the_curve() -> None:
    line = Line(times_s=(1_000.0, 1_005.0, 1_300.0, 1_305.0), values=(0.1, 0.1, 0.1, math.nan))
    assert len(re.findall("M", re.findall(r' d="([^"]*)" fill', draw_metric(figures(lines=(line,))))[0])) == 2


@given(
    values=st.lists(st.floats(allow_nan=True, allow_infinity=True), max_size=8),
    lower=st.floats(allow_nan=False),
    upper=st.floats(allow_nan=False),
    observed=st.floats(allow_nan=True),
    length_s=st.sampled_from([0.0, 1.0, 600.0, 9e5]),
)
def test_any_figures_make_a_drawing(
    values: list[float], lower: float, upper: float, observed: float, length_s: float
) -> None:
    line = Line(times_s=tuple(1_000.0 + 5 * n for n in range(len(values))), values=tuple(values))
    drawing = draw_metric(
        figures(lines=(line,), lower=lower, upper=upper, observed=observed, end_s=1_000.0 + length_s, unit="<By>")
    )
    parsed(drawing)
    assert "nan" not in re.sub(r">[^<]*<", "><", drawing)
    assert all(-200 < number < 900 for number in numbers(drawing))


@given(
    st.lists(
        st.builds(Call, caller=NAMES, callee=NAMES, calls=st.integers(0, 9), errors=st.integers(0, 9)), max_size=20
    ),
    st.frozensets(NAMES),
    NAMES,
)
def test_any_graph_is_drawn_with_every_service_once(calls: list[Call], affected: frozenset[str], suspect: str) -> None:
    drawing = draw_graph(GraphDrawing(calls=tuple(calls), affected=affected, suspect=suspect))
    nodes = [n for n in parsed(drawing).iter() if (n.get("class") or "").startswith("node ")]
    wanted = {suspect, *affected} | {
        name for call in calls if call.caller != call.callee for name in (call.caller, call.callee)
    }
    assert len(nodes) == len(wanted)
    assert sum(n.get("class") == "node suspect" for n in nodes) == 1
    assert all(number >= -80 for number in numbers(drawing))


def test_callers_stand_left_of_what_they_call_and_no_line_runs_behind_a_box() -> None:
    calls = [("gateway", "catalog"), ("gateway", "cart"), ("gateway", "checkout"), ("checkout", "cart")]
    drawing = draw_graph(
        GraphDrawing(
            calls=tuple(Call(caller=a, callee=b, calls=10) for a, b in calls), affected=frozenset(), suspect="catalog"
        )
    )
    boxes = {}
    for node in parsed(drawing).iter("{http://www.w3.org/2000/svg}g"):
        if (node.get("class") or "").startswith("node"):
            box = node.find("{http://www.w3.org/2000/svg}rect")
            assert box is not None
            boxes[node[0].text] = (float(box.get("x", "")), float(box.get("y", "")))
    columns = {str(name).split(":")[0]: place for name, place in boxes.items()}
    assert columns["gateway"][0] < columns["checkout"][0] == columns["catalog"][0] < columns["cart"][0]
    long_line = next(p for p in re.findall(r'gateway calls cart: .*? d="([^"]*)"', drawing))
    assert long_line.count("C") == 3  # it bends around the column between


def test_a_slice_of_a_thousand_services_keeps_what_matters() -> None:
    calls = tuple(Call(caller=f"s{n}", callee=f"s{n + 1}", calls=n) for n in range(1_000))
    drawing = draw_graph(GraphDrawing(calls=calls, affected=frozenset({"s3"}), suspect="s1"))
    assert 'class="node suspect"' in drawing
    assert 'class="node affected"' in drawing
    assert drawing.count('class="node ') == 40


def test_spans_stand_below_their_parents_and_failures_are_marked() -> None:
    bars = [
        Bar(
            span_id="b",
            parent_span_id="a",
            service="catalog",
            name="GET",
            status=2,
            start_s=0.1,
            duration_s=0.3,
            note="<boom>",
        ),
        Bar(span_id="a", parent_span_id="", service="gateway", name="GET", status=0, start_s=0.0, duration_s=0.5),
        Bar(span_id="c", parent_span_id="lost", service="cart", name="GET", status=0, start_s=0.2, duration_s=0.1),
    ]
    drawing = draw_waterfall(bars, suspect="cart")
    assert re.findall(r"<title>(\w+) GET", drawing) == ["gateway", "catalog", "cart"]
    assert "&lt;boom&gt;" in drawing
    assert {"span failed", "span suspect", "span"} <= {node.get("class") for node in parsed(drawing).iter()}


@given(
    st.lists(
        st.builds(
            Bar,
            span_id=st.sampled_from("abcd"),
            parent_span_id=st.sampled_from(["", *"abcde"]),
            service=NAMES,
            name=NAMES,
            status=st.integers(0, 2),
            start_s=st.floats(0, 100),
            duration_s=st.floats(0, 100),
        ),
        max_size=8,
    )
)
def test_any_spans_make_a_waterfall_even_circular_ones(bars: list[Bar]) -> None:
    parsed(draw_waterfall(bars))


def test_of_five_thousand_spans_the_failed_and_slowest_are_shown() -> None:
    bars = [
        Bar(
            span_id=f"{n}",
            parent_span_id="",
            service="a",
            name="x",
            status=2 if n == 4_000 else 0,
            start_s=n,
            duration_s=0.1,
        )
        for n in range(5_000)
    ]
    drawing = draw_waterfall(bars)
    assert "4940 shorter spans are left out" in drawing
    assert "failed-text" in drawing


@given(st.floats(allow_nan=False, allow_infinity=False, width=32), st.floats(1e-6, 1e9))
def test_ticks_are_few_and_reach_both_ends(low: float, length: float) -> None:
    ticks = round_ticks(low, low + length)
    if low + length > low and length > abs(low) * 1e-6:
        assert 2 <= len(ticks) <= 8
        assert ticks[0] <= low + length * 1e-6
        assert ticks[-1] >= low + length * (1 - 1e-6)


def test_positions_stay_inside_the_axis() -> None:
    scale = Scale(low=0.0, high=10.0, start=100.0, end=0.0)
    assert [scale.at(value) for value in (-5.0, 0.0, 5.0, 99.0)] == [100.0, 100.0, 50.0, 0.0]


def test_attributes_and_texts_of_drawings_are_escaped() -> None:
    assert element("text", '<i>"', title='"><script>') == '<text title="&#34;&gt;&lt;script&gt;">&lt;i&gt;&#34;</text>'


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (0.412, "s", "412 ms"),
        (0.0000123, "s", "12.3 µs"),
        (1.5, "s", "1.5 s"),
        (0.18, "ratio", "18 %"),
        (220_200_960, "By", "210 MiB"),
        (12.0, "/s", "12 /s"),
        (3.0, "{request}", "3"),
        (0.0, "s", "0 ms"),
        (math.inf, "s", "no limit"),
    ],
)
def test_quantities_read_as_people_write_them(value: float, unit: str, text: str) -> None:
    assert quantity(value, unit) == text


def test_bands_durations_and_shares_read_as_people_write_them() -> None:
    assert band(-math.inf, 0.1, "s") == "up to 100 ms"
    assert band(0.1, math.inf, "s") == "100 ms or more"
    assert [lasting(s) for s in (0, 89, 90, 5_400, 10_000, 200_000, 2e6)] == [
        "0 s", "89 s", "1 min", "1 h 30 min", "2 h 46 min", "2 d 7 h", "23 d",
    ]  # fmt: skip
    assert [share(v) for v in (0.0, 0.001, 0.5, 0.999, 1.0)] == ["0 %", "< 1 %", "50 %", "> 99 %", "100 %"]
