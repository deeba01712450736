"""Numbers for incidents: consecutive, each given once, whoever asks at the same time and whoever dies in between.

A counter document names the number given out last and for whom; one document per incident holds its number. Whoever
wants a number first completes the claim that the counter names, so that no claim is lost and none is made twice.
"""

from collections.abc import Mapping
from typing import Any, Final

from libs.stores.elastic_connection import GuardFailed
from libs.stores.elastic_guarded import GuardedIndex, Stored

_COUNTER: Final = "counter/incident-number"
_NUMBER: Final = "number/"


class Numbers:
    """Gives out numbers.

    Args:
        documents: Where the counter and the numbers are.
    """

    def __init__(self, documents: GuardedIndex) -> None:
        self._documents = documents

    def number(self, incident_id: str) -> int:
        """The number of an incident, from 1."""
        given = self._given(incident_id)
        if given is not None:
            return given
        claimed: list[int] = []

        def claim(counter: Stored | None, _: bool) -> Mapping[str, Any] | None:
            last = counter.source if counter else {"number": 0}
            if counter is not None:
                self._complete(last)
            known = self._given(incident_id)
            claimed[:] = [known if known is not None else last["number"] + 1]
            if known is not None:
                return None
            return {"kind": "counter", "number": claimed[0], "incident_id": incident_id}

        self._documents.update(_COUNTER, claim)
        self._complete({"number": claimed[0], "incident_id": incident_id})
        return claimed[0]

    def _given(self, incident_id: str) -> int | None:
        found = self._documents.read(_NUMBER + incident_id)
        return None if found is None else int(found.source["number"])

    def _complete(self, claim: Mapping[str, Any]) -> None:
        incident_id = claim["incident_id"]
        try:
            self._documents.create(
                _NUMBER + incident_id, {"kind": "number", "number": claim["number"], "incident_id": incident_id}
            )
        except GuardFailed:
            return  # completed already, by its owner or by the next one in the queue
