"""Request bodies, bounded: on the wire, in memory over all requests, and while they are decompressed."""

import zlib
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from typing import Final

from libs.errors import InvalidMessage, Unavailable
from services.intake.decode.formats import PAYLOAD_MAX_BYTES

REQUESTS_MAX: Final = 64
BODIES_MAX_BYTES: Final = 128 * 1024 * 1024  # all bodies in flight: eight of the largest, or 64 of 2 MiB
_GZIP_WINDOW: Final = 31  # zlib: gzip header, largest window
_CHUNK_BYTES: Final = 1024 * 1024


class TooLarge(InvalidMessage):
    """The body is larger than a request may be."""


class UnsupportedEncoding(InvalidMessage):
    """The body has a content encoding that nothing here undoes."""


class InFlight:
    """Counts what is being worked on; more of it is turned away at once instead of queued."""

    def __init__(self, requests_max: int = REQUESTS_MAX, bytes_max: int = BODIES_MAX_BYTES) -> None:
        self._requests_max = requests_max
        self._bytes_max = bytes_max
        self.requests = 0
        self.body_bytes = 0

    @contextmanager
    def one(self) -> Iterator["Admitted"]:
        """Take one request in; `Unavailable` when too many are being worked on."""
        if self.requests >= self._requests_max:
            raise Unavailable(f"{self.requests} requests are being worked on already")
        self.requests += 1
        admitted = Admitted(self)
        try:
            yield admitted
        finally:
            self.requests -= 1
            self.body_bytes -= admitted.body_bytes

    def grow(self, added_bytes: int) -> None:
        """Count bytes of a body; `Unavailable` when all bodies together are too large."""
        if self.body_bytes + added_bytes > self._bytes_max:
            raise Unavailable(f"{self.body_bytes} bytes are being worked on already")
        self.body_bytes += added_bytes


class Admitted:
    """One request in flight, with the bytes it holds."""

    def __init__(self, in_flight: InFlight) -> None:
        self._in_flight = in_flight
        self.body_bytes = 0

    async def read(self, chunks: AsyncIterator[bytes], declared: str | None) -> bytes:
        """Read a body.

        Args:
            chunks: The body as it arrives.
            declared: Content-Length, if any.
        Raises:
            TooLarge: it is, or says that it will be, more than 16 MiB.
            Unavailable: all bodies together are too large.
        """
        if declared is not None and declared.isascii() and declared.isdigit() and int(declared) > PAYLOAD_MAX_BYTES:
            raise TooLarge(f"{int(declared)} bytes; at most {PAYLOAD_MAX_BYTES} are read")
        body = bytearray()
        async for chunk in chunks:
            if len(body) + len(chunk) > PAYLOAD_MAX_BYTES:
                raise TooLarge(f"more than {PAYLOAD_MAX_BYTES} bytes")
            self._in_flight.grow(len(chunk))
            self.body_bytes += len(chunk)
            body += chunk
        return bytes(body)


def decompressed(body: bytes, encoding: str) -> bytes:
    """Undo the content encoding ("" or identity, gzip), never holding more than 16 MiB.

    Raises:
        TooLarge: more than 16 MiB come out.
        UnsupportedEncoding: another encoding.
        InvalidMessage: the gzip is damaged.
    """
    name = encoding.strip().lower()
    if name in ("", "identity"):
        return body
    if name != "gzip":
        raise UnsupportedEncoding(f"content encoding {encoding[:50]!r}; gzip and identity are read")
    plain = bytearray()
    rest = body
    try:
        while rest:
            rest = _member(rest, plain)
    except zlib.error as error:
        raise InvalidMessage(f"malformed gzip ({len(body)} bytes): {error}") from error
    return bytes(plain)


def _member(rest: bytes, plain: bytearray) -> bytes:
    """Append one gzip member's content; what follows it."""
    inflate = zlib.decompressobj(_GZIP_WINDOW)
    while not inflate.eof:
        piece = inflate.decompress(rest, _CHUNK_BYTES)
        rest = inflate.unconsumed_tail
        if not piece and not rest and not inflate.eof:
            raise InvalidMessage("malformed gzip: it ends too early")
        plain += piece
        if len(plain) > PAYLOAD_MAX_BYTES:
            raise TooLarge(f"more than {PAYLOAD_MAX_BYTES} bytes after decompression")
    return inflate.unused_data
