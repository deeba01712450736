"""The act with recommendations, on fakes of everything that runs: what is shown, tried, measured and counted."""

import dataclasses
import difflib
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any, TypeVar, cast

import pytest

from examples.shop.faults import WorldError
from libs.contracts.codec import ns_from_utc
from libs.contracts.recommendation import CodeChangeRecommended, CodeLocation
from libs.stores.telemetry import SpanQuery, SpanRow
from paramedic.demo import improve_act
from paramedic.demo.improve_act import improve
from paramedic.demo.observer import Seen
from paramedic.demo.stage import ROOT, Stage
from paramedic.demo.timeline import Timeline

R = TypeVar("R")
SCHEMA = "examples/shop/sql/checkout.sql"
RULES = ("slow_query", "n_plus_one_calls", "sequential_calls", "hot_exception")
SECOND_NS = 1_000_000_000


def index_for_orders() -> CodeChangeRecommended:
    before = (ROOT / SCHEMA).read_text()
    after = before + "CREATE INDEX IF NOT EXISTS orders_by_user_id ON orders (user_id);\n"
    diff = difflib.unified_diff(before.splitlines(True), after.splitlines(True), f"a/{SCHEMA}", f"b/{SCHEMA}")
    return CodeChangeRecommended(
        id="r-1",
        rule="slow_query",
        service="checkout",
        title="orders are read whole",
        location=CodeLocation(path="examples/shop/checkout.py", line=58),
        diff="".join(diff),
        operation="GET /orders",
        before_s=0.030,
        after_s=0.004,
        recommended_at=datetime.now(UTC),
    )


@dataclass(slots=True)
class FakeShop:
    """A control API that remembers what was deployed."""

    refuses: bool = False
    deployed: list[dict[str, Any]] = field(default_factory=list)

    def services(self) -> dict[str, Any]:
        return {"checkout": {"version": "3.1.2", "versions": ["3.1.2", "3.2.0"]}}

    def control(self, method: str, path: str, body: dict[str, Any]) -> dict[str, Any]:
        assert (method, path) == ("POST", "/services/checkout/deploy")
        if self.refuses:
            raise WorldError("502 it did not come up")
        self.deployed.append(body)
        return {}


@dataclass(slots=True)
class FakeStore:
    """One request a second at the old version until now, then at the new one as event time goes on."""

    shop: FakeShop
    now_ns: int
    new_s: float
    newest_ns: int = 0

    def watermark_ns(self) -> int:
        self.newest_ns = max(self.newest_ns, self.now_ns) + 10 * SECOND_NS
        return self.newest_ns

    def spans(self, query: SpanQuery) -> list[SpanRow]:
        found = []
        for number in range(-100, 200):
            end_ns = self.now_ns + number * SECOND_NS
            old = number < 0
            if query.window.start_ns <= end_ns < query.window.end_ns and (old or self.shop.deployed):
                # a fault made the requests of these twenty seconds slow: they are not calm
                slow_s = 9.0 if -60 <= number < -40 else 0.030
                tremble_s = 0.0001 * (number % 3)
                found.append(_row("3.1.2" if old else "3.1.3", (slow_s if old else self.new_s) + tremble_s))
        return found


class FakeObserver:
    """Events that are all there already."""

    def __init__(self, events: list[Seen]) -> None:
        self._events = events

    def events(self) -> list[Seen]:
        return self._events

    def wait(self, look: Callable[[list[Seen]], R | None], timeout_s: float, stop: threading.Event) -> R | None:
        return look(self._events)


@pytest.fixture(autouse=True)
def _nobody_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """The events are all there, and every look at the store finds ten seconds more of telemetry."""
    monkeypatch.setattr(improve_act, "RECOMMENDATIONS_S", 0.0)
    monkeypatch.setattr(improve_act, "_POLL_S", 0.0)


def _row(version: str, duration_s: float) -> SpanRow:
    return SpanRow(
        trace_id="t", span_id="s", parent_span_id="", service="checkout", version=version, name="GET /orders", kind=2,
        status=0, start_ns=0, duration_ns=int(duration_s * 1e9),
    )  # fmt: skip


def stage(tmp_path: Path, records: list[CodeChangeRecommended], shop: FakeShop, *, new_s: float = 0.005) -> Stage:
    now = datetime.now(UTC)
    observer = FakeObserver([Seen(at=now, record=record) for record in records])
    made = Stage(
        settings=cast(Any, SimpleNamespace(data_dir=tmp_path)),
        platform=cast(Any, SimpleNamespace(telemetry=FakeStore(shop, ns_from_utc(now), new_s))),
        supervisor=cast(Any, SimpleNamespace(tend=lambda: None)),
        shop=cast(Any, shop),
        observer=cast(Any, observer),
        timeline=Timeline(quiet=True),
        stop=threading.Event(),
        began_at=now - timedelta(seconds=100),
    )
    made.troubles.append((now - timedelta(seconds=60), now - timedelta(seconds=40)))
    return made


def all_rules() -> list[CodeChangeRecommended]:
    first = index_for_orders()
    return [first, *(dataclasses.replace(first, id=rule, rule=rule, diff="") for rule in RULES[1:])]


def test_the_best_one_is_deployed_from_a_copy_and_measured_in_calm(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shop = FakeShop()
    result = improve(stage(tmp_path, all_rules(), shop))
    copy = tmp_path / "shop" / "releases" / "checkout-3.1.3"
    assert shop.deployed == [{"version": "3.1.3", "source": str(copy)}]
    assert "orders_by_user_id" in (copy / SCHEMA).read_text()
    assert result.files == (SCHEMA,)
    assert result.before.requests == 80
    assert result.before.mean_s == pytest.approx(0.0301, abs=1e-4)
    assert result.after.mean_s == pytest.approx(0.0051, abs=1e-4)
    printed = capsys.readouterr().out
    assert "examples/shop/checkout.py:58" in printed
    assert "+CREATE INDEX IF NOT EXISTS orders_by_user_id" in printed
    assert result.rules == tuple(sorted(RULES))


def test_a_saving_that_does_not_come_is_a_failure(tmp_path: Path) -> None:
    result = improve(stage(tmp_path, all_rules(), FakeShop(), new_s=0.029))
    assert "not within a factor of 2" in "; ".join(result.failures)


def test_a_deployment_that_fails_is_told_and_nothing_is_measured(tmp_path: Path) -> None:
    result = improve(stage(tmp_path, all_rules(), FakeShop(refuses=True)))
    assert "502 it did not come up" in "; ".join(result.failures)
    assert "not deployed" in "; ".join(result.failures)
    assert result.after.requests == 0


def test_a_diff_for_other_code_is_not_deployed(tmp_path: Path) -> None:
    first, *others = all_rules()
    shop = FakeShop()
    stale = dataclasses.replace(first, diff=first.diff.replace("placed_at REAL", "placed_at TEXT"))
    result = improve(stage(tmp_path, [stale, *others], shop))
    assert "does not fit" in "; ".join(result.failures)
    assert shop.deployed == []


def test_without_recommendations_nothing_is_deployed(tmp_path: Path) -> None:
    shop = FakeShop()
    result = improve(stage(tmp_path, [], shop))
    assert shop.deployed == []
    assert len(result.failures) == 2
