"""`paramedic setup`: one line a step, a bounded wait that says for what, and nothing done twice."""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner, Result

from libs.errors import ConfigurationError, InvalidMessage, ParamedicError, Unavailable
from libs.service.settings import load_settings
from libs.stores import elastic_provision
from libs.stores.elastic_provision import Provisioned
from paramedic.cli import app
from paramedic.setup_steps import Outcome, Patience, Status, Step, carry_out, setup_steps
from tests.unit.paramedic.fake_kibana import FakeKibana, running


@pytest.fixture(autouse=True)
def nothing_configured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # where no .env is
    monkeypatch.setenv("PARAMEDIC_DATA_DIR", str(tmp_path))


@pytest.fixture
def kibana() -> Iterator[FakeKibana]:
    with running(FakeKibana()) as fake:
        yield fake


@dataclass
class Clock:
    """Time that passes by sleeping alone."""

    now_s: float = 0.0
    told: list[str] = field(default_factory=list)

    def sleep(self, seconds: float) -> None:
        self.now_s += seconds

    def patience(self, longest_s: float = 60.0) -> Patience:
        return Patience(longest_s=longest_s, sleep=self.sleep, now=lambda: self.now_s, tell=self.told.append)


def failing(times: int, error: ParamedicError) -> Step:
    """A step that fails some times before it succeeds."""
    left = [times]

    def act(dry_run: bool) -> tuple[Status, str]:
        left[0] -= 1
        if left[0] >= 0:
            raise error
        return Status.DONE, "two things made"

    return Step(name="topics", where="Kafka at kafka:9092", act=act, advice="start it")


def outcome_of(step: Step, clock: Clock) -> Outcome:
    [outcome] = carry_out([step], clock.patience())
    return outcome


def test_a_server_that_is_starting_is_waited_for_and_said_so_once() -> None:
    clock = Clock()
    outcome = outcome_of(failing(5, Unavailable("kafka:9092: no answer")), clock)
    assert outcome == Outcome(step="topics", status=Status.DONE, detail="two things made")
    assert clock.told == ["waiting at most 60 s for Kafka at kafka:9092: kafka:9092: no answer"]


def test_the_wait_is_bounded_and_its_end_says_what_to_do() -> None:
    clock = Clock()
    outcome = outcome_of(failing(1000, Unavailable("kafka:9092: no answer")), clock)
    assert outcome.status is Status.FAILED
    assert outcome.detail == "kafka:9092: no answer; given up after 60 s"
    assert outcome.advice == "start it"
    assert clock.now_s <= 60.0


@pytest.mark.parametrize(
    ("error", "advice"), [(ConfigurationError("set this"), ""), (InvalidMessage("refused"), "start it")]
)
def test_what_waiting_does_not_mend_is_not_waited_for(error: ParamedicError, advice: str) -> None:
    clock = Clock()
    outcome = outcome_of(failing(1, error), clock)
    assert (outcome.status, outcome.detail, outcome.advice) == (Status.FAILED, str(error), advice)
    assert clock.now_s == 0.0


def test_a_step_that_fails_does_not_keep_the_next_from_being_tried() -> None:
    steps = [failing(1000, Unavailable("down")), failing(0, Unavailable("never"))]
    assert [outcome.status for outcome in carry_out(steps, Clock().patience())] == [Status.FAILED, Status.DONE]


def test_nothing_is_needed_for_the_embedded_platform() -> None:
    outcomes = list(carry_out(setup_steps(load_settings()), Clock().patience()))
    assert [outcome.step for outcome in outcomes] == [
        "topics", "schemas", "incident store", "telemetry store", "kibana",
    ]  # fmt: skip
    assert {outcome.status for outcome in outcomes} == {Status.SKIPPED}


def only_kibana(command: Callable[[], Result]) -> dict[str, str]:
    result = command()
    [*others, last] = json.loads(result.stdout)
    assert {outcome["status"] for outcome in others} == {"not needed"}
    return {**last, "exit_code": str(result.exit_code)}


def test_kibana_is_imported_once_and_replaced_after_that(kibana: FakeKibana) -> None:
    def command() -> Result:
        return CliRunner().invoke(app, ["setup", "--kibana", kibana.url, "--json"])

    first, second = only_kibana(command), only_kibana(command)
    assert (first["status"], first["detail"]) == ("done", "30 objects new, 0 replaced")
    assert (second["status"], second["detail"]) == ("already so", "0 objects new, 30 replaced")
    assert first["exit_code"] == second["exit_code"] == "0"


def test_a_dry_run_asks_nothing_of_kibana(kibana: FakeKibana) -> None:
    found = only_kibana(lambda: CliRunner().invoke(app, ["setup", "--kibana", kibana.url, "--dry-run", "--json"]))
    assert found["status"] == "to do"
    assert kibana.requests == []


def test_the_address_of_kibana_may_come_from_the_settings(kibana: FakeKibana, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PARAMEDIC_KIBANA_URL", kibana.url)
    monkeypatch.setenv("PARAMEDIC_ELASTICSEARCH_PREFIX", "staging")
    result = CliRunner().invoke(app, ["setup"])
    assert "+ kibana: done: 30 objects new, 0 replaced" in result.stdout
    view = kibana.stored["default", "index-pattern", "paramedic-incidents"]
    assert view["attributes"]["title"] == "staging-incidents"


def test_a_failure_ends_with_exit_code_1_and_what_to_do(kibana: FakeKibana) -> None:
    kibana.unknown_types = {"lens"}
    result = CliRunner().invoke(app, ["setup", "--kibana", kibana.url, "--wait", "0"])
    assert result.exit_code == 1
    assert "✗ kibana: failed: lens paramedic-open-count: this Kibana does not know the type" in result.stdout
    assert "`paramedic kibana import` shows more" in result.stdout


def test_the_job_of_compose_is_a_command_that_there_is(kibana: FakeKibana) -> None:
    compose = yaml.safe_load((Path(__file__).parents[3] / "docker-compose.yml").read_text())
    arguments = [part.replace("http://kibana:5601", kibana.url) for part in compose["services"]["setup"]["command"]]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    assert len(kibana.stored) == 30


def test_kibana_that_does_not_come_up_is_given_up(kibana: FakeKibana) -> None:
    kibana.starting = 1000
    result = CliRunner().invoke(app, ["setup", "--kibana", kibana.url, "--wait", "0"])
    assert result.exit_code == 1
    assert "503 Kibana server is not ready yet; given up after 0 s" in result.stdout


def test_an_address_of_elasticsearch_that_is_none_is_told_by_its_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PARAMEDIC_INCIDENT_STORE", "http://elastic:secret@elasticsearch:9200")
    result = CliRunner().invoke(app, ["setup"])
    assert result.exit_code == 1
    assert "✗ incident store: failed: PARAMEDIC_INCIDENT_STORE" in result.stdout
    assert "secret" not in result.output


@pytest.mark.parametrize(
    ("arguments", "status", "told"),
    [
        (["--dry-run"], "to do", "3 incidents of an earlier release to index anew"),
        ([], "done", "3 incidents of an earlier release indexed anew"),
    ],
)
def test_incidents_of_an_earlier_release_are_something_to_do(
    monkeypatch: pytest.MonkeyPatch, arguments: list[str], status: str, told: str
) -> None:
    found = Provisioned(present=("paramedic-incidents", "paramedic-state"), lacking=3)
    monkeypatch.setenv("PARAMEDIC_INCIDENT_STORE", "http://elasticsearch:9200")
    monkeypatch.setattr(elastic_provision, "provision", lambda *_, **__: found)
    result = CliRunner().invoke(app, ["setup", "--json", *arguments])
    lines = {line["step"]: line for line in json.loads(result.stdout)}
    assert lines["incident store"]["status"] == status
    assert lines["incident store"]["detail"].endswith(told)
