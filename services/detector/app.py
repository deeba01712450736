"""The Faust worker around the detector, and the only door to faust.

Faust reads and balances partitions; everything else happens in one thread of its own, in order: decode, judge, write
anomalies and wait for their acknowledgement, snapshot. Offsets are committed only up to the newest snapshot, so a kill
at any moment costs at most the replay of some seconds, which gives the same anomalies with the same ids.
"""

import asyncio
import logging
import ssl
import sys
import threading
import time
import warnings
from collections.abc import Callable, Coroutine, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, Final

from libs.errors import ConfigurationError
from libs.service.platform import Platform
from libs.service.settings import Settings
from libs.streaming.broker import RawMessage, TopicPartition
from libs.streaming.loop import LoopState
from services.detector.handler import DetectorHandler
from services.detector.processor import GROUP, Processor
from services.detector.scoring.prepare import prepare
from services.detector.snapshots import SnapshotStore

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # faust and mode use names that Python 3.12 and aiokafka have deprecated
    import faust
    from faust.transport.drivers import aiokafka as driver

_TICK_S: Final = 1.0
_TAKE_MESSAGES: Final = 200
_TAKE_WITHIN_S: Final = 0.1
_EMBEDDED_FETCH_WAIT_MS: Final = 50  # a waiting fetch is not woken by the embedded broker; faust hard-codes 1500 ms
_BROKER_S: Final = 5.0  # longest wait for a commit, and for leaving the group: a healthy broker needs 0.1 s for either
_SWITCH_S: Final = 0.0005  # what a thread that has come back from the kernel waits for the interpreter; else 5 ms
_NOISY: Final = ("faust", "mode", "aiokafka", "asyncio")


class DetectorWorker:
    """Runs the detector until it is stopped.

    Args:
        handler: The detector.
        settings: Broker, folders.
        platform: The outside world.
    """

    def __init__(self, handler: DetectorHandler, settings: Settings, platform: Platform) -> None:
        self._settings = settings
        self._platform = platform
        self._stopping = threading.Event()
        store = SnapshotStore(
            settings.data_dir / "detector",
            lambda name, reason: platform.log.warning("snapshot left aside", file=name, reason=reason),
        )
        self._processor = Processor(handler, store, platform, self._stopping)
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="detector")
        self._subscriptions = handler.subscriptions
        self._failure: BaseException | None = None

    @property
    def state(self) -> str:
        """starting, ready, held or stopped."""
        return self._processor.state

    @property
    def reason(self) -> str:
        """Why it is held, "" otherwise."""
        return self._processor.reason

    def stop(self) -> None:
        """Ask it to end after the batch in hand."""
        self._stopping.set()

    def run(self) -> None:
        """Run until `stop`; raises what ended it otherwise."""
        _quieten(self._platform)
        sys.setswitchinterval(_SWITCH_S)
        self._processor.reason = "compiling the scoring kernels, which happens once on a machine"
        self._platform.log.info("kernels ready", seconds=round(prepare(), 1))
        self._processor.reason = ""
        if self._stopping.is_set():
            return
        asyncio.run(self._main())
        if self._failure is not None:
            raise self._failure

    async def _main(self) -> None:
        app = self._new_app()
        try:
            await app.start()
            last_tick_s = time.monotonic()
            while not self._stopping.is_set() and self._failure is None:
                await asyncio.sleep(0.05)
                if app.crashed:
                    self._failure = app._crash_reason or RuntimeError("the stream processor has stopped")
                if time.monotonic() - last_tick_s >= _TICK_S:
                    last_tick_s = time.monotonic()
                    await self._housekeeping(app)
        finally:
            self._stopping.set()
            if self._failure is None:
                await self._commit(app, await self._in_order(partial(self._processor.snapshot_if_due, force=True)))
            await self._ask_broker("leaving the group", app.stop())
            await self._in_order(self._processor.close)
            self._thread.shutdown()

    def _in_order(self, work: Callable[[], Any]) -> asyncio.Future[Any]:
        """Begin work in the one thread that judges, behind what was begun before; to be awaited."""
        return asyncio.get_running_loop().run_in_executor(self._thread, work)

    def _notice_failure(self, done: asyncio.Future[Any]) -> None:
        if not done.cancelled() and self._failure is None:
            self._failure = done.exception()

    async def _housekeeping(self, app: Any) -> None:
        if self._processor.state is LoopState.STARTING:
            return
        ends = _ends(app)
        self._platform.metrics.lag(self._processor.lag(ends))
        try:
            await self._in_order(partial(self._processor.tick, ends))
            await self._commit(app, await self._in_order(self._processor.snapshot_if_due))
        except Exception as error:
            self._failure = error

    async def _commit(self, app: Any, offsets: dict[TopicPartition, int]) -> None:
        """Commit up to the snapshots; what a broker that is away does not take, the next snapshot commits."""
        if offsets:
            places = {faust.types.TP(*place): next_ for place, next_ in offsets.items()}
            await self._ask_broker("a commit", app.consumer.commit_snapshots(places))

    async def _ask_broker(self, what: str, work: Coroutine[Any, Any, None]) -> None:
        """Wait, bounded: a broker that is gone must not keep a process that was told to end."""
        try:
            await asyncio.wait_for(work, _BROKER_S)
        except TimeoutError:
            self._platform.log.warning("broker does not answer", reason=f"gave up {what} after {_BROKER_S:.0f} s")

    def _new_app(self) -> Any:
        app = _App(
            GROUP,
            broker=[f"kafka://{host}" for host in self._platform.bootstrap.split(",")],
            store="memory://",
            datadir=str(self._settings.data_dir / "detector" / "faust"),
            topic_allow_declare=False,
            topic_disable_leader=True,
            web_enabled=False,
            autodiscover=False,
            consumer_auto_offset_reset="earliest",
            broker_max_poll_records=1000,
            stream_buffer_maxsize=1024,  # telemetry messages are up to 1 MB: 1 GB at the very worst
            **_client_settings(self._settings),
        )
        app.fetch_wait_ms = _EMBEDDED_FETCH_WAIT_MS if self._settings.broker == "embedded" else 500
        topic = app.topic(
            *self._subscriptions,
            key_type=bytes,
            value_type=bytes,
            key_serializer="raw",
            value_serializer="raw",
            allow_empty=True,
        )

        async def judge(stream: Any) -> None:
            judging: asyncio.Future[Any] | None = None
            async for events in stream.take_events(_TAKE_MESSAGES, within=_TAKE_WITHIN_S):
                if judging is not None:
                    await asyncio.wait([judging])  # these were gathered while the ones before were judged
                if self._failure is not None:
                    return
                messages = messages_of(events, app.consumer_generation_id)
                judging = self._in_order(partial(self._processor.take, messages))
                judging.add_done_callback(self._notice_failure)

        app.agent(topic, name="detector.judge", concurrency=1)(judge)
        app.on_partitions_assigned.connect(self._on_assigned, weak=False)
        app.on_partitions_revoked.connect(self._on_revoked, weak=False)
        return app

    async def _on_assigned(self, app: Any, assigned: Any, **_: Any) -> None:
        places = sorted((tp.topic, tp.partition) for tp in assigned if tp.topic in self._subscriptions)
        await self._in_order(partial(self._processor.assign, places))

    async def _on_revoked(self, app: Any, revoked: Any, **_: Any) -> None:
        places = sorted((tp.topic, tp.partition) for tp in revoked)
        offsets = await self._in_order(partial(self._processor.revoke, places))
        app.consumer.commit_soon({faust.types.TP(*place): next_ for place, next_ in offsets.items()})


class _ConsumerThread(driver.AIOKafkaConsumerThread):  # type: ignore[misc]  # faust is untyped here
    def _create_worker_consumer(self, transport: Any) -> Any:
        consumer = super()._create_worker_consumer(transport)
        consumer._fetch_max_wait_ms = self.app.fetch_wait_ms
        return consumer


class _Consumer(driver.Consumer):  # type: ignore[misc]  # faust is untyped here
    """Commits what snapshots allow, instead of what was read."""

    def _new_consumer_thread(self) -> Any:
        return _ConsumerThread(self, loop=self.loop, beacon=self.beacon)

    async def _commit(self, offsets: Any) -> bool:
        return True

    async def commit_snapshots(self, offsets: Any) -> None:
        """Commit the next offset to read of each partition that is still ours."""
        mine = self.assignment()
        wanted = {tp: offset for tp, offset in offsets.items() if tp in mine}
        if wanted:
            await super()._commit(wanted)

    def commit_soon(self, offsets: Any) -> None:
        """Commit without waiting: the partitions are being taken away, their next owner reads from there."""
        if offsets:
            self.app.add_future(super()._commit(offsets))


class _Transport(driver.Transport):  # type: ignore[misc]  # faust is untyped here
    Consumer = _Consumer


class _App(faust.App):  # type: ignore[misc]  # faust is untyped here
    fetch_wait_ms: int = 500

    def _new_transport(self) -> Any:
        return _Transport(self.conf.broker_consumer, self)


def _client_settings(settings: Settings) -> dict[str, Any]:
    """Translate librdkafka settings to Faust's; `ConfigurationError` for a security setting without a counterpart."""
    kafka = {name: str(value) for name, value in settings.kafka.items()}
    translated: dict[str, Any] = {
        "broker_session_timeout": float(kafka.get("session.timeout.ms", 10_000)) / 1000.0,
        "broker_heartbeat_interval": float(kafka.get("heartbeat.interval.ms", 3_000)) / 1000.0,
    }
    protocol = kafka.get("security.protocol", "PLAINTEXT").upper()
    if protocol == "PLAINTEXT":
        return translated
    context = _ssl_context(kafka) if protocol.endswith("SSL") else None
    if protocol == "SSL":
        translated["broker_credentials"] = faust.SSLCredentials(context=context)
    elif protocol in ("SASL_PLAINTEXT", "SASL_SSL"):
        mechanism = kafka.get("sasl.mechanism", kafka.get("sasl.mechanisms", "PLAIN"))
        if mechanism not in ("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"):
            raise ConfigurationError(f"PARAMEDIC_KAFKA: the detector cannot use sasl.mechanism {mechanism}")
        translated["broker_credentials"] = faust.SASLCredentials(
            username=kafka.get("sasl.username"),
            password=kafka.get("sasl.password"),
            ssl_context=context,
            mechanism=mechanism,
        )
    else:
        raise ConfigurationError(f"PARAMEDIC_KAFKA: unknown security.protocol {protocol}")
    return translated


def _ssl_context(kafka: dict[str, str]) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=kafka.get("ssl.ca.location"))
    if "ssl.certificate.location" in kafka:
        context.load_cert_chain(
            kafka["ssl.certificate.location"], kafka.get("ssl.key.location"), kafka.get("ssl.key.password")
        )
    return context


def _ends(app: Any) -> dict[TopicPartition, int]:
    """Offset behind the newest message of each partition, as last heard from the broker."""
    ends = {(tp.topic, tp.partition): app.consumer.highwater(tp) for tp in app.consumer.assignment()}
    return {place: end for place, end in ends.items() if end is not None}


def messages_of(events: Sequence[Any], generation: int) -> list[RawMessage]:
    """Messages of one generation of the group; those of an earlier one are read again from the last snapshot on.

    Taken in, they would be judged before the ones that lie between that snapshot and them, which then would be old.
    """
    return [_raw(event.message) for event in events if event.message.generation_id == generation]


def _raw(message: Any) -> RawMessage:
    headers = message.headers.items() if isinstance(message.headers, dict) else message.headers or ()
    return RawMessage(
        topic=message.topic,
        partition=message.partition,
        offset=message.offset,
        key=message.key,
        value=message.value,
        headers=tuple((name, value if isinstance(value, bytes) else b"") for name, value in headers),
        timestamp_ms=int((message.timestamp or -0.001) * 1000),
    )


class _Forward(logging.Handler):
    """Hands the libraries' errors to our log, as events of ours."""

    def __init__(self, platform: Platform) -> None:
        super().__init__(logging.ERROR)
        self._platform = platform

    def emit(self, record: logging.LogRecord) -> None:
        """Write one record."""
        self._platform.log.warning("stream processor", logger=record.name, reason=record.getMessage())


def _quieten(platform: Platform) -> None:
    warnings.filterwarnings("ignore", category=DeprecationWarning, module="faust|mode|aiokafka")
    for name in _NOISY:
        logger = logging.getLogger(name)
        logger.handlers, logger.propagate = [_Forward(platform)], False
        logger.setLevel(logging.ERROR)
