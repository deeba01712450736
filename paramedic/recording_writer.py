"""Write live topics to a recording: one gzip file of OTLP JSON lines per signal."""

import gzip
import threading
import time
import uuid
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Final, TextIO, cast

from libs.contracts.topics import CHANGES, TELEMETRY_LOGS, TELEMETRY_METRICS, TELEMETRY_SPANS
from libs.errors import InvalidMessage
from libs.service.platform import Platform
from services.intake.recording import Recordable, to_line

FILES: Final = {
    TELEMETRY_METRICS: "metrics",
    TELEMETRY_LOGS: "logs",
    TELEMETRY_SPANS: "spans",
    CHANGES: "changes",
}


def record_topics(
    platform: Platform,
    directory: Path,
    *,
    stop: threading.Event,
    duration_s: float | None = None,
    from_beginning: bool = False,
    on_assigned: Callable[[], None] = lambda: None,
) -> dict[str, int]:
    """Record until `stop` or for `duration_s`; returns lines written per file.

    A message that cannot be decoded is left out and logged: its dead letter is the consumers' affair.
    """
    directory.mkdir(parents=True, exist_ok=True)
    counts = dict.fromkeys(FILES.values(), 0)
    consumer = platform.broker.consumer(f"record-{uuid.uuid4()}", list(FILES), from_beginning=from_beginning)
    deadline = None if duration_s is None else time.monotonic() + duration_s
    assigned = False
    with ExitStack() as files:
        out: dict[str, TextIO] = {
            name: cast(TextIO, files.enter_context(gzip.open(directory / f"{name}.jsonl.gz", "wt", compresslevel=4)))
            for name in FILES.values()
        }
        while not stop.is_set() and (deadline is None or time.monotonic() < deadline):
            messages = consumer.poll(500, 0.2)
            if not assigned and consumer.assignment():
                assigned = True
                on_assigned()
            for message in messages:
                try:
                    record = platform.codec.decode(message.topic, message.value)
                except InvalidMessage as error:
                    platform.log.warning("not recorded", topic=message.topic, offset=message.offset, reason=str(error))
                    continue
                name = FILES[message.topic]
                out[name].write(to_line(cast(Recordable, record)) + "\n")
                counts[name] += 1
    consumer.close()
    return counts
