"""Sockets that services listen on."""

import pytest

from libs.errors import ConfigurationError
from libs.service.listening import bind, is_loopback, needs_token, url_of


@pytest.mark.parametrize("host", ["127.0.0.1", "127.9.9.9", "::1", "localhost"])
def test_loopback_addresses_need_no_token(host: str) -> None:
    assert is_loopback(host)
    needs_token(host, None, setting="--host ")


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.0.0.1", "example.org", ""])
def test_an_address_that_others_reach_needs_a_token(host: str) -> None:
    with pytest.raises(ConfigurationError, match="PARAMEDIC_API_TOKEN"):
        needs_token(host, "", setting="--host ")
    needs_token(host, "secret", setting="--host ")


def test_a_taken_port_says_what_to_do() -> None:
    with bind("127.0.0.1", 0, remedy="choose another") as first:
        first.listen()
        port = first.getsockname()[1]
        with pytest.raises(ConfigurationError, match=rf"127\.0\.0\.1:{port}.*choose another"):
            bind("127.0.0.1", port, remedy="choose another")


def test_an_unknown_host_says_what_to_do() -> None:
    with pytest.raises(ConfigurationError, match=r"no\.such\.host\.invalid:0.*choose another"):
        bind("no.such.host.invalid", 0, remedy="choose another")


def test_the_url_is_what_a_client_on_this_machine_writes() -> None:
    with bind("127.0.0.1", 0, remedy="") as bound:
        port = bound.getsockname()[1]
        assert url_of("0.0.0.0", bound) == url_of("127.0.0.1", bound) == f"http://127.0.0.1:{port}"
        assert url_of("::1", bound) == f"http://[::1]:{port}"
