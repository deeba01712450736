"""The stack names Paramedic's settings for what runs, and nothing for what does not."""

from deploy.stack.stack import settings_of
from libs.service.settings import Settings


def test_every_name_is_a_setting_or_a_standard_variable_of_opentelemetry() -> None:
    everything = settings_of(
        {"kafka": "k:1", "registry": "http://r", "elasticsearch": "http://e", "collector": "http://c"}
    )
    ours = {name.removeprefix("PARAMEDIC_").lower() for name in everything if name.startswith("PARAMEDIC_")}
    assert ours == {"broker", "schema_registry", "incident_store", "telemetry_store"} & set(Settings.model_fields)
    assert everything["OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"] == "http://c/v1/traces"


def test_a_server_that_does_not_run_leaves_its_setting_alone() -> None:
    assert settings_of({"kafka": "k:1"}) == {"PARAMEDIC_BROKER": "k:1"}
