"""Points/s on a real Kafka: detector and recorder against confluent-kafka's bare consume of the same topic.

The topic is filled first with columnar metric batches; then each reads it from the beginning, alone. Bare consume
fetches and counts messages without decoding them: what a consumer could do at best. The clock of the services runs from
the first third to the last message, so that start-up and compilation are left out.

Run: make bench-stack, or python tests/bench/stack_throughput.py where PARAMEDIC_STACK_KAFKA names a broker
[--rounds 200] [--services 40] [--series 50] [--points 10]
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
import uuid
from pathlib import Path
from typing import Final

import psutil
from confluent_kafka import Consumer

from libs.contracts.topics import TELEMETRY_METRICS, topics
from libs.streaming.kafka import KafkaBroker
from tests.bench.detector_pipeline import encoded, judged, wait_until
from tests.integration.stack_servers import renew_topics

SERVICES: Final = ("detector", "recorder")
READ_S: Final = 600.0


def fill(broker: KafkaBroker, messages: list[tuple[int, str, bytes]]) -> float:
    """Write everything; seconds until all is acknowledged."""
    producer = broker.producer()
    began_s = time.perf_counter()
    for number, (_, service, payload) in enumerate(messages):
        producer.send(TELEMETRY_METRICS, key=service.encode(), value=payload)
        if number % 500 == 499:
            producer.flush()
    producer.flush()
    producer.close()
    return time.perf_counter() - began_s


def bare_consume(address: str, count: int) -> float:
    """Read every message and do nothing with it; seconds from the first third to the last, over two thirds."""
    consumer = Consumer(
        {
            "bootstrap.servers": address,
            "group.id": f"bench-{uuid.uuid4()}",
            "auto.offset.reset": "earliest",
            "enable.auto.commit": False,
        }
    )
    consumer.subscribe([TELEMETRY_METRICS])
    read, began_s, first = 0, 0.0, 0
    while read < count:
        read += len(consumer.consume(min(1000, count - read), 1.0))  # waits for as many, or for a second
        if not first and read >= count // 3:
            first, began_s = read, time.perf_counter()
    took_s = time.perf_counter() - began_s
    consumer.close()
    return took_s / (count - first) * count


def service_reads(service: str, address: str, count: int) -> tuple[float, float]:
    """Run a service over the topic; (seconds for all messages at the speed of the last two thirds, resident MiB)."""
    with tempfile.TemporaryDirectory() as folder:
        environment = {**os.environ, "PARAMEDIC_DATA_DIR": folder, "PARAMEDIC_BROKER": address}
        run_file = Path(folder) / "run" / f"{service}.json"
        worker = subprocess.Popen(
            [sys.executable, "-m", f"services.{service}"], env=environment, stdout=subprocess.DEVNULL
        )
        try:
            wait_until(lambda: judged(run_file) >= count // 3, READ_S, f"{service} has read a third")
            first, began_s = judged(run_file), time.perf_counter()
            wait_until(lambda: judged(run_file) >= count, READ_S, f"{service} has read everything")
            took_s = time.perf_counter() - began_s
            resident = psutil.Process(worker.pid).memory_info().rss / (1 << 20)
        finally:
            worker.terminate()
            worker.wait(60)
    return took_s / max(1, count - first) * count, resident


def main() -> None:
    """Fill, read three times, print each next to the bare consume."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=200)
    parser.add_argument("--services", type=int, default=40)
    parser.add_argument("--series", type=int, default=50)
    parser.add_argument("--points", type=int, default=10)
    arguments = parser.parse_args()
    address = os.environ["PARAMEDIC_STACK_KAFKA"]
    renew_topics([name for topic in topics().values() for name in (topic.name, topic.dead_letter)])
    messages = encoded(arguments, arguments.rounds)
    count, points = len(messages), sum(number for number, _, _ in messages)
    filled_s = fill(KafkaBroker(address), messages)
    print(
        f"{count:,} messages of {arguments.series * arguments.points} points: {points:,} points on {TELEMETRY_METRICS}"
    )
    print(f"produce, acknowledged by all replicas: {points / filled_s:,.0f} points/s", flush=True)
    bare_s = bare_consume(address, count)
    print(
        f"confluent-kafka bare consume: {points / bare_s:,.0f} points/s, {count / bare_s:,.0f} messages/s", flush=True
    )
    for service in SERVICES:
        took_s, resident = service_reads(service, address, count)
        print(
            f"{service}: {points / took_s:,.0f} points/s, {bare_s / took_s:.3f} of bare consume, "
            f"{resident:.0f} MiB resident",
            flush=True,
        )


if __name__ == "__main__":
    main()
