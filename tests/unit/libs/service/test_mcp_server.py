"""MCP servers in the settings: one transport each, secrets by reference and never shown, mistakes named."""

import pytest
from pydantic import SecretStr, ValidationError

from libs.errors import ConfigurationError
from libs.service.mcp_server import McpServer, resolved
from libs.service.settings import load_settings
from services.investigator.tool_servers import OWN_SERVERS, tool_servers


def test_the_setting_is_json_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(
        "PARAMEDIC_MCP_SERVERS",
        '{"oncall": {"url": "https://oncall.example/mcp", "headers": {"X-Token": "geheim"}, "tools": ["who"]},'
        ' "wiki": {"command": "wiki-mcp", "args": ["--read-only"], "env": {"TOKEN": "geheim"}}}',
    )
    settings = load_settings()
    assert settings.mcp_servers["oncall"].tools == ("who",)
    assert settings.mcp_servers["wiki"].tools == ()
    assert "geheim" not in repr(settings)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ('{"a": {"command": "x", "url": "http://y"}}', "either command"),
        ('{"a": {}}', "either command"),
        ('{"a": {"url": "ftp://y"}}', "PARAMEDIC_MCP_SERVERS_A_URL"),
        ('{"a": {"url": "http://y", "env": {"A": "geheim"}}}', "belong to a command"),
        ('{"a": {"command": "y", "headers": {"A": "geheim"}}}', "belong to a url"),
        ('{"a": {"command": "y", "shell": true}}', "SHELL"),
        ('{"A B": {"command": "y"}}', "pattern"),
        ("{geheim", "mcp_servers"),
    ],
)
def test_a_mistake_is_named_without_a_secret(monkeypatch: pytest.MonkeyPatch, text: str, told: str) -> None:
    monkeypatch.setenv("PARAMEDIC_MCP_SERVERS", text)
    with pytest.raises(ConfigurationError, match=told) as caught:
        load_settings()
    assert "geheim" not in str(caught.value)


def test_values_may_name_variables_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ONCALL_TOKEN", "abc$HOME${HOME}")
    given = {"Authorization": SecretStr("Bearer ${ONCALL_TOKEN}"), "Plain": SecretStr("$HOME")}
    assert resolved(given, "oncall") == {"Authorization": "Bearer abc$HOME${HOME}", "Plain": "$HOME"}


def test_a_variable_that_is_not_set_is_named_at_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NOT_SET", raising=False)
    monkeypatch.setenv(
        "PARAMEDIC_MCP_SERVERS", '{"oncall": {"url": "http://y", "headers": {"X-Token": "geheim ${NOT_SET}"}}}'
    )
    with pytest.raises(ConfigurationError, match="oncall: X-Token needs the variable NOT_SET") as caught:
        tool_servers(load_settings())
    assert "geheim" not in str(caught.value)


def test_own_servers_come_first_and_read_the_stores_of_the_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PARAMEDIC_API_TOKEN", "geheim")
    monkeypatch.setenv("PARAMEDIC_MCP_SERVERS", '{"wiki": {"command": "wiki-mcp", "tools": ["search"]}}')
    servers = tool_servers(load_settings(data_dir="somewhere", telemetry_store="sqlite:////t.sqlite"))
    assert [server.name for server in servers] == [*OWN_SERVERS, "wiki"]
    own = servers[0]
    assert own.args == ("-m", "paramedic", "mcp", "observability")
    assert own.env["PARAMEDIC_DATA_DIR"].endswith("/somewhere")
    assert own.env["PARAMEDIC_TELEMETRY_STORE"] == "sqlite:////t.sqlite"
    assert "geheim" not in " ".join(own.env.values())
    assert own.tools is None
    assert servers[-1].tools == frozenset({"search"})


def test_an_entry_of_the_same_name_takes_the_place_of_an_own_server(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(
        "PARAMEDIC_MCP_SERVERS", '{"incidents": {"url": "http://mcp:8765/mcp", "tools": ["get_incident"]}}'
    )
    servers = tool_servers(load_settings())
    assert [server.name for server in servers] == list(OWN_SERVERS)
    assert servers[1].url == "http://mcp:8765/mcp"
    assert servers[1].tools == frozenset({"get_incident"})


def test_a_server_is_frozen() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        McpServer(command="x").command = "y"
