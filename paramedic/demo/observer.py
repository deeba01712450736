"""What another team would see: the events that Paramedic publishes, in order, with the time the broker got them."""

import threading
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final, TypeVar

from libs.contracts.anomaly import AnomalyDetected, EpisodeState
from libs.contracts.incident import IncidentChanged
from libs.contracts.investigation import InvestigationCompleted
from libs.contracts.records import Record
from libs.contracts.remediation import RemediationChanged
from libs.contracts.topics import ANOMALIES, INCIDENTS, INVESTIGATIONS, RECOMMENDATIONS, REMEDIATIONS
from libs.errors import InvalidMessage
from libs.service.platform import Platform

TOPICS: Final = (ANOMALIES, INCIDENTS, INVESTIGATIONS, REMEDIATIONS, RECOMMENDATIONS)
R = TypeVar("R")


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """One published event.

    Attributes:
        at: When its producer wrote it (broker timestamp).
        record: The event.
    """

    at: datetime
    record: Record


class Observer:
    """Reads the published topics in a thread; use as a context manager.

    Args:
        platform: Where the broker is.
        on_seen: Told each event, from the reading thread.
    """

    def __init__(self, platform: Platform, on_seen: Callable[[Seen], None] = lambda _: None) -> None:
        self._platform = platform
        self._on_seen = on_seen
        self._events: list[Seen] = []
        self._changed = threading.Condition()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._read, name="observer", daemon=True)

    def __enter__(self) -> "Observer":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(10)

    def events(self) -> list[Seen]:
        """Everything seen so far."""
        with self._changed:
            return list(self._events)

    def wait(self, look: Callable[[list[Seen]], R | None], timeout_s: float, stop: threading.Event) -> R | None:
        """Wait until `look` finds something in the events; None after the timeout or when stopped."""
        waited_s = 0.0
        with self._changed:
            while True:
                found = look(self._events)
                if found is not None or waited_s >= timeout_s or stop.is_set():
                    return found
                self._changed.wait(0.25)
                waited_s += 0.25

    def _read(self) -> None:
        consumer = self._platform.broker.consumer(f"demo-{uuid.uuid4()}", TOPICS)
        while not self._stop.is_set():
            for message in consumer.poll(200, 0.1):
                try:
                    record = self._platform.codec.decode(message.topic, message.value)
                except InvalidMessage as error:
                    self._platform.log.warning("unreadable event", topic=message.topic, reason=str(error))
                    continue
                seen = Seen(at=datetime.fromtimestamp(message.timestamp_ms / 1000, UTC), record=record)
                with self._changed:
                    self._events.append(seen)
                    self._changed.notify_all()
                self._on_seen(seen)
        consumer.close()


def openings(events: list[Seen], since: datetime) -> list[tuple[datetime, IncidentChanged]]:
    """First event of each incident opened since a moment."""
    found: dict[str, tuple[datetime, IncidentChanged]] = {}
    known: set[str] = set()
    for seen in events:
        if isinstance(seen.record, IncidentChanged):
            if seen.record.id not in known and seen.at >= since:
                found[seen.record.id] = (seen.at, seen.record)
            known.add(seen.record.id)
    return list(found.values())


def newest_incident(events: list[Seen], incident_id: str) -> IncidentChanged | None:
    """Newest state of an incident."""
    states = [s.record for s in events if isinstance(s.record, IncidentChanged) and s.record.id == incident_id]
    return states[-1] if states else None


def investigations(events: list[Seen], incident_id: str) -> list[tuple[datetime, InvestigationCompleted]]:
    """Investigations of an incident, in order."""
    return [
        (s.at, s.record)
        for s in events
        if isinstance(s.record, InvestigationCompleted) and s.record.incident_id == incident_id
    ]


def runs(events: list[Seen], incident_id: str) -> list[tuple[datetime, RemediationChanged]]:
    """Remediation events of an incident, in order."""
    return [
        (s.at, s.record)
        for s in events
        if isinstance(s.record, RemediationChanged) and s.record.incident_id == incident_id
    ]


def first_anomaly(events: list[Seen], incident: IncidentChanged) -> datetime | None:
    """When the first anomaly of an incident was published."""
    ids = {anomaly.id for anomaly in incident.anomalies}
    times = [
        s.at
        for s in events
        if isinstance(s.record, AnomalyDetected) and s.record.id in ids and s.record.state is EpisodeState.OPENED
    ]
    return min(times, default=None)


def last_closed(events: list[Seen], incident: IncidentChanged) -> datetime | None:
    """When the last anomaly of an incident went back to normal; None while one is open or none has closed."""
    ids = {anomaly.id for anomaly in incident.anomalies}
    newest: dict[str, Seen] = {}
    for seen in events:
        if isinstance(seen.record, AnomalyDetected) and seen.record.id in ids:
            newest[seen.record.id] = seen
    states = {seen.record.state for seen in newest.values() if isinstance(seen.record, AnomalyDetected)}
    return max(seen.at for seen in newest.values()) if states == {EpisodeState.CLOSED} else None
