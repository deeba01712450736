"""Sockets that a service listens on: bound before anything starts, open to others only with a token."""

import ipaddress
import socket

from libs.errors import ConfigurationError


def is_loopback(host: str) -> bool:
    """Whether an address reaches this machine only."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def needs_token(host: str, token: str | None, *, setting: str) -> None:
    """Refuse to be open to others without a token.

    Args:
        host: Address to listen on.
        token: Bearer token that every request must carry, if any.
        setting: How the user named the address, for the error.
    Raises:
        ConfigurationError: others could reach it and no token is set.
    """
    if not is_loopback(host) and not token:
        raise ConfigurationError(
            f"{setting}{host} is reachable by others; set PARAMEDIC_API_TOKEN, or listen on 127.0.0.1"
        )


def bind(host: str, port: int, *, remedy: str) -> socket.socket:
    """A bound TCP socket that does not listen yet, so that nobody connects before the server runs.

    Args:
        host: Address or name.
        port: 0 takes a free one.
        remedy: What to do when it is taken, for the error.
    Raises:
        ConfigurationError: it cannot be bound.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        bound = socket.socket(family, kind, protocol)
        try:
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            bound.bind(address)
        except OSError:
            bound.close()
            raise
    except OSError as error:
        raise ConfigurationError(f"cannot listen on {host}:{port} ({error.strerror or error}); {remedy}") from error
    return bound


def url_of(host: str, bound: socket.socket) -> str:
    """http://host:port of a bound socket, as a client on this machine writes it."""
    shown = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(host, f"[{host}]" if ":" in host else host)
    return f"http://{shown}:{bound.getsockname()[1]}"
