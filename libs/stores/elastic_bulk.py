"""Many documents in few requests, with the fate of each told: written, there already, tried again, or refused."""

import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from libs.errors import InvalidMessage, Unavailable
from libs.stores.elastic_connection import ElasticConnection

# 5 MB and 5,000 documents a request: Elastic's own advice is 5 to 15 MB; a node with a 512 MB heap takes it.
_MOST_BYTES: Final = 5_000_000
_MOST_ITEMS: Final = 5_000
_ATTEMPTS: Final = 4
_BACKOFF_FIRST_S: Final = 0.1
_REQUEST_S: Final = 30.0
# Of the document itself; everything else (full disk, closed index, missing privilege) is the state of the cluster.
_WRONG: Final = frozenset({400, 413})
_ENCODER: Final = msgspec.json.Encoder()


@dataclass(frozen=True, slots=True)
class BulkItem:
    """One document to write.

    Attributes:
        index: Index or alias.
        id: Its `_id`.
        source: Its fields.
        create: Leave a document of this id alone when it is there already (the default replaces it).
        seen: Sequence number and primary term that the document must still have; one that was written since is left
            alone.
    """

    index: str
    id: str
    source: Any
    create: bool = False
    seen: tuple[int, int] | None = None

    def encoded(self) -> bytes:
        """Action and source, one line each."""
        target: dict[str, Any] = {"_index": self.index, "_id": self.id}
        if self.seen is not None:
            target["if_seq_no"], target["if_primary_term"] = self.seen
        action = {"create" if self.create else "index": target}
        return _ENCODER.encode(action) + b"\n" + _ENCODER.encode(self.source) + b"\n"


@dataclass(frozen=True, slots=True)
class BulkDeletion:
    """One document to delete; one that is gone already is no error.

    Attributes:
        index: Index.
        id: Its `_id`.
    """

    index: str
    id: str

    def encoded(self) -> bytes:
        """The action, one line."""
        return _ENCODER.encode({"delete": {"_index": self.index, "_id": self.id}}) + b"\n"


@dataclass(frozen=True, slots=True)
class _Line:
    item: BulkItem | BulkDeletion
    payload: bytes


def write_bulk(connection: ElasticConnection, items: Iterable[BulkItem | BulkDeletion]) -> int:
    """Write or delete documents and return how many of them were not there before; all is done when it returns.

    Raises:
        InvalidMessage: the server refuses an item and will go on refusing it; the text names it.
        Unavailable: items were still turned away for overload after the last attempt.
    """
    created, lines, size = 0, list[_Line](), 0
    for item in items:
        payload = item.encoded()
        if lines and (size + len(payload) > _MOST_BYTES or len(lines) >= _MOST_ITEMS):
            created += _send(connection, lines)
            lines, size = [], 0
        lines.append(_Line(item, payload))
        size += len(payload)
    return created + (_send(connection, lines) if lines else 0)


def _send(connection: ElasticConnection, lines: Sequence[_Line]) -> int:
    created, delay_s = 0, _BACKOFF_FIRST_S
    left: Sequence[_Line] = lines
    for attempt in range(1, _ATTEMPTS + 1):
        answer = connection.lines(
            "/_bulk",
            b"".join([line.payload for line in left]),
            request_s=_REQUEST_S,
            filter_path="items.*.status,items.*.result,items.*.error.type,items.*.error.reason",
        )
        outcomes = [next(iter(entry.values())) for entry in answer["items"]]
        created += sum(outcome.get("result") == "created" for outcome in outcomes)
        left, reason = _left(left, outcomes)
        if not left:
            return int(created)
        if attempt < _ATTEMPTS:
            connection.options.sleep(delay_s * random.uniform(0.5, 1.5))
            delay_s *= 2
    raise Unavailable(f"{connection.where}: {len(left)} documents were turned away: {reason}")


def _left(lines: Sequence[_Line], outcomes: Sequence[dict[str, Any]]) -> tuple[list[_Line], str]:
    """Items to try again, and why the last of them was turned away."""
    if len(outcomes) != len(lines):
        raise Unavailable(f"the answer tells of {len(outcomes)} of {len(lines)} documents")
    again, reason = list[_Line](), ""
    for line, outcome in zip(lines, outcomes, strict=True):
        status = outcome["status"]
        if status < 300 or _may_stay(line.item, status):
            continue
        error = outcome.get("error", {})
        text = f"{status} {error.get('type', '')} {error.get('reason', '')}".strip()
        if status in _WRONG:
            raise InvalidMessage(f"{line.item.index}/{line.item.id}: {text}")
        again.append(line)
        reason = text
    return again, reason


def _may_stay(item: BulkItem | BulkDeletion, status: int) -> bool:
    """Whether what is there is as good as what was sent."""
    if isinstance(item, BulkDeletion):
        return status == 404
    return status == 409 and (item.create or item.seen is not None)
