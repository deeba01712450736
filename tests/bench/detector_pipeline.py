"""Points/s of the detector through its real path: columnar Avro batches in, scores and anomalies out.

(a) decode + handler in this process; (b) the Faust worker as a process of its own on the embedded broker; (c) the
peer: the same messages through a bare confluent-kafka consumer that decodes them and does nothing else; (d) one service
with 5,000 series. CPU seconds tell more than points/s on a machine that is shared.
Run: python tests/bench/detector_pipeline.py [--seconds 20] [--services 40] [--series 50] [--points 10]
"""

import argparse
import os
import subprocess
import sys
import tempfile
import threading
import time
import zlib
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import psutil

from libs.contracts.codec import Codec, ns_from_utc
from libs.contracts.columns import pack_float64, pack_int32, pack_int64
from libs.contracts.telemetry import MetricBatch, MetricSeries
from libs.contracts.topics import TELEMETRY_METRICS, topics
from libs.observability.log import Logger
from libs.observability.metrics import ServiceMetrics
from libs.service.platform import Platform
from libs.service.settings import Settings
from libs.streaming.embedded import EmbeddedBroker, write_address
from libs.streaming.handler import Event
from libs.streaming.kafka import KafkaBroker

BEGIN = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)
INTERVAL_S = 5
GROUP = "detector"
WARM_UP = b"warm-up"


def series_of(count: int) -> tuple[MetricSeries, ...]:
    """Series of one service as the example shop exports them: a fifth are gauges of resources."""
    resources = (
        ("process.memory.usage", "By"),
        ("container.memory.limit", "By"),
        ("process.cpu.utilization", "1"),
        ("process.thread.count", "{thread}"),
        ("worker_pool.size", "{worker}"),
        ("worker_pool.in_use", "{worker}"),
        ("worker_pool.queue_depth", "{request}"),
        ("db.client.connection.count", "{connection}"),
        ("http.server.active_requests", "{request}"),
        ("jvm.memory.used", "By"),
    )
    found = [MetricSeries(name=name, unit=unit) for name, unit in resources]
    for number in range(count - len(found)):
        statistic = ("p50", "p95", "p99", "mean", "rate")[number % 5]
        found.append(
            MetricSeries(
                name="http.server.request.duration",
                statistic=statistic,
                unit="s" if statistic != "rate" else "{request}/s",
                attributes={"http.route": f"/route/{number // 5}"},
            )
        )
    return tuple(found)


def batches(services: int, series: int, points: int, rounds: int) -> Iterator[tuple[int, MetricBatch]]:
    """Batches of `points` points per series; a healthy system's noise."""
    chance = np.random.default_rng(1)
    kinds = series_of(series)
    level = chance.uniform(1, 100, series)
    still = np.array([kind.name.endswith((".limit", "_pool.size")) for kind in kinds])
    level[still] = 250.0  # a limit is what it was, and a healthy system stays below it
    level[[kind.unit == "1" for kind in kinds]] = 0.4  # a share; 37 of it would be an incident in every service
    index = pack_int32(np.tile(np.arange(series, dtype=np.int32), points))
    begin_ns = ns_from_utc(BEGIN)
    for number in range(rounds):
        steps = number * points + np.repeat(np.arange(points), series)
        times = begin_ns + steps.astype(np.int64) * INTERVAL_S * 1_000_000_000
        observed = BEGIN + timedelta(seconds=(number + 1) * points * INTERVAL_S)
        for service in range(services):
            noise = np.where(np.tile(still, points), 1.0, chance.normal(1.0, 0.1, series * points))
            name = f"service-{service:03d}"
            yield (
                series * points,
                MetricBatch(
                    service=name,
                    resource={"service.instance.id": f"{name}-1"},
                    observed_at=observed,
                    series=kinds,
                    series_index=index,
                    timestamps=pack_int64(times),
                    values=pack_float64(np.tile(level, points) * noise),
                ),
            )


def encoded(arguments: argparse.Namespace, rounds: int) -> list[tuple[int, str, bytes]]:
    """(points, service, bytes) of each message."""
    codec = Codec()
    made = batches(arguments.services, arguments.series, arguments.points, rounds)
    return [(count, batch.service, codec.encode(TELEMETRY_METRICS, batch)) for count, batch in made]


def in_process(arguments: argparse.Namespace) -> None:
    """Decode and judge in this process."""
    from services.detector.service import handler

    settings = Settings(_env_file=None)  # type: ignore[call-arg]  # pydantic-settings' own argument
    codec = Codec()
    platform = Platform(
        service=GROUP,
        settings=settings,
        log=Logger(GROUP, level="error"),
        metrics=ServiceMetrics(),
        codec=codec,
    )
    detector = handler(settings, platform)
    messages = encoded(arguments, arguments.rounds)
    offsets: dict[int, int] = {}

    def run(some: list[tuple[int, str, bytes]]) -> tuple[int, float, float]:
        points, began_s, cpu_s = 0, time.perf_counter(), time.process_time()
        for count, service, payload in some:
            partition = zlib.crc32(service.encode()) % topics()[TELEMETRY_METRICS].partitions
            offset = offsets[partition] = offsets.get(partition, -1) + 1
            record = codec.decode(TELEMETRY_METRICS, payload)
            event = Event(topic=TELEMETRY_METRICS, partition=partition, offset=offset, key=service, record=record)
            detector.handle([event])
            points += count
        return points, time.perf_counter() - began_s, time.process_time() - cpu_s

    warm = len(messages) // 4
    run(messages[:warm])  # compiles kernels, passes warm-ups
    points, wall_s, cpu_s = run(messages[warm:])
    report("handler", points, wall_s, cpu_s, arguments)


def through_faust(arguments: argparse.Namespace) -> None:
    """Send through the embedded broker to a worker process; the clock runs from its first to its last message."""
    messages = encoded(arguments, arguments.rounds)
    with tempfile.TemporaryDirectory() as folder, EmbeddedBroker() as embedded:
        write_address(Path(folder) / "broker.address", embedded.bootstrap)
        environment = {**os.environ, "PARAMEDIC_DATA_DIR": folder, "PARAMEDIC_BROKER": "embedded"}
        with subprocess.Popen(
            [sys.executable, "-m", "services.detector"], env=environment, stderr=subprocess.DEVNULL
        ) as worker:
            try:
                worker_s = measure(worker, KafkaBroker(embedded.bootstrap), messages, arguments)
            finally:
                worker.terminate()
                worker.wait(30)
        peer_s = peer(KafkaBroker(embedded.bootstrap), messages, arguments)
    print(f"  judging costs {worker_s / peer_s:.1f} times the CPU of reading and decoding alone", flush=True)


def measure(
    worker: "subprocess.Popen[bytes]",
    broker: KafkaBroker,
    messages: list[tuple[int, str, bytes]],
    arguments: argparse.Namespace,
) -> float:
    """Send a quarter to warm up, then the rest, and wait until each part is judged; CPU seconds a point."""
    health = Path(worker_folder(worker)) / "run" / "detector.json"
    wait_until(
        lambda: '"ready"' in fetched(health, "readyz"), 300, "the worker is ready"
    )  # compiles its kernels at first
    process = psutil.Process(worker.pid)
    warm, sent = len(messages) // 4, 0
    producer = broker.producer()
    for part in (messages[:warm], messages[warm:]):
        before = process.cpu_times()
        began_s = time.perf_counter()
        for number, (_, service, payload) in enumerate(part):
            producer.send(TELEMETRY_METRICS, key=service.encode(), value=payload)
            if number % 200 == 199:
                producer.flush()
                # the embedded broker drops the oldest data beyond 5 MiB a partition
                wait_until(lambda seen=sent + number: judged(health) >= seen - 800, 120, "keeps up")
        producer.flush()
        sent += len(part)
        wait_until(lambda: judged(health) >= sent, 300, "all is judged")  # noqa: B023 - called before `sent` changes
        wall_s, after = time.perf_counter() - began_s, process.cpu_times()
    cpu_s = after.user + after.system - before.user - before.system
    points = sum(count for count, _, _ in messages[warm:])
    report("Faust worker", points, wall_s, cpu_s, arguments)
    print(f"  worker memory {process.memory_info().rss / 1e6:.0f} MB")
    return cpu_s / points


def peer(broker: KafkaBroker, messages: list[tuple[int, str, bytes]], arguments: argparse.Namespace) -> float:
    """Read and decode the same messages; CPU seconds a point while it does, the embedded broker's among them."""
    consumer, codec = broker.consumer("bench-peer", [TELEMETRY_METRICS], from_beginning=False), Codec()
    producer = broker.producer()

    heard: set[int] = set()

    def hears_all() -> bool:
        """Whether it reads on from the end of every partition: once assigned, it still has to ask where the end is."""
        for number in range(100):
            producer.send(TELEMETRY_METRICS, key=f"service-{number}".encode(), value=WARM_UP)
        producer.flush()
        heard.update(message.partition for message in consumer.poll(1_000, 0.2))
        return len(heard) == topics()[TELEMETRY_METRICS].partitions

    wait_until(hears_all, 60, "the peer reads")
    points, wall_s, cpu_s = 0, 0.0, 0.0
    for start in range(0, len(messages), 500):
        part = messages[start : start + 500]
        for _, service, payload in part:
            producer.send(TELEMETRY_METRICS, key=service.encode(), value=payload)
        producer.flush()
        began_s, began_cpu_s, read = time.perf_counter(), time.process_time(), 0
        while read < len(part):
            for message in consumer.poll(1_000, 1.0):
                if message.value != WARM_UP:
                    codec.decode(TELEMETRY_METRICS, message.value)
                    read += 1
        wall_s += time.perf_counter() - began_s
        cpu_s += time.process_time() - began_cpu_s
        points += sum(count for count, _, _ in part)
    consumer.close()
    producer.close()
    report("bare consumer, decoding only", points, wall_s, cpu_s, arguments)
    return cpu_s / points


def worker_folder(worker: "subprocess.Popen[bytes]") -> str:
    """Data folder that a worker was started with."""
    return psutil.Process(worker.pid).environ()["PARAMEDIC_DATA_DIR"]


def fetched(run_file: Path, path: str) -> str:
    """A page of the worker's health server; "" while there is none."""
    import json
    from urllib.request import urlopen

    try:
        with urlopen(f"{json.loads(run_file.read_text())['health']}/{path}", timeout=5) as answer:
            return str(answer.read().decode())
    except (OSError, ValueError, KeyError):
        return ""


def judged(run_file: Path) -> int:
    """Messages that the worker has handled."""
    for line in fetched(run_file, "metrics").splitlines():
        if line.startswith("paramedic_messages_handled_total{"):
            return int(float(line.rsplit(" ", 1)[1]))
    return 0


def wait_until(condition: "object", timeout_s: float, what: str) -> None:
    """Wait for a condition."""
    assert callable(condition)
    deadline = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(what)
        threading.Event().wait(0.25)  # each look costs the worker some milliseconds


def report(name: str, points: int, wall_s: float, cpu_s: float, arguments: argparse.Namespace) -> None:
    """Print one line of figures."""
    series, a_message = arguments.services * arguments.series, arguments.series * arguments.points
    print(
        f"{name}: {points / wall_s:,.0f} points/s, {points / cpu_s:,.0f} per CPU second; {series:,} series, "
        f"{points:,} points in {points // a_message:,} messages of {a_message}, {wall_s:.2f} s, "
        f"CPU {cpu_s / points * 1e6:.1f} s per million points",
        flush=True,
    )


def one_large_service(arguments: argparse.Namespace) -> None:
    """A service with 5,000 series in every message: what it takes in time and memory."""
    large = argparse.Namespace(**{**vars(arguments), "services": 1, "series": 5_000, "points": 1, "rounds": 120})
    before = psutil.Process().memory_info().rss
    in_process(large)
    print(f"  5,000 series of one service: {(psutil.Process().memory_info().rss - before) / 1e6:.0f} MB more")


def main() -> None:
    """Run both."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--services", type=int, default=40)
    parser.add_argument("--series", type=int, default=50)
    parser.add_argument("--points", type=int, default=10)
    parser.add_argument("--only", choices=("handler", "faust", "large"))
    arguments = parser.parse_args()
    points = arguments.services * arguments.series * arguments.points
    arguments.rounds = max(8, int(600_000 * arguments.seconds / 20) // points)
    if arguments.only in (None, "handler"):
        in_process(arguments)
    if arguments.only in (None, "faust"):
        through_faust(arguments)
    if arguments.only in (None, "large"):
        one_large_service(arguments)


if __name__ == "__main__":
    main()
