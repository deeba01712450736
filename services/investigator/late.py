"""What a look should have seen and the store did not have yet: telemetry held by an outage, changes reported late."""

from collections import OrderedDict, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final

from libs.contracts.codec import ns_from_utc, utc_from_ns
from libs.contracts.incident import IncidentChanged
from libs.contracts.telemetry import ChangeEvent
from libs.stores.telemetry import TelemetryReader, Window
from services.investigator.scene import CHANGES_BEFORE_S, when_changes_matter

# Looks and changes that are remembered; a deploy system reports a change minutes late, not days.
_MOST_LOOKS: Final = 500
_MOST_CHANGES: Final = 500
# An outage of the recorder that lasts longer leaves its looks as they are: they say what was missing.
_PATIENCE_S: Final = 900.0
# Older ones are history that somebody hands in later: the store may have forgotten that time already.
_OLDEST_CHANGE_S: Final = 3 * CHANGES_BEFORE_S
_CHANGE_PATIENCE_S: Final = 2 * _PATIENCE_S  # so that no look is made again because its change was given up


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """One investigation that was made, and what it could see.

    Attributes:
        incident_id: The incident.
        as_of_ns: Event time up to which telemetry was considered, unix nanoseconds.
        changes: When a change that matters took effect.
        seen: Ids of the changes that it saw.
        short: Whether something up to `as_of_ns` was known to be missing.
        at: Wall clock.
    """

    incident_id: str
    as_of_ns: int
    changes: Window
    seen: frozenset[str] = frozenset()
    short: bool = False
    at: datetime

    def misses(self, change: ChangeEvent) -> bool:
        """Whether it would have considered a change that it did not see."""
        moment_ns = ns_from_utc(change.timestamp)
        return self.changes.start_ns <= moment_ns < self.changes.end_ns and change.id not in self.seen


class LateArrivals:
    """Knows which looks lack something, and when it has come.

    Telemetry and changes are written by the recorder, from several topics and through outages of its own: that spans
    have come says nothing about a deploy of the same moment. The topic `changes` tells which changes are to come.

    Args:
        telemetry: Recorded telemetry.
        clock: Wall clock; it only bounds waiting.
    """

    def __init__(self, telemetry: TelemetryReader, clock: Callable[[], datetime]) -> None:
        self._telemetry = telemetry
        self._clock = clock
        self._to_come: deque[tuple[ChangeEvent, datetime]] = deque(maxlen=_MOST_CHANGES)
        self._looks: OrderedDict[str, Look] = OrderedDict()

    def told(self, change: ChangeEvent) -> None:
        """A change was reported; the looks that it concerns lack it."""
        now = self._clock()
        if (now - change.timestamp).total_seconds() <= _OLDEST_CHANGE_S:
            self._to_come.append((change, now))
        for look in list(self._looks.values()):
            if look.misses(change):
                self._looks[look.incident_id] = replace(look, short=True, at=now)

    def looked(self, look: Look) -> None:
        """Remember an incident's newest look."""
        self._looks[look.incident_id] = look
        self._looks.move_to_end(look.incident_id)
        if len(self._looks) > _MOST_LOOKS:
            self._looks.popitem(last=False)

    def found_again(self, incident: IncidentChanged, as_of_ns: int) -> None:
        """A look from before a restart: it was short when telemetry has not come that far even now."""
        if self._telemetry.watermark_ns() < as_of_ns:
            changes = when_changes_matter(ns_from_utc(incident.started_at), as_of_ns)
            self.looked(Look(incident_id=incident.id, as_of_ns=as_of_ns, changes=changes, short=True, at=self._clock()))

    def all_there(self, as_of_ns: int, watermark_ns: int) -> bool:
        """Whether telemetry and the changes that were reported are recorded up to a moment."""
        return watermark_ns >= as_of_ns and not self._unrecorded(as_of_ns)

    def to_look_again(self) -> Sequence[tuple[str, datetime]]:
        """Incidents whose newest look lacked what has come since, each once, and up to which moment to look."""
        short = [look for look in self._looks.values() if look.short]
        if not short:
            return ()
        watermark_ns, now = self._telemetry.watermark_ns(), self._clock()
        again = []
        for look in short:
            if self.all_there(look.as_of_ns, watermark_ns):
                again.append((look.incident_id, utc_from_ns(look.as_of_ns)))
            elif (now - look.at).total_seconds() < _PATIENCE_S:
                continue
            self._looks[look.incident_id] = replace(look, short=False)
        return again

    def _unrecorded(self, as_of_ns: int) -> bool:
        """Whether a change that was reported for a moment up to then is not in the store."""
        now = self._clock()
        waited = [entry for entry in self._to_come if (now - entry[1]).total_seconds() < _CHANGE_PATIENCE_S]
        times = [ns_from_utc(change.timestamp) for change, _ in waited]
        if not any(moment_ns <= as_of_ns for moment_ns in times):
            return False
        window = Window(start_ns=min(times), end_ns=max(times) + 1)
        there = {change.id for change in self._telemetry.changes(window, limit=2 * _MOST_CHANGES)}
        self._to_come = deque([entry for entry in waited if entry[0].id not in there], maxlen=_MOST_CHANGES)
        return any(ns_from_utc(change.timestamp) <= as_of_ns for change, _ in self._to_come)
