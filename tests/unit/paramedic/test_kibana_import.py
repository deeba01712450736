"""`paramedic kibana import`: a multipart upload that replaces, and errors that say what to do."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from libs.errors import ConfigurationError, Unavailable
from libs.service.settings import load_settings
from paramedic.cli import app
from paramedic.kibana import ImportResult, import_objects, kibana_access, saved_objects
from tests.unit.paramedic.fake_kibana import FakeKibana, basic, running


@pytest.fixture(autouse=True)
def nothing_configured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # where no .env is
    monkeypatch.setenv("PARAMEDIC_DATA_DIR", str(tmp_path))


@pytest.fixture
def kibana() -> Iterator[FakeKibana]:
    with running(FakeKibana()) as fake:
        yield fake


def imported(kibana: FakeKibana, objects: bytes | None = None) -> ImportResult:
    return import_objects(kibana_access(load_settings(), kibana.url), objects or saved_objects("paramedic"))


def command(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["kibana", "import", *arguments])


def test_every_object_is_new_the_first_time_and_replaced_the_second(kibana: FakeKibana) -> None:
    first, second = imported(kibana), imported(kibana)
    assert len(first.imported) == len(second.imported) == len(kibana.stored) == 30
    assert not any(taken.replaced for taken in first.imported)
    assert all(taken.replaced for taken in second.imported)
    assert first.rejected == second.rejected == ()


def test_data_views_go_over_the_indices_of_the_prefix() -> None:
    shipped, changed = saved_objects("paramedic").splitlines(), saved_objects("staging").splitlines()
    titles = {
        found["attributes"]["title"]
        for found in map(json.loads, changed)
        if found["type"] == "index-pattern"
    }  # fmt: skip
    assert titles == {"staging-incidents", "staging-spans-*", "staging-logs-*", "staging-changes"}
    assert [json.loads(line)["id"] for line in shipped] == [json.loads(line)["id"] for line in changed]
    assert sum(a != b for a, b in zip(shipped, changed, strict=True)) == 4


def test_a_space_and_a_base_path_are_part_of_the_address(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PARAMEDIC_KIBANA_SPACE", "sre")
    with running(FakeKibana(base_path="/kibana", spaces=("sre",))) as kibana:
        imported(kibana)
        assert kibana.requests == ["/kibana/s/sre/api/saved_objects/_import?overwrite=true"]
        assert {space for space, _, _ in kibana.stored} == {"sre"}


@pytest.mark.parametrize(
    ("settings", "header"),
    [
        ({"API_KEY": "a2V5"}, "ApiKey a2V5"),
        ({"USER": "elastic", "PASSWORD": "s3cret"}, basic("elastic", "s3cret")),
    ],
)
def test_credentials_come_from_the_settings(
    settings: dict[str, str], header: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with running(FakeKibana(authorization=header)) as kibana:
        with pytest.raises(ConfigurationError, match="PARAMEDIC_KIBANA_API_KEY"):
            imported(kibana)
        for name, value in settings.items():
            monkeypatch.setenv(f"PARAMEDIC_KIBANA_{name}", value)
        assert len(imported(kibana).imported) == 30


def test_credentials_are_shown_nowhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PARAMEDIC_KIBANA_USER", "elastic")
    monkeypatch.setenv("PARAMEDIC_KIBANA_PASSWORD", "s3cret")
    assert "s3cret" not in repr(kibana_access(load_settings(), "http://kibana:5601"))


def test_an_object_that_is_rejected_is_named_with_its_reason(kibana: FakeKibana) -> None:
    lines = saved_objects("paramedic").decode().splitlines()
    without_views = "\n".join(line for line in lines if json.loads(line)["type"] != "index-pattern")
    result = imported(kibana, without_views.encode())
    reasons = {refused.id: refused.reason for refused in result.rejected}
    assert reasons["paramedic-escalated"] == "refers to what is not there: index-pattern paramedic-incidents"


def test_the_command_says_what_became_of_each_object(kibana: FakeKibana) -> None:
    kibana.unknown_types = {"lens"}
    result = command("--url", kibana.url)
    assert result.exit_code == 1
    assert "✓ search paramedic-open-incidents: new, Paramedic: open incidents by priority" in result.stdout
    assert "✗ lens paramedic-self-healing-rate: this Kibana does not know the type" in result.stdout
    assert "15 imported, 15 rejected" in result.stdout


def test_the_command_prints_json(kibana: FakeKibana) -> None:
    result = command("--url", kibana.url, "--json")
    assert result.exit_code == 0
    fields = json.loads(result.stdout)
    assert len(fields["imported"]) == 30
    assert fields["rejected"] == []


def test_a_kibana_that_is_starting_is_unavailable(kibana: FakeKibana) -> None:
    kibana.starting = 1
    with pytest.raises(Unavailable, match="503 Kibana server is not ready yet"):
        imported(kibana)


def test_nobody_listening_is_unavailable() -> None:
    with running(FakeKibana()) as kibana:
        pass
    with pytest.raises(Unavailable, match=kibana.url):
        imported(kibana)


@pytest.mark.parametrize(
    "change",
    [{"page": "<html>a proxy"}, {"page": "[]"}, {"page": '{"success": true}'}, {"base_path": "/elsewhere"}],
)
def test_what_is_no_kibana_is_said_to_be_none(change: dict[str, str]) -> None:
    with running(FakeKibana(**change)) as kibana:  # type: ignore[arg-type]  # all of them are texts
        kibana.url = kibana.url.removesuffix(kibana.base_path)
        with pytest.raises(ConfigurationError, match=r"no Kibana|server\.basePath"):
            imported(kibana)


@pytest.mark.parametrize(
    ("url", "advice"),
    [
        ("", "PARAMEDIC_KIBANA_URL"),
        ("kibana:5601", r"http\(s\)://host:port"),
        ("http://kibana:port", r"http\(s\)://host:port"),
        ("http://elastic:secret@kibana:5601", "PARAMEDIC_KIBANA_USER"),
    ],
)
def test_an_address_that_is_none_is_refused_without_its_secrets(url: str, advice: str) -> None:
    with pytest.raises(ConfigurationError, match=advice) as refused:
        kibana_access(load_settings(), url)
    assert "secret" not in str(refused.value)


def test_a_certificate_file_that_is_not_there_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PARAMEDIC_KIBANA_CA_FILE", "/nowhere/ca.pem")
    with pytest.raises(ConfigurationError, match=r"/nowhere/ca\.pem"):
        import_objects(kibana_access(load_settings(), "https://kibana:5601"), b"")
