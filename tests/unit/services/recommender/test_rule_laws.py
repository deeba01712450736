"""Laws that every registered rule obeys; a new file in services/recommender/rules/ is put through them by itself."""

import random
from dataclasses import fields
from pathlib import Path

import pytest

from libs.stores.telemetry import LogQuery, SpanQuery, TelemetryStore, Window
from services.recommender import rules
from services.recommender.analysis import LEAST_CONFIDENCE
from services.recommender.configuration import Sources
from services.recommender.observe import scene_of
from services.recommender.patch import load_patchers
from services.recommender.rule import Finding, Thresholds, load_rules
from services.recommender.scene import Scene
from tests.unit.services.recommender.traffic import BEGAN_NS, Sent, Traffic, healthy, n_plus_one, product, raised, scene

ROOT = Path(__file__).resolve().parents[4]
NAMES = load_rules().names()


def weaknesses(traffic: Traffic) -> None:
    """Every weakness at once, each in an operation of its own."""
    n_plus_one(traffic, requests=60)
    for at in range(60):
        endless = product(1, at, attributes={"http.client.timeout": "0", "code.line.number": "5"})
        traffic.request(at, 20, [endless], name="GET /endless")
        pair = [
            Sent(at_ms=1, took_ms=20, template="/u", attributes={"code.line.number": "1"}),
            Sent(at_ms=22, took_ms=20, template="/o", attributes={"code.line.number": "2"}),
        ]
        traffic.request(at, 45, pair, name="GET /pair")
        tries = [Sent(at_ms=1 + 6 * n, took_ms=5, failed=True, attributes={}) for n in range(3)]
        traffic.request(at, 20, tries, name="GET /again", failed=True)
        slow = Sent(at_ms=1, took_ms=60, statement="SELECT id FROM orders WHERE user_id = ?")
        traffic.request(at, 65, [slow], name="GET /orders")
        traffic.request(at, 5, name="POST /orders", logged=raised("IndexError", "award", 9, "x = y[1]"))


def found_by(name: str, seen: Scene) -> list[Finding]:
    kind = load_rules().get(name)
    return list(kind().find(seen, kind.thresholds()))


def test_there_is_a_rule_in_every_file() -> None:
    folder = Path(next(iter(rules.__path__)))
    assert set(NAMES) == {path.stem for path in folder.glob("*.py")} - {"__init__"}


@pytest.mark.parametrize("name", NAMES)
def test_a_rule_is_registered_under_its_name_and_documented(name: str) -> None:
    kind = load_rules().get(name)
    assert kind.name == name
    assert issubclass(kind.thresholds, Thresholds)
    assert f"`{name}`" in (ROOT / "docs" / "recommendations.md").read_text()


@pytest.mark.parametrize("name", NAMES)
def test_a_rule_finds_its_weakness_and_says_where_how_much_and_why(
    name: str, store: TelemetryStore, traffic: Traffic
) -> None:
    weaknesses(traffic)
    traffic.write(store)
    found = found_by(name, scene(store, end_s=70))
    assert found, "the law's own weakness is not found"
    for one in found:
        assert one.rule == name
        assert one.evidence
        assert any(line.source.startswith("trace ") for line in one.evidence)
        assert one.benefit.value > 0
        assert any(char.isdigit() for char in one.benefit.words)
        assert one.benefit.unit.endswith("/day")
        assert 0 <= one.confidence <= 1
        assert one.advice.endswith(".")
        assert not any(char.isdigit() for char in one.title.replace("{id}", "").replace("/products", ""))
        assert one.patcher in ("", *load_patchers().names())
        assert 0 <= one.benefit.after_s <= one.benefit.before_s


@pytest.mark.parametrize("name", NAMES)
def test_a_rule_is_quiet_on_a_healthy_service(name: str, store: TelemetryStore, traffic: Traffic) -> None:
    healthy(traffic)
    traffic.write(store)
    seen = scene(store, end_s=115)
    assert len(seen.operations) >= 4
    assert [one.title for one in found_by(name, seen) if one.confidence >= LEAST_CONFIDENCE] == []


@pytest.mark.parametrize("name", NAMES)
def test_a_rule_says_the_same_whatever_the_order_in_which_spans_are_read(
    name: str, store: TelemetryStore, traffic: Traffic
) -> None:
    weaknesses(traffic)
    traffic.write(store)
    window = Window(start_ns=BEGAN_NS, end_ns=BEGAN_NS + 70_000_000_000)
    rows = store.spans(SpanQuery(window=window, limit=100_000))
    logs = store.logs(LogQuery(window=window, limit=100_000))
    shuffled = list(rows)
    random.Random(3).shuffle(shuffled)
    scenes = [
        scene_of(one, logs, window, Sources(least_requests=20), lambda _: True, cut=False) for one in (rows, shuffled)
    ]
    assert found_by(name, scenes[0]) == found_by(name, scenes[1])


@pytest.mark.parametrize("name", NAMES)
def test_a_rule_does_not_see_what_comes_after_the_window(name: str, store: TelemetryStore, traffic: Traffic) -> None:
    weaknesses(traffic)
    traffic.write(store)
    before = found_by(name, scene(store, end_s=50))
    later = Traffic(seed=2)
    for at in range(60, 100):
        later.request(at, 900, [product(1 + 200 * n, at * 10 + n, 180) for n in range(4)], version="9.9.9")
    later.write(store)
    assert found_by(name, scene(store, end_s=50)) == before


@pytest.mark.parametrize("name", NAMES)
def test_a_rule_keeps_its_identity_when_figures_and_versions_change(
    name: str, store: TelemetryStore, traffic: Traffic
) -> None:
    weaknesses(traffic)
    traffic.write(store)
    short, long = found_by(name, scene(store, end_s=50)), found_by(name, scene(store, end_s=70))
    assert {(one.subject, one.place) for one in short} == {(one.subject, one.place) for one in long}


@pytest.mark.parametrize("name", NAMES)
def test_a_rule_survives_foreign_spans(name: str, store: TelemetryStore, traffic: Traffic) -> None:
    odd = {
        "code.line.number": "many",
        "http.client.timeout": "soon",
        "db.query.text": "",
        "url.full": "http://[",
        "x": "",
    }
    for at in range(40):
        calls = [Sent(at_ms=0, took_ms=1, template="", path="", peer="", attributes=dict(odd)) for _ in range(3)]
        traffic.request(at, 0.0, calls, exception={"exception.type": "E", "exception.stacktrace": 'File "' + "x" * 999})
    traffic.write(store)
    found_by(name, scene(store, end_s=60))


@pytest.mark.parametrize("name", NAMES)
def test_every_threshold_says_what_it_is(name: str) -> None:
    for key, told in load_rules().get(name).thresholds.model_fields.items():
        assert told.description, key


def test_a_finding_is_a_value() -> None:
    assert all(one.init for one in fields(Finding))
