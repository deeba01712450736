"""A service as it runs beside a test: its platform on the embedded broker, its loop in a thread, what it publishes."""

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from time import monotonic
from typing import Any, Generic, TypeVar

from libs.contracts.codec import Codec
from libs.observability.log import Logger
from libs.observability.metrics import ServiceMetrics
from libs.service.platform import Platform
from libs.service.run import Runnable
from libs.service.settings import Settings
from libs.streaming.embedded import EmbeddedBroker
from libs.streaming.kafka import KafkaBroker

R = TypeVar("R")
LIMIT_S = 90.0  # a detector whose kernels are not compiled yet needs half of it


@contextmanager
def platform_of(service: str, folder: Path, embedded: EmbeddedBroker, **settings: Any) -> Iterator[Platform]:
    """The outside world of a service, with stores in a folder and without a model."""
    made = Platform(
        service=service,
        settings=Settings(
            data_dir=folder,
            broker=embedded.bootstrap,
            kafka={"session.timeout.ms": 1000, "heartbeat.interval.ms": 200},
            model=None,
            **settings,
        ),
        log=Logger("test", level="error"),
        metrics=ServiceMetrics(),
        codec=Codec(),
    )
    yield made
    made.incidents.close()
    made.telemetry.close()


class Told(Generic[R]):
    """Reads a topic from its beginning, on and on.

    Args:
        broker: Where it is.
        topic: The topic.
        kind: The record that it carries.
    """

    def __init__(self, broker: KafkaBroker, topic: str, kind: type[R]) -> None:
        self._topic, self._kind = topic, kind
        self._consumer = broker.consumer(f"test-{topic}", [topic])
        self._codec = Codec()
        self.found: list[R] = []

    def wait_for(self, enough: Callable[[Sequence[R]], bool]) -> Sequence[R]:
        """Everything that was found once it is enough."""
        deadline_s = monotonic() + LIMIT_S
        while not enough(self.found):
            assert monotonic() < deadline_s, f"only {len(self.found)} records on {self._topic} in {LIMIT_S:.0f} s"
            for message in self._consumer.poll(100, 0.2):
                record = self._codec.decode(self._topic, message.value)
                assert isinstance(record, self._kind)
                self.found.append(record)
        return self.found

    def close(self) -> None:
        """Leave the group."""
        self._consumer.close()


@contextmanager
def running(platform: Platform, start: Callable[[Settings, Platform], Runnable]) -> Iterator[None]:
    """The service's loop in a thread; stopped, and seen to have stopped, at the end."""
    loop = start(platform.settings, platform)
    thread = threading.Thread(target=loop.run, daemon=True)
    thread.start()
    try:
        yield
    finally:
        loop.stop()
        thread.join(LIMIT_S)
        assert not thread.is_alive()
