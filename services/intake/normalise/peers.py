"""Who was called, and for whom: peer and user of a span, and whether it failed.

Source: OpenTelemetry semantic conventions (general peer attributes, HTTP, database, messaging, RPC, end user),
current names first, then the ones they replaced.
"""

from typing import Final
from urllib.parse import urlsplit

CLIENT: Final = 3
PRODUCER: Final = 4
SERVER: Final = 2
UNSET: Final = 0
ERROR: Final = 2
PEER: Final = "peer.service"
USER_KEYS: Final = ("enduser.id", "user.id", "enduser.pseudo.id")
USER: Final = USER_KEYS[0]
_ADDRESSES: Final = (("server.address", "server.port"), ("net.peer.name", "net.peer.port"))
_NAMES: Final = ("db.system.name", "db.system", "messaging.destination.name", "messaging.destination", "rpc.service")
_URLS: Final = ("url.full", "http.url")
_STATUS_CODES: Final = ("http.response.status_code", "http.status_code")
_SERVER_FAILURE: Final = 500
_CLIENT_FAILURE: Final = 400


def take_peer(attributes: dict[str, str], kind: int) -> str:
    """Callee of a client or producer span as the caller names it, "" for none.

    peer.service is taken out of the attributes: it says nothing that the peer does not; addresses stay as evidence.
    """
    if kind not in (CLIENT, PRODUCER):
        return ""
    named = attributes.get(PEER)
    if named:
        del attributes[PEER]
        return named
    for address, port in _ADDRESSES:
        host = attributes.get(address)
        if host:
            number = attributes.get(port)
            return f"{host}:{number}" if number else host
    for key in _NAMES:
        name = attributes.get(key)
        if name:
            return _with_database(name, attributes)
    for key in _URLS:
        url = attributes.get(key)
        host = _host(url) if url else ""
        if host:
            return host
    return attributes.get("http.host", "")


def _with_database(system: str, attributes: dict[str, str]) -> str:
    """An embedded database has no address: without its name every user of SQLite would seem to share one."""
    for key in ("db.namespace", "db.name"):
        database = attributes.get(key)
        if database and not database.startswith(":"):
            return f"{system}/{database.rpartition('/')[2]}"
    return system


def _host(url: str) -> str:
    """host[:port] of a URL, without user and password; "" when it is malformed."""
    try:
        return urlsplit(url).netloc.rpartition("@")[2]
    except ValueError:
        return ""


def take_user(attributes: dict[str, str]) -> str:
    """User id, "" for none; it is taken out of the attributes so that their distinct sets stay few."""
    for key in USER_KEYS:
        user = attributes.get(key)
        if user:
            del attributes[key]
            return user
    return ""


def status_of(status: int, kind: int, attributes: dict[str, str]) -> int:
    """OTLP StatusCode of a span; an unset one is an error where the HTTP status says so.

    The HTTP conventions ask instrumentations to set it from 500 for servers and from 400 for clients; not all do.
    """
    if status != UNSET or kind not in (SERVER, CLIENT):
        return status
    for key in _STATUS_CODES:
        code = attributes.get(key)
        if code is not None and code.isascii() and code.isdigit() and len(code) == 3:
            return ERROR if int(code) >= (_SERVER_FAILURE if kind == SERVER else _CLIENT_FAILURE) else UNSET
    return status
