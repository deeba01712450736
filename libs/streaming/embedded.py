"""The embedded broker: librdkafka's in-memory cluster, found in the confluent-kafka wheel and driven through ctypes.

It speaks the real protocol on loopback, lives as long as its process, keeps at most 5 MiB compressed per partition, and
has no topic administration, so topics are created here. For trying out and for tests; never for production.

Source: rd_kafka_mock_* in librdkafka's rdkafka_mock.h.
"""

import ctypes
import glob
import os
import socket
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

import confluent_kafka

from libs.contracts.topics import topics
from libs.errors import ConfigurationError

_PRODUCER: Final = 0
_REBALANCE_DELAY_MS: Final = 100  # librdkafka's default of 3 s would be the longest part of a start


def _library_path() -> str:
    package = Path(confluent_kafka.__file__).parent
    patterns = (
        package.parent / "confluent_kafka.libs" / "librdkafka*",
        package / ".dylibs" / "librdkafka*.dylib",
        package.parent / "confluent_kafka.libs" / "*rdkafka*.dll",
    )
    for pattern in patterns:
        found = sorted(glob.glob(str(pattern)))
        if found:
            return found[0]
    raise ConfigurationError(
        "the confluent-kafka wheel brings no librdkafka here; set PARAMEDIC_BROKER to a Kafka cluster's host:port"
    )


def _load() -> ctypes.CDLL:
    library = ctypes.CDLL(_library_path())
    pointer, text, number = ctypes.c_void_p, ctypes.c_char_p, ctypes.c_int
    signatures: Mapping[str, tuple[object, list[object]]] = {
        "rd_kafka_conf_new": (pointer, []),
        "rd_kafka_conf_set": (number, [pointer, text, text, text, ctypes.c_size_t]),
        "rd_kafka_new": (pointer, [number, pointer, text, ctypes.c_size_t]),
        "rd_kafka_destroy": (None, [pointer]),
        "rd_kafka_mock_cluster_new": (pointer, [pointer, number]),
        "rd_kafka_mock_cluster_destroy": (None, [pointer]),
        "rd_kafka_mock_cluster_bootstraps": (text, [pointer]),
        "rd_kafka_mock_topic_create": (number, [pointer, text, number, number]),
        "rd_kafka_mock_group_initial_rebalance_delay_ms": (None, [pointer, ctypes.c_int32]),
        "rd_kafka_mock_broker_set_down": (number, [pointer, ctypes.c_int32]),
        "rd_kafka_mock_broker_set_up": (number, [pointer, ctypes.c_int32]),
    }
    for name, (result, arguments) in signatures.items():
        function = getattr(library, name)
        function.restype = result
        function.argtypes = arguments
    return library


class EmbeddedBroker:
    """A running in-memory cluster with one broker; use as a context manager or call `close`.

    Args:
        partitions: Partitions per topic; None creates every topic of topics.toml with its dead-letter topic.
    """

    def __init__(self, partitions: Mapping[str, int] | None = None) -> None:
        self._library = _load()
        text = ctypes.create_string_buffer(512)
        settings = self._library.rd_kafka_conf_new()
        for name, value in (
            (b"client.id", b"paramedic-broker"),
            (b"log_level", b"2"),
        ):
            self._library.rd_kafka_conf_set(settings, name, value, text, len(text))
        self._client = self._library.rd_kafka_new(_PRODUCER, settings, text, len(text))
        if not self._client:
            raise ConfigurationError(f"librdkafka: {text.value.decode(errors='replace')}")
        self._cluster = self._library.rd_kafka_mock_cluster_new(self._client, 1)
        if not self._cluster:
            raise ConfigurationError("librdkafka could not open its in-memory cluster on loopback")
        self._library.rd_kafka_mock_group_initial_rebalance_delay_ms(self._cluster, _REBALANCE_DELAY_MS)
        with _kept_awake(self.bootstrap):
            for topic, count in (declared_partitions() if partitions is None else partitions).items():
                self.create_topic(topic, count)

    @property
    def bootstrap(self) -> str:
        """host:port for clients."""
        raw: bytes = self._library.rd_kafka_mock_cluster_bootstraps(self._cluster)
        return raw.decode()

    def create_topic(self, topic: str, partitions: int) -> None:
        """Create a topic; creating it again changes nothing."""
        self._library.rd_kafka_mock_topic_create(self._cluster, topic.encode(), partitions, 1)

    def set_down(self, *, down: bool) -> None:
        """Drop every connection and refuse new ones, or accept them again: an outage for tests; data survives it."""
        if down:
            self._library.rd_kafka_mock_broker_set_down(self._cluster, 1)
        else:
            self._library.rd_kafka_mock_broker_set_up(self._cluster, 1)

    def close(self) -> None:
        """End the cluster; its data is gone."""
        if self._cluster:
            self._library.rd_kafka_mock_cluster_destroy(self._cluster)
            self._library.rd_kafka_destroy(self._client)
            self._cluster = None

    def __enter__(self) -> "EmbeddedBroker":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


@contextmanager
def _kept_awake(bootstrap: str) -> Iterator[None]:
    """Knock at the cluster's port meanwhile: its thread can sleep 1 s through an operation unless a socket wakes it."""
    host, port = bootstrap.split(",")[0].rsplit(":", 1)
    done = threading.Event()

    def knock() -> None:
        while not done.wait(0.02):
            with suppress(OSError), socket.create_connection((host, int(port)), timeout=1.0):
                pass

    knocking = threading.Thread(target=knock, name="knock", daemon=True)
    knocking.start()
    try:
        yield
    finally:
        done.set()
        knocking.join()


def declared_partitions() -> dict[str, int]:
    """Every topic of topics.toml and its dead-letter topic, with partitions."""
    created = {}
    for topic in topics().values():
        created[topic.name] = topic.partitions
        created[topic.dead_letter] = 1
    return created


def write_address(path: Path, bootstrap: str) -> None:
    """Publish the broker's address for other processes of this machine, atomically."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(f".{os.getpid()}")
    temporary.write_text(bootstrap)
    temporary.replace(path)
