"""The embedded broker as a foreground process."""

import signal
import threading

from libs.errors import ConfigurationError, Unavailable
from libs.service.run import watch_parent
from libs.service.settings import Settings
from libs.streaming.embedded import EmbeddedBroker, write_address
from libs.streaming.kafka import KafkaBroker


def serve(settings: Settings) -> str:
    """Run until SIGTERM or SIGINT; `ConfigurationError` when one is already running for this data folder."""
    path = settings.broker_address_file
    if path.exists() and _answers(path.read_text().strip()):
        raise ConfigurationError(f"an embedded broker is already running for {settings.data_dir} (see {path})")
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    watch_parent(stop.set)
    with EmbeddedBroker() as broker:
        write_address(path, broker.bootstrap)
        print(f"embedded broker on {broker.bootstrap} (in memory, for trying out); Ctrl-C ends it", flush=True)
        stop.wait()
    path.unlink(missing_ok=True)
    return "stopped"


def _answers(bootstrap: str) -> bool:
    try:
        KafkaBroker(bootstrap).topic_names(timeout_s=1.0)
    except Unavailable:
        return False
    return True
