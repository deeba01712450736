"""Documents that several writers change: read at once after the write, written only when nobody got in between.

Source: https://www.elastic.co/guide/en/elasticsearch/reference/8.19/optimistic-concurrency-control.html
"""

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from libs.errors import InvalidMessage, Unavailable
from libs.stores.elastic_connection import ElasticConnection, GuardFailed, segment

_LONGEST_ID: Final = 512  # bytes, a limit of the server
# Seven services write their sections of one incident; 50 lost races in a row are a fault, not contention.
_RACES: Final = 50
_PAUSE_S: Final = 0.005


@dataclass(frozen=True, slots=True, kw_only=True)
class Stored:
    """A document as it was read.

    Attributes:
        source: Its fields.
        seq_no: Guard of the next write.
        primary_term: Guard of the next write.
    """

    source: Mapping[str, Any]
    seq_no: int
    primary_term: int


class GuardedIndex:
    """Single documents behind an alias, by id.

    Args:
        connection: The cluster.
        alias: Where they are.
    """

    def __init__(self, connection: ElasticConnection, alias: str) -> None:
        self._connection = connection
        self._path = f"/{segment(alias)}"

    def read(self, identity: str) -> Stored | None:
        """The newest state, searched for nowhere; None when there is none."""
        if not self._possible(identity):
            return None
        found = self._connection.request("GET", f"{self._path}/_doc/{segment(identity)}", missing_ok=True)
        if found is None or not found.get("found"):
            return None
        return Stored(source=found["_source"], seq_no=found["_seq_no"], primary_term=found["_primary_term"])

    def create(self, identity: str, source: Any) -> None:
        """Write a document that must not exist; `GuardFailed` when it does."""
        self._require_possible(identity)
        self._connection.request(
            "PUT", f"{self._path}/_create/{segment(identity)}", source, params={"require_alias": "true"}
        )

    def replace(self, identity: str, source: Any, seen: Stored) -> None:
        """Write a document that must still be as it was seen; `GuardFailed` when it is not."""
        self._connection.request(
            "PUT",
            f"{self._path}/_doc/{segment(identity)}",
            source,
            params={"require_alias": "true", "if_seq_no": seen.seq_no, "if_primary_term": seen.primary_term},
        )

    def update(self, identity: str, change: Callable[[Stored | None, bool], Any | None]) -> None:
        """Read, change and write until nobody gets in between.

        Args:
            change: From the stored document, and whether an earlier attempt of this call may have been stored although
                its answer was lost, to the new one; None when there is nothing to write.
        """
        ambiguous = False
        for _ in range(_RACES):
            seen = self.read(identity)
            source = change(seen, ambiguous)
            if source is None:
                return
            try:
                if seen is None:
                    self.create(identity, source)
                else:
                    self.replace(identity, source, seen)
                return
            except GuardFailed as error:
                ambiguous = ambiguous or error.ambiguous
            self._connection.options.sleep(_PAUSE_S * random.random())
        raise Unavailable(f"{identity}: lost {_RACES} races against other writers")

    def _possible(self, identity: str) -> bool:
        return 0 < len(identity.encode("utf-8", "replace")) <= _LONGEST_ID

    def _require_possible(self, identity: str) -> None:
        if not self._possible(identity):
            raise InvalidMessage(f"{identity[:80]!r} cannot be an id: 1 to {_LONGEST_ID} bytes")
