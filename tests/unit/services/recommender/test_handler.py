"""The service's handler over real stores and a real repository; the analysis runs where the test says."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, Future
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from libs.contracts.codec import Codec, from_json
from libs.contracts.command import Command, CommandKind
from libs.contracts.investigation import CauseKind, Hypothesis, InvestigationCompleted
from libs.contracts.recommendation import CodeChangeRecommended
from libs.contracts.records import Record
from libs.contracts.topics import COMMANDS, INVESTIGATIONS, RECOMMENDATIONS
from libs.errors import ConfigurationError, InvalidMessage, Unavailable
from libs.observability.log import Logger
from libs.observability.metrics import ServiceMetrics
from libs.service.platform import Platform
from libs.service.settings import Settings
from libs.streaming.handler import Emit, Event
from services.recommender.handler import RecommenderHandler
from services.recommender.ledger import OUTBOX, PREFIX
from services.recommender.service import handler
from tests.unit.services.recommender.checkouts import checkout, run
from tests.unit.services.recommender.traffic import BEGAN, FETCH, Traffic, healthy, n_plus_one, product

FILE = """
[sources]
least_requests = 20
[[repositories]]
name = "shop"
path = "checkout"
services = ["cart"]
"""
CALLING = {"code.function.name": "shop.cart.Carts._product", "code.file.path": "shop/cart.py", "code.line.number": "17"}
Make = Callable[..., RecommenderHandler]


class Here(Executor):
    """Runs work at once, in the calling thread."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> "Future[Any]":
        future: Future[Any] = Future()
        future.set_result(fn(*args, **kwargs))
        return future


@pytest.fixture
def platform(tmp_path: Path) -> Iterator[Platform]:
    settings = Settings(data_dir=tmp_path / "data", recommendations_file=tmp_path / "file.toml", model=None)
    made = Platform(
        service="recommender",
        settings=settings,
        log=Logger("test", level="error"),
        metrics=ServiceMetrics(),
        codec=Codec(),
    )
    yield made
    made.incidents.close()
    made.telemetry.close()


@pytest.fixture
def make(platform: Platform, tmp_path: Path) -> Make:
    checkout(tmp_path / "checkout")

    def build(text: str = FILE) -> RecommenderHandler:
        (tmp_path / "file.toml").write_text(text)
        return handler(platform.settings, platform, Here())

    return build


def look(core: RecommenderHandler, minutes: float = 0.0) -> list[CodeChangeRecommended]:
    """Begin an analysis and collect it."""
    now = BEGAN + timedelta(minutes=minutes)
    return told([*core.tick(now), *core.tick(now)])


def told(emits: Sequence[Emit]) -> list[CodeChangeRecommended]:
    for emit in emits:
        assert emit.topic == RECOMMENDATIONS
        assert isinstance(emit.record, CodeChangeRecommended)
        assert emit.key == emit.record.service
    return [emit.record for emit in emits if isinstance(emit.record, CodeChangeRecommended)]


def give(core: RecommenderHandler, topic: str, record: Record) -> list[CodeChangeRecommended]:
    return told(core.handle([Event(topic=topic, partition=0, offset=0, key="", record=record)]))


def weak(platform: Platform, *, version: str = "1.8.0", start_s: int = 0, seed: int = 1) -> None:
    """Carts that fetch their products one by one, without a timeout, as the repository's code does."""
    traffic = Traffic(seed)
    for at in range(start_s, start_s + 60):
        size = 1 + 2 * (at % 3)
        calls = [product(2 + 12 * n, at * 10 + n, attributes=CALLING) for n in range(size)]
        show = {**CALLING, "code.function.name": "shop.cart.Carts.show", "code.line.number": "7"}
        traffic.request(at, 4 + 12 * size, calls, version=version, attributes=show)
    traffic.request(start_s + 70, 1, name="GET /later", version=version)
    traffic.write(platform.telemetry)


def by_rule(found: Sequence[CodeChangeRecommended]) -> dict[str, CodeChangeRecommended]:
    return {one.rule: one for one in found}


def test_production_data_becomes_a_patch_of_the_line_that_it_is_about(platform: Platform, make: Make) -> None:
    weak(platform)
    found = by_rule(look(make()))
    assert set(found) == {"n_plus_one_calls", "call_without_timeout"}
    loop = found["n_plus_one_calls"]
    assert (loop.location.repository, loop.location.path, loop.location.line) == ("shop", "shop/cart.py", 10)
    assert loop.location.version == "1.8.0"
    assert loop.diff.startswith("--- a/shop/cart.py\n+++ b/shop/cart.py\n")
    assert loop.operation == "GET /carts/{id}"
    assert 0 < loop.after_s < loop.before_s
    assert "timeout_s=1.0" in found["call_without_timeout"].diff
    stored = platform.incidents.state(PREFIX + loop.id)
    assert stored is not None
    assert from_json(stored.value, CodeChangeRecommended) == loop


def test_the_same_again_is_not_told_again(platform: Platform, make: Make) -> None:
    weak(platform)
    core = make()
    assert look(core)
    weak(platform, start_s=80, seed=2)
    assert look(core) == []


def test_a_healthy_service_gets_no_recommendation(platform: Platform, make: Make) -> None:
    traffic = Traffic()
    healthy(traffic)
    traffic.write(platform.telemetry)
    assert look(make()) == []
    assert platform.incidents.states(PREFIX) == {}


def test_without_a_repository_there_is_a_recommendation_without_a_patch(platform: Platform, make: Make) -> None:
    traffic = Traffic()
    n_plus_one(traffic)
    traffic.write(platform.telemetry)
    [one] = look(make("[sources]\nleast_requests = 20\n"))
    assert one.diff == ""
    assert "no repository is mapped to cart" in one.validation
    assert one.location.path == FETCH["code.file.path"]


def decision(target: str, kind: CommandKind = CommandKind.ACCEPT_RECOMMENDATION) -> Command:
    return Command(id="c-1", kind=kind, target=target, actor="ada", reason="agreed", issued_at=BEGAN)


def test_a_decision_is_told_once_and_no_run_reopens_it(platform: Platform, make: Make) -> None:
    weak(platform)
    core = make()
    loop = by_rule(look(core))["n_plus_one_calls"]
    [accepted] = give(core, COMMANDS, decision(loop.id))
    assert (accepted.state, accepted.decided_by, accepted.reason) == ("accepted", "ada", "agreed")
    assert give(core, COMMANDS, decision(loop.id)) == []
    weak(platform, start_s=80, version="1.9.0", seed=2)
    assert "n_plus_one_calls" not in by_rule(look(core))


def test_a_decision_about_nothing_is_refused(make: Make) -> None:
    with pytest.raises(InvalidMessage, match="no recommendation 'nothing'"):
        give(make(), COMMANDS, decision("nothing"))


def test_decisions_of_others_are_not_its_business(make: Make) -> None:
    assert give(make(), COMMANDS, decision("x", CommandKind.APPROVE)) == []


def test_a_newer_version_without_the_weakness_supersedes_it(platform: Platform, make: Make) -> None:
    weak(platform)
    core = make()
    assert look(core)
    traffic = Traffic(seed=5)
    for at in range(700, 760):
        calls = [product(2, at, attributes={**CALLING, "http.client.timeout": "1"})]
        traffic.request(at, 14, calls, version="1.9.0")
    traffic.request(770, 1, name="GET /later", version="1.9.0")
    traffic.write(platform.telemetry)
    after = by_rule(look(core))
    assert {one.state for one in after.values()} == {"superseded"}
    assert "1.9.0" in after["n_plus_one_calls"].reason


def test_caps_bound_what_is_open(platform: Platform, make: Make) -> None:
    weak(platform)
    assert len(look(make(FILE + "[caps]\nopen_per_service = 1\n"))) == 1


def test_a_branch_is_made_when_it_is_asked_for(platform: Platform, make: Make, tmp_path: Path) -> None:
    weak(platform)
    loop = by_rule(look(make(FILE + "[delivery]\nbranch = true\n")))["n_plus_one_calls"]
    assert loop.branch == f"paramedic/n-plus-one-calls-cart-{loop.id[:8]}"
    assert "asyncio.gather" in run(tmp_path / "checkout", "show", f"{loop.branch}:shop/cart.py")


def test_what_the_broker_never_acknowledged_is_told_again_after_a_death(platform: Platform, make: Make) -> None:
    weak(platform)
    core = make()
    core.wait_for_acknowledgement()
    found = by_rule(look(core))
    again = by_rule(told(make().tick(BEGAN)))
    assert {one.id for one in again.values()} == {one.id for one in found.values()}


def test_what_was_acknowledged_is_not(platform: Platform, make: Make) -> None:
    weak(platform)
    core = make()
    core.wait_for_acknowledgement()
    look(core)
    core.acknowledged()
    outbox = platform.incidents.state(OUTBOX)
    assert outbox is not None
    assert outbox.value == "[]"


def investigation(service: str, as_of_s: float) -> InvestigationCompleted:
    at = BEGAN + timedelta(seconds=as_of_s)
    cause = Hypothesis(rank=1, service=service, kind=CauseKind.CODE_ERROR, cause="slow", confidence=0.9)
    return InvestigationCompleted(
        id="i-1", incident_id="incident-1", revision=1, as_of=at, started_at=at, duration_s=1.0, hypotheses=(cause,)
    )


def slow_query(platform: Platform, *, service: str = "cart") -> None:
    from tests.unit.services.recommender.traffic import Sent

    traffic = Traffic()
    for at in range(60):
        call = Sent(at_ms=1, took_ms=80, statement="SELECT id FROM orders WHERE user_id = ?", attributes=CALLING)
        traffic.request(at, 85, [call], service=service, name="GET /orders")
    traffic.request(90, 1, name="GET /later")
    traffic.write(platform.telemetry)


def test_a_finished_investigation_starts_a_run_that_names_its_incident(platform: Platform, make: Make) -> None:
    slow_query(platform)
    core = make()
    give(core, INVESTIGATIONS, investigation("cart", 62))
    [one] = look(core)
    assert (one.rule, one.incident_id) == ("slow_query", "incident-1")


def test_an_incident_elsewhere_says_nothing_of_this_service(platform: Platform, make: Make) -> None:
    slow_query(platform)
    core = make()
    give(core, INVESTIGATIONS, investigation("payments", 62))
    assert look(core) == []
    [one] = look(core)  # the scheduled run
    assert one.incident_id is None


def test_an_incident_is_looked_at_even_after_a_death(platform: Platform, make: Make) -> None:
    slow_query(platform)
    give(make(), INVESTIGATIONS, investigation("cart", 62))
    [one] = look(make())
    assert one.incident_id == "incident-1"


def test_an_incident_waits_for_its_telemetry_but_not_for_ever(platform: Platform, make: Make) -> None:
    core = make(FILE + "[schedule]\nevery_s = 86400\n")
    weak(platform)
    look(core)
    give(core, INVESTIGATIONS, investigation("cart", 500))
    core.tick(BEGAN)
    assert not core.busy
    core.tick(BEGAN + timedelta(minutes=2))
    assert core.busy


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("[sources]\nwindow = 3\n", "sources.window"),
        ("[rules.nonsense]\n", "rules.nonsense"),
        ("[rules.slow_query]\nleast_mean_ms = -1\n", "rules.slow_query.least_mean_ms"),
        ('[[repositories]]\nname = "a"\npath = "nowhere"\nservices = ["*"]\n', "repositories.a.path"),
        ("[caps\n", "file.toml"),
        ('[delivery]\nbranch_prefix = "no slash"\n', "delivery.branch_prefix"),
    ],
)
def test_a_wrong_file_ends_the_start_with_file_and_key(make: Make, text: str, key: str) -> None:
    with pytest.raises(ConfigurationError, match=key.replace(".", r"\.")) as error:
        make(text)
    assert "file.toml" in str(error.value)


def test_a_stored_recommendation_survives_a_restart_unchanged(platform: Platform, make: Make) -> None:
    weak(platform)
    first = by_rule(look(make()))
    again = make()
    assert look(again) == []
    [dismissed] = give(again, COMMANDS, decision(first["n_plus_one_calls"].id, CommandKind.DISMISS_RECOMMENDATION))
    assert dismissed == replace(first["n_plus_one_calls"], state="dismissed", decided_by="ada", reason="agreed")


class Failing(Executor):
    """Every analysis ends with an error."""

    def __init__(self, failure: Exception) -> None:
        self._failure = failure

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> "Future[Any]":
        future: Future[Any] = Future()
        future.set_exception(self._failure)
        return future


def failing(platform: Platform, failure: Exception) -> RecommenderHandler:
    return handler(platform.settings, platform, Failing(failure))


def test_a_bug_in_an_analysis_is_logged_and_the_next_one_begins(platform: Platform, make: Make) -> None:
    weak(platform)
    make()
    core = failing(platform, ValueError("a file that nobody thought of"))
    assert look(core) == []
    assert not core.busy


def test_a_store_that_is_down_holds_the_service(platform: Platform, make: Make) -> None:
    weak(platform)
    make()
    core = failing(platform, Unavailable("telemetry store"))
    core.tick(BEGAN)
    with pytest.raises(Unavailable, match="telemetry store"):
        core.tick(BEGAN)
