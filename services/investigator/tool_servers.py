"""Which MCP servers a model may ask: Paramedic's own three over stdio, and those of the settings."""

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from libs.service.mcp_server import resolved
from libs.service.settings import Settings

OWN_SERVERS: Final = ("observability", "incidents", "runbooks")
# What the servers' process must know to read the same stores; nothing else of the settings is handed on.
_HANDED_ON: Final = ("incident_store", "telemetry_store", "runbooks_dir")
_LEAST_SECRET: Final = 4  # characters: a shorter value would blank out ordinary words


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolServer:
    """One server and what may be asked of it.

    Attributes:
        name: Name in the settings.
        command: Program over stdio, "" for HTTP.
        args: Its arguments.
        env: Its environment beside PATH, HOME and USER.
        url: Address over streamable HTTP, "" for stdio.
        headers: Headers of every request.
        tools: Tools that may be used; None for all, which only Paramedic's own servers have.
    """

    name: str
    command: str = ""
    args: tuple[str, ...] = ()
    env: Mapping[str, str] = field(default_factory=dict, repr=False)
    url: str = field(default="", repr=False)
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    tools: frozenset[str] | None = frozenset()

    def redacted(self, text: str) -> str:
        """A text without the address and the values that may be secret."""
        for secret in (self.url, *self.headers.values(), *self.env.values()):
            if len(secret) >= _LEAST_SECRET and self.tools is not None:
                text = text.replace(secret, "***")
        return text


def tool_servers(settings: Settings) -> tuple[ToolServer, ...]:
    """Own servers first, then those of the settings; one of the same name takes the place of an own one.

    Raises:
        ConfigurationError: a value names a variable of the environment that is not set.
    """
    further = {
        name: ToolServer(
            name=name,
            command=server.command,
            args=server.args,
            env=resolved(server.env, name),
            url=server.url,
            headers=resolved(server.headers, name),
            tools=frozenset(server.tools),
        )
        for name, server in settings.mcp_servers.items()
    }
    own = {name: _own(name, settings) for name in OWN_SERVERS}
    return tuple({**own, **further}.values())


def _own(name: str, settings: Settings) -> ToolServer:
    handed_on = {field: getattr(settings, field) for field in _HANDED_ON}
    env = {f"PARAMEDIC_{field.upper()}": str(value) for field, value in handed_on.items() if value is not None}
    env |= {"PARAMEDIC_DATA_DIR": str(settings.data_dir.absolute()), "PARAMEDIC_LOG_LEVEL": "warning"}
    if "PYTHONPATH" in os.environ:
        env["PYTHONPATH"] = os.environ["PYTHONPATH"]
    return ToolServer(name=name, command=sys.executable, args=("-m", "paramedic", "mcp", name), env=env, tools=None)
