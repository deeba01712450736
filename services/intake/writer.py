"""The thread that decodes requests and writes them: what is answered with success is acknowledged by the broker.

One thread, first come first served: it decodes every request that waits, then flushes once for all of them. When a
flush fails, every request of the group is answered "unavailable" and what it taught about counters is undone, so that
sending it again gives the same points. Until a probe finds the broker back, requests are turned away undecoded: memory
stays at one group of messages.
"""

import asyncio
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from libs.contracts.codec import Codec
from libs.errors import Unavailable
from libs.observability.metrics import ServiceMetrics
from libs.streaming.broker import Broker, Producer
from libs.streaming.handler import Emit
from services.intake.http_body import decompressed
from services.intake.normalise.normaliser import Normaliser
from services.intake.signals import Accepted, Signal

FLUSH_S: Final = 5.0  # half the 10 s that OpenTelemetry exporters wait for an answer
PROBE_S: Final = 1.0
_ANSWER_S: Final = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Received:
    """A request as it came in.

    Attributes:
        signal: What it carries.
        body: Its bytes, still encoded.
        content_type: Media type.
        content_encoding: gzip, identity or "".
    """

    signal: Signal
    body: bytes
    content_type: str
    content_encoding: str = ""


class RequestWriter:
    """Decodes and writes requests.

    Args:
        normaliser: Of this writer alone.
        broker: Where batches go.
        codec: Records to bytes.
        clock: For observed_at.
        metrics: Counts what is emitted and each hold.
        flush_s: Longest wait for the broker's acknowledgement.
    """

    def __init__(
        self,
        normaliser: Normaliser,
        broker: Broker,
        codec: Codec,
        clock: Callable[[], datetime],
        metrics: ServiceMetrics,
        flush_s: float = FLUSH_S,
    ) -> None:
        self._normaliser = normaliser
        self._broker = broker
        self._codec = codec
        self._clock = clock
        self._metrics = metrics
        self._flush_s = flush_s
        self._producer: Producer = broker.producer()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="intake-writer")
        self._group: Future[None] | None = None
        self.down = ""

    async def write(self, received: Received) -> Accepted:
        """Decode a request and write its batches.

        Raises:
            InvalidMessage: it is wrong.
            Unavailable: it is not written; the same request may be sent again.
        """
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(_ANSWER_S):
                accepted, group = await loop.run_in_executor(self._thread, self._take, received)
                await asyncio.shield(asyncio.wrap_future(group))
        except TimeoutError as error:
            raise Unavailable(f"not written within {_ANSWER_S:g} s") from error
        return accepted

    async def probe_while_down(self, stop: asyncio.Event) -> None:
        """Look for the broker every second while it is down, so that readiness recovers without requests."""
        while not stop.is_set():
            if self.down:
                await asyncio.get_running_loop().run_in_executor(self._thread, self._probe)
            try:
                async with asyncio.timeout(PROBE_S):
                    await stop.wait()
            except TimeoutError:
                continue

    def close(self) -> None:
        """Finish what waits, flush and let go of the broker."""
        self._thread.shutdown(wait=True)
        self._producer.close()

    def _take(self, received: Received) -> tuple[Accepted, Future[None]]:
        if self.down:
            raise Unavailable(self.down)
        payload = decompressed(received.body, received.content_encoding)
        with self._normaliser.all_or_nothing():
            accepted = self._normaliser.emits_for_request(
                received.signal, payload, received.content_type, self._clock()
            )
            for emit in accepted.emits:
                self._send(emit)
        if self._group is None:
            self._group = Future()
            # Behind every request that waits already, so one flush serves them all.
            self._thread.submit(self._flush, self._group)
        return accepted, self._group

    def _send(self, emit: Emit) -> None:
        value = self._codec.encode(emit.topic, emit.record)
        key = emit.key.encode()
        try:
            self._producer.send(emit.topic, key=key, value=value)
        except Unavailable:
            self._acknowledged()  # the bounded queue is full: empty it once, then it has room or the broker is down
            self._producer.send(emit.topic, key=key, value=value)
        self._metrics.emitted.labels(emit.topic).inc()

    def _acknowledged(self) -> None:
        try:
            self._producer.flush(self._flush_s)
        except Unavailable as error:
            self._fail(error)
            raise

    def _flush(self, group: Future[None]) -> None:
        if group is not self._group:
            return  # failed already, in `_send`
        try:
            self._producer.flush(self._flush_s)
        except Unavailable as error:
            self._fail(error)
            return
        self._group = None
        self._normaliser.commit()
        group.set_result(None)

    def _fail(self, error: Unavailable) -> None:
        self.down = str(error)
        self._metrics.held.inc()
        self._normaliser.rollback()
        group, self._group = self._group, None
        if group is not None:
            group.set_exception(Unavailable(f"the broker does not acknowledge: {error}"))

    def _probe(self) -> None:
        try:
            self._broker.topic_names(PROBE_S)
            self._producer.flush(self._flush_s)
        except Unavailable as error:
            self.down = str(error)
            return
        self.down = ""
