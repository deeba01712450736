"""How to reach Elasticsearch, checked without the client library: it is an extra that SQLite users do not install."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import urlsplit

from libs.errors import ConfigurationError

CREDENTIALS: Final = "PARAMEDIC_ELASTICSEARCH_API_KEY, or PARAMEDIC_ELASTICSEARCH_USER and _PASSWORD"
_DEFAULT_PORT: Final = 9200


def _keep_quiet(_: str) -> None:
    """Nobody wants to know."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ElasticOptions:
    """How to reach it.

    Attributes:
        addresses: http(s)://host:port of the nodes.
        prefix: What names of indices, aliases, templates and policies begin with.
        api_key: Encoded API key, "" for none.
        user: User of basic authentication, "" for none.
        password: Its password.
        ca_file: PEM file of the certificate authority, "" for the system's.
        verify: Whether the server's certificate is checked.
        retention_s: How long telemetry stays queryable; telemetry indices are cut accordingly.
        node_class: Another transport than HTTP, for tests.
        sleep: Waits between attempts.
        notice: Told what the cluster cannot do.
    """

    addresses: tuple[str, ...] = ()
    prefix: str = "paramedic"
    api_key: str = field(default="", repr=False)
    user: str = ""
    password: str = field(default="", repr=False)
    ca_file: str = ""
    verify: bool = True
    retention_s: float = 6 * 3600.0
    node_class: type[Any] | None = None
    sleep: Callable[[float], None] = time.sleep
    notice: Callable[[str], None] = _keep_quiet


def is_elastic(address: str) -> bool:
    """Whether the address of a store is one of Elasticsearch."""
    return address.startswith(("http://", "https://"))


def parse_addresses(address: str, setting: str) -> tuple[str, ...]:
    """http(s)://host:port, several with commas, checked; `ConfigurationError` says what is wrong without secrets."""
    found = []
    for part in filter(None, (piece.strip() for piece in address.split(","))):
        try:
            url = urlsplit(part)
            port = url.port or _DEFAULT_PORT
        except ValueError:
            raise ConfigurationError(f"{setting}: an address is no URL; use http(s)://host:port") from None
        if url.username is not None or url.password is not None:
            raise ConfigurationError(f"{setting}: leave user and password out of the address; set {CREDENTIALS}")
        if url.scheme not in ("http", "https") or not url.hostname or url.query or url.fragment:
            raise ConfigurationError(f"{setting}: {part} is no address of Elasticsearch; use http(s)://host:port")
        host = f"[{url.hostname}]" if ":" in url.hostname else url.hostname
        found.append(f"{url.scheme}://{host}:{port}{url.path.rstrip('/')}")
    if not found:
        raise ConfigurationError(f"{setting}: no address; use http(s)://host:port")
    if len({one.split(":", 1)[0] for one in found}) > 1:
        raise ConfigurationError(f"{setting}: some addresses are http and some https; use one of them")
    return tuple(found)
