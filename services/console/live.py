"""Live events: what Kafka tells is pushed to open pages as server-sent events, which then fetch what changed.

An event carries no content, only which incident changed and a sentence for screen readers; the page asks for the rest
and so never shows anything that the server did not render.

Source: WHATWG HTML, "Server-sent events".
"""

import asyncio
import json
import threading
import uuid
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Final

from libs.contracts.codec import Codec
from libs.contracts.incident import IncidentChanged
from libs.contracts.investigation import InvestigationCompleted
from libs.contracts.records import Record
from libs.contracts.remediation import RemediationChanged
from libs.contracts.topics import INCIDENTS, INVESTIGATIONS, REMEDIATIONS
from libs.errors import ConfigurationError, InvalidMessage, Unavailable
from libs.observability.log import Logger
from libs.streaming.broker import Broker
from services.console.wording import plain

TOPICS: Final = (INCIDENTS, INVESTIGATIONS, REMEDIATIONS)
_PAUSE_FIRST_S: Final = 0.5
_PAUSE_LAST_S: Final = 10.0
MOST_LISTENERS: Final = 200  # open pages; each costs a socket
QUEUE: Final = 64  # events that a slow page may lag behind before it is told to fetch everything
HEARTBEAT_S: Final = 15.0  # below the usual idle timeout of proxies, 30 to 60 s
_POLL_S: Final = 0.2
_BATCH: Final = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class LiveEvent:
    """Something changed.

    Attributes:
        topic: Where it was told.
        incident: Incident id, "" when anything may have changed.
        number: Incident number, "" when the event does not carry it.
        text: One sentence for people.
    """

    topic: str
    incident: str
    number: str = ""
    text: str = ""

    def line(self) -> str:
        """As a server-sent event; JSON has no line breaks, so nothing in it can end the event early."""
        fields = {"topic": self.topic, "incident": self.incident, "number": self.number, "text": self.text}
        return f"data: {json.dumps(fields)}\n\n"


EVERYTHING: Final = LiveEvent(topic="", incident="")


def event_of(topic: str, record: Record) -> LiveEvent | None:
    """What an open page must know of a record; None for records of other topics."""
    match record:
        case IncidentChanged():
            text = f"{record.number} {plain(record.change.value)}: {record.title}"
            return LiveEvent(topic=topic, incident=record.id, number=record.number, text=text)
        case InvestigationCompleted():
            return LiveEvent(topic=topic, incident=record.incident_id, text="investigation completed")
        case RemediationChanged():
            text = f"{record.action or 'remediation'} on {record.target}: {plain(record.state.value)}"
            return LiveEvent(topic=topic, incident=record.incident_id, text=text)
        case _:
            return None


class Hub:
    """Passes events to open pages; `publish` and `close` may be called from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._listeners: dict[asyncio.Queue[LiveEvent | None], asyncio.AbstractEventLoop] = {}
        self._closed = False

    @property
    def listeners(self) -> int:
        """Open pages."""
        with self._lock:
            return len(self._listeners)

    def publish(self, event: LiveEvent) -> None:
        """Tell every open page."""
        self._tell(event)

    def close(self) -> None:
        """End every stream."""
        with self._lock:
            self._closed = True
        self._tell(None)

    def interrupt(self) -> None:
        """End every stream that is open now; pages ask again, and are refused while there is nothing to hear."""
        self._tell(None)

    def join(self) -> "asyncio.Queue[LiveEvent | None]":
        """A queue of events for one page; `Unavailable` when too many are open. Called on the event loop."""
        with self._lock:
            if self._closed or len(self._listeners) >= MOST_LISTENERS:
                raise Unavailable(f"{len(self._listeners)} pages listen already, or the console is ending")
            queue: asyncio.Queue[LiveEvent | None] = asyncio.Queue()
            self._listeners[queue] = asyncio.get_running_loop()
        return queue

    async def stream(self, queue: "asyncio.Queue[LiveEvent | None]") -> AsyncIterator[str]:
        """Lines of the answer, until the page goes or the console ends."""
        try:
            yield "retry: 2000\n: connected\n\n"
            while True:
                try:
                    event = await asyncio.wait_for(queue.get(), HEARTBEAT_S)
                except TimeoutError:
                    yield ": still here\n\n"
                    continue
                if event is None:
                    return
                yield event.line()
        finally:
            with self._lock:
                self._listeners.pop(queue, None)

    def _tell(self, event: LiveEvent | None) -> None:
        with self._lock:
            listeners = list(self._listeners.items())
        for queue, loop in listeners:
            try:
                loop.call_soon_threadsafe(_put, queue, event)
            except RuntimeError:  # the loop has ended, and the page with it
                with self._lock:
                    self._listeners.pop(queue, None)


class Feed:
    """Reads the topics in a thread of its own and tells the hub.

    Args:
        broker: Opens the consumer.
        codec: Bytes to records.
        tell: Told every event, in the feed's thread.
        lost: Told when events can no longer be heard.
        log: Canonical log.
        group: Consumer group; one of its own per process, so that every console hears everything.
    """

    def __init__(
        self,
        broker: Callable[[], Broker],
        codec: Codec,
        tell: Callable[[LiveEvent], None],
        log: Logger,
        *,
        lost: Callable[[], None] = lambda: None,
        group: str = "",
    ) -> None:
        self._broker = broker
        self._codec = codec
        self._tell = tell
        self._lost = lost
        self._log = log
        self._group = group or f"console-{uuid.uuid4()}"
        self._stop = threading.Event()
        self.listening = threading.Event()
        self.reason = "the broker has not given out the topics of live events"
        self._thread = threading.Thread(target=self._run, name="live", daemon=True)

    def start(self) -> None:
        """Begin to read, from the end."""
        self._thread.start()

    def stop(self, timeout_s: float = 10.0) -> None:
        """End reading."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(timeout_s)

    def _run(self) -> None:
        pause_s = _PAUSE_FIRST_S
        while not self._stop.is_set():
            try:
                self._listen()
            except (ConfigurationError, Unavailable) as error:
                pause_s = _PAUSE_FIRST_S if self.listening.is_set() else min(pause_s * 2, _PAUSE_LAST_S)
                self.listening.clear()
                self.reason = str(error)
                self._log.warning("live events are not heard", reason=self.reason, retry_s=pause_s)
                self._lost()
                self._stop.wait(pause_s)

    def _listen(self) -> None:
        """Pass events on until `stop`; `ConfigurationError` or `Unavailable` when there is no broker."""
        consumer = self._broker().consumer(self._group, TOPICS, from_beginning=False)
        try:
            while not self._stop.is_set():
                for message in consumer.poll(_BATCH, _POLL_S):
                    self._pass_on(message.topic, message.value)
                if not self.listening.is_set() and consumer.assignment():
                    self.listening.set()
                    self._tell(EVERYTHING)  # pages may have missed what was told before
        finally:
            consumer.close()

    def _pass_on(self, topic: str, value: bytes | None) -> None:
        if value is None:
            return  # compaction forgot an incident
        try:
            event = event_of(topic, self._codec.decode(topic, value))
        except InvalidMessage as error:
            self._log.warning("live event not understood", topic=topic, reason=str(error))
            return
        if event is not None:
            self._tell(event)


def _put(queue: "asyncio.Queue[LiveEvent | None]", event: LiveEvent | None) -> None:
    """Queue an event; a page that lags is told once to fetch everything instead."""
    if queue.qsize() >= QUEUE:
        while not queue.empty():
            queue.get_nowait()
        queue.put_nowait(EVERYTHING)
    queue.put_nowait(event)
