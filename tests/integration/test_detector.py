"""The detector as a process on a broker: kill -9, a new broker, refused messages, an outage, a clean stop."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import urlopen

import pytest

from libs.contracts.anomaly import AnomalyDetected, EpisodeState
from libs.contracts.codec import Codec
from libs.contracts.records import Record
from libs.contracts.topics import ANOMALIES, TELEMETRY_SPANS
from libs.streaming.embedded import EmbeddedBroker, write_address
from libs.streaming.kafka import KafkaBroker
from tests.integration.broker_laws import eventually
from tests.integration.running_service import Told
from tests.unit.services.detector.new_handler import new_handler
from tests.unit.services.detector.simulated_shop import Fault, Shop, play, second_of

pytestmark = pytest.mark.timeout(180)
CODEC = Codec()
SHOP = Shop(
    seed=3,
    seconds=150,
    metric_series=20,
    faults=(Fault("slow", "catalog", 75, 115, 8), Fault("leak", "cart", 75, 115, 3e6)),
)
PATIENCE_S = 90.0
LOOK_S = 0.1  # a look at a process costs both sides some milliseconds: every 10 ms would take half a core


@cache
def whole_run() -> Sequence[tuple[str, Record]]:
    """Everything that the shop sends."""
    return tuple(SHOP.arrivals())


class Worker:
    """A detector process.

    Args:
        folder: Its data folder.
        bootstrap: Broker.
    """

    def __init__(self, folder: Path, bootstrap: str) -> None:
        write_address(folder / "broker.address", bootstrap)
        self._folder = folder
        self._output = folder / "detector.log"
        environment = {
            **os.environ,
            "PARAMEDIC_DATA_DIR": str(folder),
            "PARAMEDIC_BROKER": "embedded",
            # a killed member blocks its group for the session timeout
            "PARAMEDIC_KAFKA": json.dumps({"session.timeout.ms": 1000, "heartbeat.interval.ms": 200}),
        }
        with self._output.open("a") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "services.detector"], env=environment, stdout=output, stderr=output
            )

    def readiness(self) -> str:
        """State as the health server tells it; "" while there is none."""
        try:
            address = json.loads((self._folder / "run" / "detector.json").read_text())
            if address["pid"] != self.process.pid:
                return ""
            with urlopen(f"{address['health']}/readyz", timeout=5) as answer:
                return str(json.load(answer)["state"])
        except HTTPError as error:
            with error:
                return str(json.load(error)["state"])
        except (OSError, ValueError, KeyError):
            return ""

    def wait_for(self, state: str) -> None:
        eventually(lambda: self.process.poll() is not None or self.readiness() == state, PATIENCE_S, LOOK_S)
        assert self.process.poll() is None, self.log()

    def log(self) -> str:
        return self._output.read_text()

    def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        self.process.wait(10)

    def stop(self) -> int:
        self.process.terminate()
        return self.process.wait(30)


@pytest.fixture
def workers() -> Iterator[list[Worker]]:
    started: list[Worker] = []
    yield started
    for worker in started:
        if worker.process.poll() is None:
            worker.kill()


def send(broker: KafkaBroker, records: Sequence[tuple[str, Record]]) -> None:
    producer = broker.producer()
    for topic, record in records:
        service = record.service  # type: ignore[union-attr]  # telemetry
        producer.send(topic, key=service.encode(), value=CODEC.encode(topic, record))
    producer.flush()
    producer.close()


Anomalies = Told[AnomalyDetected]


@pytest.fixture
def told(broker: KafkaBroker) -> Iterator[Anomalies]:
    made = Told(broker, ANOMALIES, AnomalyDetected)
    yield made
    made.close()


def is_about(service: str) -> Callable[[Sequence[AnomalyDetected]], bool]:
    return lambda found: any(anomaly.service == service for anomaly in found)


def states(found: Sequence[AnomalyDetected]) -> dict[tuple[str, int], AnomalyDetected]:
    """By id and sequence; the same change told twice must be the same to the last figure."""
    told: dict[tuple[str, int], AnomalyDetected] = {}
    for anomaly in found:
        assert told.setdefault((anomaly.id, anomaly.sequence), anomaly) == anomaly
    return told


def until(second: float) -> list[tuple[str, Record]]:
    return [item for item in whole_run() if second_of(item[1].observed_at) < second]  # type: ignore[union-attr]  # telemetry


@cache
def expected() -> dict[tuple[str, int], AnomalyDetected]:
    return states(play(new_handler(), iter(whole_run())).anomalies)


def start(workers: list[Worker], folder: Path, embedded: EmbeddedBroker) -> Worker:
    worker = Worker(folder, embedded.bootstrap)
    workers.append(worker)
    worker.wait_for("ready")
    return worker


@pytest.mark.parametrize("snapshot_first", [False, True])
def test_a_kill_in_the_middle_of_an_episode_loses_and_doubles_nothing(
    embedded: EmbeddedBroker, broker: KafkaBroker, told: Anomalies, workers: list[Worker], tmp_path: Path,
    snapshot_first: bool,
) -> None:  # fmt: skip
    half, whole = until(98), expected()
    worker = start(workers, tmp_path, embedded)
    send(broker, half)
    told.wait_for(is_about("catalog"))
    if snapshot_first:
        eventually(lambda: any((tmp_path / "detector").glob("telemetry-spans-*.snapshot")), PATIENCE_S, LOOK_S)
    worker.kill()
    start(workers, tmp_path, embedded)
    send(broker, whole_run()[len(half) :])
    told.wait_for(lambda found: states(found).keys() >= whole.keys())
    assert states(told.found) == whole
    assert {a.state for a in whole.values()} >= {EpisodeState.OPENED, EpisodeState.CLOSED}


def test_a_new_broker_keeps_what_was_learned_but_not_the_place_in_the_stream(
    workers: list[Worker], tmp_path: Path
) -> None:
    healthy, rest = until(70), whole_run()[len(until(70)) :]
    with EmbeddedBroker() as first:
        worker = start(workers, tmp_path, first)
        send(KafkaBroker(first.bootstrap), healthy)
        eventually(lambda: all_handled(tmp_path, len(healthy)), PATIENCE_S, LOOK_S)
        assert worker.stop() == 0, worker.log()
    with EmbeddedBroker() as second:
        broker = KafkaBroker(second.bootstrap)
        worker = start(workers, tmp_path, second)
        send(broker, rest)
        # 45 s of warm-up do not fit between second 70 and the fault: only what was learned before finds it in time
        told = Told(broker, ANOMALIES, AnomalyDetected)
        told.wait_for(lambda found: any(anomaly.detector == "latency" for anomaly in found))
        told.close()
        assert worker.stop() == 0, worker.log()


def all_handled(folder: Path, messages: int) -> bool:
    try:
        address = json.loads((folder / "run" / "detector.json").read_text())
        with urlopen(f"{address['health']}/metrics", timeout=5) as answer:
            lines = answer.read().decode().splitlines()
    except (OSError, ValueError, KeyError):
        return False
    handled = [line for line in lines if line.startswith("paramedic_messages_handled_total{")]
    return sum(float(line.rsplit(" ", 1)[1]) for line in handled) >= messages


def test_a_malformed_message_is_a_dead_letter_with_its_place_and_reason(
    embedded: EmbeddedBroker, broker: KafkaBroker, workers: list[Worker], tmp_path: Path
) -> None:
    start(workers, tmp_path, embedded)
    producer = broker.producer()
    producer.send(TELEMETRY_SPANS, key=b"cart", value=b"not avro", headers=[("origin", b"test")])
    producer.flush()
    eventually(lambda: len(broker.read_to_end([TELEMETRY_SPANS + "-dlq"])) == 1, PATIENCE_S, LOOK_S)
    (letter,) = broker.read_to_end([TELEMETRY_SPANS + "-dlq"])
    headers = dict(letter.headers)
    assert letter.value == b"not avro"
    assert headers["origin"] == b"test"
    assert headers["paramedic.topic"] == TELEMETRY_SPANS.encode()
    assert headers["paramedic.offset"] == b"0"
    assert headers["error.type"] == b"InvalidMessage"


def test_the_worker_outlives_an_outage_of_the_broker_and_ends_without_one(
    embedded: EmbeddedBroker, broker: KafkaBroker, told: Anomalies, workers: list[Worker], tmp_path: Path
) -> None:
    half, whole = until(98), expected()
    worker = start(workers, tmp_path, embedded)
    send(broker, half)
    told.wait_for(is_about("catalog"))
    embedded.set_down(down=True)
    down_until = time.monotonic() + 2.0
    eventually(lambda: time.monotonic() > down_until)
    embedded.set_down(down=False)
    send(broker, whole_run()[len(half) :])
    told.wait_for(lambda found: states(found).keys() >= whole.keys())
    assert states(told.found) == whole
    told.close()
    embedded.close()
    assert worker.stop() == 0, worker.log()
    assert list((tmp_path / "detector").glob("*.snapshot")), "what it learned is kept"


def test_a_damaged_snapshot_is_left_aside_with_a_warning(
    embedded: EmbeddedBroker, workers: list[Worker], tmp_path: Path
) -> None:
    folder = tmp_path / "detector"
    folder.mkdir()
    for partition in range(4):
        (folder / f"{TELEMETRY_SPANS}-{partition}.snapshot").write_bytes(b"PMDS garbage")
    worker = start(workers, tmp_path, embedded)
    assert worker.stop() == 0, worker.log()
    lines = [json.loads(line) for line in worker.log().splitlines()]
    assert sum(line["message"] == "snapshot left aside" for line in lines) == 4
    assert {line["message"] for line in lines} == {"started", "kernels ready", "snapshot left aside", "stopped"}
