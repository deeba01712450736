"""The address of a store decides which one is opened."""

from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from libs.errors import ConfigurationError, Unavailable
from libs.service.settings import Settings
from libs.stores.elastic_incidents import ElasticIncidentStore
from libs.stores.elastic_options import ElasticOptions
from libs.stores.elastic_telemetry import ElasticTelemetryStore
from libs.stores.open import open_incident_store, open_telemetry_store
from libs.stores.sqlite_incidents import SqliteIncidentStore
from libs.stores.sqlite_telemetry import SqliteTelemetryStore

NOBODY = "http://127.0.0.1:1"  # port 1 is reserved: nothing listens there
OPENERS = (open_incident_store, open_telemetry_store)
PATIENCE = ElasticOptions(sleep=lambda _: None)


@pytest.mark.parametrize("address", ["sqlite", "sqlite:///{}/own.sqlite"])
def test_sqlite_is_opened_by_name_or_path(address: str, tmp_path: Path) -> None:
    with closing(open_incident_store(address.format(tmp_path), tmp_path / "a")) as incidents:
        assert isinstance(incidents, SqliteIncidentStore)
    with closing(open_telemetry_store(address.format(tmp_path / "b"), tmp_path / "a")) as telemetry:
        assert isinstance(telemetry, SqliteTelemetryStore)


def test_elasticsearch_is_opened_by_address_also_while_it_is_down(tmp_path: Path) -> None:
    with closing(open_incident_store(NOBODY, tmp_path, PATIENCE)) as incidents:
        assert isinstance(incidents, ElasticIncidentStore)
        with pytest.raises(Unavailable, match=r"127\.0\.0\.1:1"):
            incidents.get("x")
    with closing(open_telemetry_store(f"{NOBODY},http://127.0.0.1:2", tmp_path, PATIENCE)) as telemetry:
        assert isinstance(telemetry, ElasticTelemetryStore)
        with pytest.raises(Unavailable):
            telemetry.watermark_ns()


@pytest.mark.parametrize("opener", OPENERS)
@pytest.mark.parametrize("address", ["postgres://x", "", "es:9200", "http://ann:hunter2@es:9200"])
def test_an_address_of_something_else_says_what_to_use(opener: Any, address: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"PARAMEDIC_(INCIDENT|TELEMETRY)_STORE") as failed:
        opener(address, tmp_path)
    assert "hunter2" not in str(failed.value)


def test_settings_carry_the_credentials_and_never_show_them() -> None:
    fields: dict[str, Any] = {"_env_file": None, "elasticsearch_user": "ann", "elasticsearch_prefix": "team-a"}
    settings = Settings(**fields, elasticsearch_password=SecretStr("hunter2"), elasticsearch_api_key=SecretStr("k3y"))
    options = settings.elastic
    assert (options.prefix, options.user, options.password, options.api_key) == ("team-a", "ann", "hunter2", "k3y")
    assert "hunter2" not in repr(settings) + repr(options)
    assert "k3y" not in repr(settings) + repr(options)
