"""Where the HTTP transport may listen, and who may ask."""

import asyncio
import socket
from typing import Any

import pytest

from libs.errors import ConfigurationError
from services.mcp.http_server import Address, TokenGuard, serve_http


async def _answers(scope: Any, receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})


def status_with(*headers: tuple[bytes, bytes]) -> int:
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    async def receive() -> Any:
        raise AssertionError("nothing of a request may be read before its token")

    scope = {"type": "http", "method": "POST", "path": "/mcp", "headers": list(headers)}
    asyncio.run(TokenGuard(_answers, "s3cret")(scope, receive, send))
    return int(sent[0]["status"])


@pytest.mark.parametrize(
    "given", [b"", b"Bearer", b"Bearer ", b"Bearer S3CRET", b"Basic s3cret", b"s3cret", b"\xff\xfe"]
)
def test_a_wrong_token_is_refused_before_anything_is_read(given: bytes) -> None:
    assert status_with((b"authorization", given)) == 401


def test_no_token_is_refused_and_the_right_one_is_let_through() -> None:
    assert status_with() == 401
    assert status_with((b"authorization", b"bearer s3cret")) == 200


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "localhost", "127.9.9.9"])
def test_loopback_needs_no_token_and_answers_to_local_names_only(host: str) -> None:
    assert Address(host=host).allowed_hosts() == ("127.0.0.1", "localhost", "[::1]")


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.0.0.7", "example.org"])
def test_any_other_host_needs_a_token(host: str) -> None:
    with pytest.raises(ConfigurationError, match="PARAMEDIC_API_TOKEN"):
        Address(host=host, names=("x",)).allowed_hosts()


def test_every_address_at_once_needs_a_name_to_be_asked_by() -> None:
    with pytest.raises(ConfigurationError, match="--allow-host"):
        Address(host="0.0.0.0", token="t").allowed_hosts()
    assert Address(host="0.0.0.0", token="t", names=("ops.internal",)).allowed_hosts() == ("ops.internal",)
    assert Address(host="10.0.0.7", token="t").allowed_hosts() == ("10.0.0.7",)


def test_a_token_does_not_show_in_what_is_printed() -> None:
    assert "s3cret" not in repr(Address(token="s3cret"))


def test_a_port_that_is_taken_is_a_clear_error() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(ConfigurationError, match=f"cannot listen on 127.0.0.1:{port}.*--port"):
            serve_http(_answers, Address(port=port), on_listening=lambda _: None)
