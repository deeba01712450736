"""One MCP server as the settings describe it: how to reach it, and which of its tools may be used."""

import os
import re
from collections.abc import Mapping
from typing import Annotated, Final

from pydantic import BaseModel, ConfigDict, Field, SecretStr, model_validator

from libs.errors import ConfigurationError

_VARIABLE: Final = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")


class McpServer(BaseModel):
    """A server of the Model Context Protocol, over stdio (`command`) or streamable HTTP (`url`).

    Values of `env` and `headers` may name variables of the environment, `${NAME}`, so that no secret stands in the
    setting itself; they are never shown or logged.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    command: Annotated[str, Field(max_length=1000, description="Program that speaks the protocol over stdio.")] = ""
    args: Annotated[tuple[str, ...], Field(description="Its arguments.")] = ()
    env: Annotated[dict[str, SecretStr], Field(description="Its environment beside PATH, HOME and USER.")] = {}
    url: Annotated[str, Field(pattern=r"^(https?://.+)?$", description="Address over streamable HTTP.")] = ""
    headers: Annotated[dict[str, SecretStr], Field(description="Headers of every request.")] = {}
    tools: Annotated[tuple[str, ...], Field(description="The tools that may be used; without any, none is.")] = ()

    @model_validator(mode="after")
    def _one_transport(self) -> "McpServer":
        if bool(self.command) == bool(self.url):
            raise ValueError("give either command (stdio) or url (streamable HTTP)")
        if self.url and (self.args or self.env):
            raise ValueError("args and env belong to a command, not to a url")
        if self.command and self.headers:
            raise ValueError("headers belong to a url, not to a command")
        return self


def resolved(secrets: Mapping[str, SecretStr], where: str) -> dict[str, str]:
    """Values with the variables of the environment that they name.

    Args:
        secrets: `env` or `headers` of a server.
        where: What they belong to, for the error.
    Raises:
        ConfigurationError: a variable is not set; the text names it, never a value.
    """
    values = {}
    for name, secret in secrets.items():
        text = secret.get_secret_value()
        for variable in _VARIABLE.findall(text):
            if variable not in os.environ:
                raise ConfigurationError(f"PARAMEDIC_MCP_SERVERS: {where}: {name} needs the variable {variable}")
        values[name] = _VARIABLE.sub(lambda found: os.environ[found.group(1)], text)
    return values
