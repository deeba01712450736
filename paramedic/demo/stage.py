"""What runs during the demo: broker, services, shop, observer, recording; up in order, down whatever happens."""

import os
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, TypeVar

import psutil

from examples.shop.shop import Shop
from libs.contracts.codec import ns_from_utc
from libs.service.platform import Platform, open_platform
from libs.service.settings import Settings
from paramedic.api_client import api_url
from paramedic.console import console
from paramedic.demo.cluster import put_in_place
from paramedic.demo.observer import Observer, Seen
from paramedic.demo.timeline import Timeline
from paramedic.recording_writer import record_topics
from paramedic.supervisor import SERVICES, Supervisor, run_file

R = TypeVar("R")
ROOT: Final = Path(__file__).resolve().parents[2]
SHOP_RATE_PER_S: Final = 12.0
TELEMETRY_ENDPOINTS: Final = tuple(f"OTEL_EXPORTER_OTLP_{signal}_ENDPOINT" for signal in ("TRACES", "METRICS", "LOGS"))
LAG_FACTOR: Final = 2.0  # telemetry that reaches the store at half the pace of the clock is still waited for
# What the environment names for a real cluster must not be written to by a demo that embeds everything.
_EMBEDDED: Final[dict[str, str | None]] = {
    "PARAMEDIC_BROKER": "embedded",
    "PARAMEDIC_INCIDENT_STORE": "sqlite",
    "PARAMEDIC_TELEMETRY_STORE": "sqlite",
    "PARAMEDIC_SCHEMA_REGISTRY": "",
    **dict.fromkeys(TELEMETRY_ENDPOINTS),
}
# these two ask the shop's control API, whose address is known only when the shop is open
_AFTER_THE_SHOP: Final = ("remediation", "console")


@dataclass(slots=True, kw_only=True)
class Stage:
    """Everything that runs during the demo.

    Attributes:
        settings: Settings of the platform.
        platform: Broker and stores for the demo's own eyes.
        supervisor: Owner of broker and services.
        shop: What is broken.
        observer: What Paramedic has published.
        timeline: Where the demo tells.
        stop: Set by Ctrl-C.
        began_at: When everything was up.
        troubles: (start, end) of each fault's effects so far, event time.
    """

    settings: Settings
    platform: Platform
    supervisor: Supervisor
    shop: Shop
    observer: Observer
    timeline: Timeline
    stop: threading.Event
    began_at: datetime = field(default_factory=lambda: datetime.now(UTC))
    troubles: list[tuple[datetime, datetime]] = field(default_factory=list)

    def wait(self, look: Callable[[list[Seen]], R | None], timeout_s: float) -> R | None:
        """Wait until `look` finds something in the events; None when stopped or when it has taken too long.

        The timeout is event time, so that a busy machine, whose telemetry lags behind the clock, is given what an idle
        one has; telemetry that stands still ends the wait by the clock.
        """
        until_ns = ns_from_utc(datetime.now(UTC)) + int(timeout_s * 1e9)
        deadline_s = time.monotonic() + LAG_FACTOR * timeout_s
        while True:
            found = self.observer.wait(look, 1.0, self.stop)
            self.supervisor.tend()
            late = self.platform.telemetry.watermark_ns() >= until_ns or time.monotonic() > deadline_s
            if found is not None or late or self.stop.is_set():
                return found

    def url(self, service: str) -> str:
        """Address that a service listens on, "" for none."""
        return str(run_file(self.settings, service).get("url", ""))


def demo_environment(base: Settings, *, stack: bool = False) -> dict[str, str | None]:
    """Settings of a demo: a data folder of its own, holds as short as one viewer's patience, ports that are free.

    Args:
        base: Settings of the environment.
        stack: Keep its broker, registry, stores and telemetry endpoints instead of embedding everything.
    """
    recommendations = ROOT / "examples" / "shop" / "recommendations.toml"
    return {
        "PARAMEDIC_DATA_DIR": str((base.data_dir / "demo").absolute()),
        **({} if stack else _EMBEDDED),
        "PARAMEDIC_HOLD_S": "5",
        "PARAMEDIC_VERIFY_S": "90",
        "PARAMEDIC_CORRELATION_S": "30",
        "PARAMEDIC_LATENESS_S": "3",  # the shop hands telemetry in every second: 30 s less to wait in five faults
        "PARAMEDIC_INTAKE_PORT": str(free_port(base.intake_host, base.intake_port)),
        "PARAMEDIC_API_PORT": str(free_port(base.api_host, base.api_port)),
        "PARAMEDIC_CONSOLE_PORT": str(free_port(base.console_host, base.console_port)),
        **({"PARAMEDIC_RECOMMENDATIONS_FILE": str(recommendations)} if recommendations.is_file() else {}),
    }


def free_port(host: str, port: int) -> int:
    """The port when nobody listens on it, else 0: any free one."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as trial:
        trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as the services do: TIME_WAIT is no listener
        try:
            trial.bind((host, port))
        except OSError:
            return 0
    return port


@contextmanager
def environment(changed: Mapping[str, str | None]) -> Iterator[None]:
    """Environment variables for the time of the demo; None takes one away."""
    before = {name: os.environ.get(name) for name in changed}
    _set(changed)
    try:
        yield
    finally:
        _set(before)


def _set(variables: Mapping[str, str | None]) -> None:
    for name, value in variables.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value


def raise_stage(
    settings: Settings, cleanup: ExitStack, *, seed: int, timeline: Timeline, recording: Path, stop: threading.Event
) -> Stage | None:
    """Start everything; None when stopped meanwhile. What was started ends with `cleanup`."""
    supervisor = Supervisor(settings, on_event=lambda text: timeline.say(text, "yellow"))
    cleanup.callback(supervisor.stop)
    if settings.broker == "embedded":
        with console.status("starting the embedded broker"):
            supervisor.start_broker()
            supervisor.wait_broker()
    else:
        put_in_place(settings, lambda text: timeline.say(text, "dim"))
    first = [service for service in SERVICES if service not in _AFTER_THE_SHOP]
    if not _start(supervisor, first, stop):
        return None
    timeline.say("broker and services are ready", "green")
    for name in TELEMETRY_ENDPOINTS:
        if name in os.environ:
            timeline.say(f"the shop sends to {os.environ[name]} ({name})")
    with console.status("starting the shop"):
        shop = Shop.start(
            str(run_file(settings, "intake")["url"]),
            settings.data_dir / "shop",
            rate_per_s=SHOP_RATE_PER_S,
            seed=seed,
            releases=settings.data_dir / "shop" / "releases",
        )
    cleanup.callback(shop.stop)
    os.environ["PARAMEDIC_EXECUTOR_URL"] = shop.control_url
    cleanup.callback(os.environ.pop, "PARAMEDIC_EXECUTOR_URL", None)
    supervisor.add_environment({"PARAMEDIC_EXECUTOR_URL": shop.control_url})
    if not _start(supervisor, [service for service in _AFTER_THE_SHOP if service in SERVICES], stop):
        return None
    timeline.say(
        f"the shop is open: {SHOP_RATE_PER_S:g} requests/s from its users; control API {shop.control_url}", "green"
    )
    # what Elasticsearch tells of itself once a connection would stand between the lines of the timeline
    platform = open_platform("demo", settings.model_copy(update={"log_level": "warning"}))
    observer = cleanup.enter_context(Observer(platform, timeline.seen))
    _record(platform, recording, cleanup)
    stage = Stage(
        settings=settings,
        platform=platform,
        supervisor=supervisor,
        shop=shop,
        observer=observer,
        timeline=timeline,
        stop=stop,
    )
    timeline.say(f"console {stage.url('console')}   incident API {api_url(settings)}/docs", "green")
    return stage


def _start(supervisor: Supervisor, services: list[str], stop: threading.Event) -> bool:
    for service in services:
        supervisor.start_service(service)
    for service in services:
        with console.status(f"starting {service}"):
            supervisor.wait_ready(service)
        if stop.is_set():
            return False
    return True


def _record(platform: Platform, recording: Path, cleanup: ExitStack) -> None:
    done = threading.Event()
    recorder = threading.Thread(
        target=record_topics,
        args=(platform, recording),
        kwargs={"stop": done, "from_beginning": True},
        name="recording",
    )
    recorder.start()
    cleanup.callback(recorder.join)
    cleanup.callback(done.set)


def keep(stage: Stage) -> None:
    """Leave everything running until Ctrl-C."""
    stage.timeline.say(
        f"everything keeps running: console {stage.url('console')}, API {api_url(stage.settings)}/docs, "
        f"shop {stage.shop.control_url}",
        "green",
    )
    console.print(
        f"Look around with: PARAMEDIC_DATA_DIR={stage.settings.data_dir} paramedic incidents list   (Ctrl-C ends it)"
    )
    while not stage.stop.wait(0.5):
        stage.supervisor.tend()


def memory_mib(stage: Stage) -> dict[str, float]:
    """Resident memory per process of the platform and per half of the shop, MiB."""
    sizes = {}
    for name in (*SERVICES, "broker"):
        try:
            sizes[name] = psutil.Process(stage.supervisor.pid(name)).memory_info().rss / (1 << 20)
        except (psutil.NoSuchProcess, KeyError):
            continue
    for name, pid in stage.shop.pids.items():
        try:
            process = psutil.Process(pid)
            family = [process, *process.children(recursive=True)]
            sizes[f"shop {name} and children"] = sum(one.memory_info().rss for one in family) / (1 << 20)
        except psutil.NoSuchProcess:
            continue
    return sizes
