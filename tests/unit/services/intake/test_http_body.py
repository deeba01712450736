"""Bodies are bounded on the wire, in memory, and while they are decompressed."""

import asyncio
import gzip
import tracemalloc
from collections.abc import AsyncIterator

import pytest

from libs.errors import InvalidMessage, Unavailable
from services.intake.decode.formats import PAYLOAD_MAX_BYTES
from services.intake.http_body import InFlight, TooLarge, UnsupportedEncoding, decompressed


async def chunks(*parts: bytes) -> AsyncIterator[bytes]:
    for part in parts:
        yield part


def read(in_flight: InFlight, *parts: bytes, declared: str | None = None) -> bytes:
    with in_flight.one() as admitted:
        return asyncio.run(admitted.read(chunks(*parts), declared))


def test_a_body_is_read_and_its_bytes_are_given_back() -> None:
    in_flight = InFlight()
    assert read(in_flight, b"ab", b"c", declared="3") == b"abc"
    assert (in_flight.requests, in_flight.body_bytes) == (0, 0)


def test_a_body_that_says_that_it_is_too_large_is_not_read() -> None:
    with pytest.raises(TooLarge):
        read(InFlight(), declared=str(PAYLOAD_MAX_BYTES + 1))


def test_a_body_that_grows_too_large_is_cut_off_and_its_bytes_are_given_back() -> None:
    in_flight = InFlight()
    with pytest.raises(TooLarge):
        read(in_flight, *[bytes(1024 * 1024)] * 17)
    assert (in_flight.requests, in_flight.body_bytes) == (0, 0)


def test_more_requests_or_bytes_than_fit_are_turned_away() -> None:
    in_flight = InFlight(requests_max=1, bytes_max=10)
    with pytest.raises(Unavailable, match="bytes are being worked on"):
        read(in_flight, b"x" * 11)
    with in_flight.one(), pytest.raises(Unavailable, match="1 requests are being worked on"):
        read(in_flight, b"x")


@pytest.mark.parametrize("encoding", ["", "identity", " Identity "])
def test_an_identity_body_is_itself(encoding: str) -> None:
    assert decompressed(b"abc", encoding) == b"abc"


def test_gzip_is_undone_also_in_several_members() -> None:
    assert decompressed(gzip.compress(b"ab") + gzip.compress(b"c"), "GZIP") == b"abc"


def test_another_encoding_is_refused() -> None:
    with pytest.raises(UnsupportedEncoding, match="'br'"):
        decompressed(b"x", "br")


def test_damaged_gzip_is_refused_at_every_byte() -> None:
    whole = gzip.compress(b"some telemetry" * 5)
    for length in range(1, len(whole)):
        with pytest.raises(InvalidMessage, match="malformed gzip"):
            decompressed(whole[:length], "gzip")
    with pytest.raises(InvalidMessage, match="malformed gzip"):
        decompressed(b"plain", "gzip")


def test_a_zip_bomb_is_refused_without_being_unpacked() -> None:
    bomb = gzip.compress(bytes(256 * 1024 * 1024), compresslevel=9)
    assert len(bomb) < 300_000
    tracemalloc.start()
    try:
        with pytest.raises(TooLarge, match="after decompression"):
            decompressed(bomb, "gzip")
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 3 * PAYLOAD_MAX_BYTES
