"""Run the demo: platform and shop up, faults one after another, a human's part played, everything down again."""

import os
import shutil
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final, TypeVar

import psutil

from examples.shop.shop import Shop
from libs.contracts.codec import ns_from_utc
from libs.contracts.incident import OPEN_STATES
from libs.contracts.remediation import FINAL_STATES, RemediationChanged, RunState
from libs.errors import ParamedicError
from libs.service.platform import Platform, open_platform
from libs.service.settings import Settings, load_settings
from paramedic.api_client import api_url, post
from paramedic.console import console
from paramedic.demo.judge import Outcome, judge, last_run
from paramedic.demo.observer import Observer, Seen, newest_incident, openings, runs
from paramedic.demo.scenario import QUIET_S, Ending, Scenario
from paramedic.demo.timeline import Timeline
from paramedic.recording_writer import record_topics
from paramedic.supervisor import SERVICES, Supervisor, run_file

SHOP_RATE_PER_S: Final = 12.0
DETECTION_S: Final = 75.0
R = TypeVar("R")
HEALING_S: Final = 150.0
RECOVERY_S: Final = 90.0


@dataclass(frozen=True, slots=True, kw_only=True)
class DemoOptions:
    """What to run.

    Attributes:
        scenarios: Faults, in order.
        keep: Leave everything running afterwards until Ctrl-C.
        seed: Seed of the load generator.
        quiet: Print no timeline.
        quiet_s: Length of the quiet scenario in seconds.
    """

    scenarios: tuple[Scenario, ...]
    keep: bool = False
    seed: int = 7
    quiet: bool = False
    quiet_s: float = QUIET_S


@dataclass(slots=True, kw_only=True)
class DemoResult:
    """What the demo measured.

    Attributes:
        outcomes: One per scenario.
        early_tickets: Tickets opened before any fault.
        memory_mib: Resident memory per process, MiB.
        recording: Folder of the recording.
        settings: Settings of the platform that ran.
        wall_s: Seconds from start to end of the last scenario.
        run_states: Newest state of each remediation run.
        interrupted: Whether Ctrl-C ended it early.
    """

    outcomes: list[Outcome] = field(default_factory=list)
    early_tickets: list[str] = field(default_factory=list)
    memory_mib: dict[str, float] = field(default_factory=dict)
    recording: Path = Path()
    settings: Settings = field(default_factory=load_settings)
    wall_s: float = 0.0
    run_states: list[RemediationChanged] = field(default_factory=list)
    interrupted: bool = False


@dataclass(slots=True, kw_only=True)
class Stage:
    """Everything that runs during the demo."""

    settings: Settings
    platform: Platform
    supervisor: Supervisor
    shop: Shop
    observer: Observer
    timeline: Timeline
    stop: threading.Event


def demo_environment(base: Settings) -> dict[str, str]:
    """Settings of a demo: a data folder of its own, and holds as short as one viewer's patience."""
    return {
        "PARAMEDIC_DATA_DIR": str((base.data_dir / "demo").absolute()),
        "PARAMEDIC_BROKER": "embedded",
        "PARAMEDIC_INCIDENT_STORE": "sqlite",
        "PARAMEDIC_TELEMETRY_STORE": "sqlite",
        "PARAMEDIC_HOLD_S": "5",
        "PARAMEDIC_VERIFY_S": "90",
        "PARAMEDIC_CORRELATION_S": "30",
    }


@contextmanager
def environment(added: dict[str, str]) -> Iterator[None]:
    """Environment variables for the time of the demo."""
    before = {name: os.environ.get(name) for name in added}
    os.environ.update(added)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def run_demo(options: DemoOptions, stop: threading.Event) -> DemoResult:
    """Run the scenarios; whatever happens, no process is left behind."""
    with environment(demo_environment(load_settings())):
        settings = load_settings()
        shutil.rmtree(settings.data_dir, ignore_errors=True)
        result = DemoResult(settings=settings, recording=settings.data_dir / "recording")
        with ExitStack() as cleanup:
            stage = _raise_stage(options, settings, cleanup, stop, result)
            if stage is not None:
                _play(options, stage, result)
                result.memory_mib = _memory(stage)
                if options.keep and not stop.is_set():
                    _keep(stage)
        result.interrupted = stop.is_set() and not options.keep
        return result


def _raise_stage(
    options: DemoOptions, settings: Settings, cleanup: ExitStack, stop: threading.Event, result: DemoResult
) -> Stage | None:
    timeline = Timeline(quiet=options.quiet)
    supervisor = Supervisor(settings, on_event=lambda text: timeline.say(text, "yellow"))
    cleanup.callback(supervisor.stop)
    with console.status("starting the embedded broker"):
        supervisor.start_broker()
        supervisor.wait_broker()
    for service in SERVICES:
        if service != "remediation":
            supervisor.start_service(service)
    for service in SERVICES:
        if service == "remediation":
            continue
        with console.status(f"starting {service}"):
            supervisor.wait_ready(service)
        if stop.is_set():
            return None
    timeline.say("broker and services are ready", "green")
    with console.status("starting the shop"):
        shop = Shop.start(
            str(run_file(settings, "intake")["url"]),
            settings.data_dir / "shop",
            rate_per_s=SHOP_RATE_PER_S,
            seed=options.seed,
        )
    cleanup.callback(shop.stop)
    os.environ["PARAMEDIC_EXECUTOR_URL"] = shop.control_url
    cleanup.callback(os.environ.pop, "PARAMEDIC_EXECUTOR_URL", None)
    supervisor.add_environment({"PARAMEDIC_EXECUTOR_URL": shop.control_url})
    supervisor.start_service("remediation")
    supervisor.wait_ready("remediation")
    timeline.say(
        f"the shop is open: {SHOP_RATE_PER_S:g} requests/s from its users; control API {shop.control_url}", "green"
    )
    timeline.say(f"incident API {api_url(settings)}/docs", "green")
    platform = open_platform("demo", settings)
    observer = cleanup.enter_context(Observer(platform, timeline.seen))
    recording_done = threading.Event()
    recorder = threading.Thread(
        target=record_topics,
        args=(platform, result.recording),
        kwargs={"stop": recording_done, "from_beginning": True},
        name="recording",
    )
    recorder.start()
    cleanup.callback(recorder.join)
    cleanup.callback(recording_done.set)
    return Stage(
        settings=settings,
        platform=platform,
        supervisor=supervisor,
        shop=shop,
        observer=observer,
        timeline=timeline,
        stop=stop,
    )


def _play(options: DemoOptions, stage: Stage, result: DemoResult) -> None:
    began_s = time.monotonic()
    _warm_up(stage)
    result.early_tickets = [
        incident.number for _, incident in openings(stage.observer.events(), datetime.min.replace(tzinfo=UTC))
    ]
    for scenario in options.scenarios:
        if stage.stop.is_set():
            break
        if scenario.ending is Ending.QUIET:
            result.outcomes.append(_quiet(stage, scenario, options.quiet_s))
        else:
            result.outcomes.append(_fault(stage, scenario))
    newest: dict[str, RemediationChanged] = {}
    for seen in stage.observer.events():
        if isinstance(seen.record, RemediationChanged):
            newest[seen.record.id] = seen.record
    result.run_states = list(newest.values())
    result.wall_s = time.monotonic() - began_s


def _warm_up(stage: Stage) -> None:
    """Wait, in event time, until the detector may have learned what normal is."""
    settings = stage.settings
    needed_s = settings.warmup_s + 2 * settings.window_s + settings.lateness_s
    stage.timeline.say(f"learning what normal is ({needed_s:.0f} s of telemetry)")
    first_ns = 0
    with console.status("") as status:
        while not stage.stop.is_set():
            newest_ns = stage.platform.telemetry.watermark_ns()
            first_ns = first_ns or newest_ns
            learned_s = (newest_ns - first_ns) / 1e9
            if first_ns and learned_s >= needed_s:
                return
            status.update(f"learning what normal is: {learned_s:.0f} of {needed_s:.0f} s")
            stage.supervisor.tend()
            stage.stop.wait(0.5)


def _fault(stage: Stage, scenario: Scenario) -> Outcome:
    began_at = datetime.now(UTC)
    stage.timeline.say(f"── fault {scenario.name}: {scenario.title}")
    stage.shop.inject(scenario.name)
    live_at = datetime.now(UTC)
    opened = _wait(stage, lambda events: openings(events, began_at) or None, DETECTION_S)
    healed = opened is not None and _see_through(stage, scenario, opened[0][1].id)
    if not healed:
        stage.shop.clear(scenario.name)
    if opened:
        _wait_resolved(stage, opened[0][1].id)
    if healed and scenario.outlasts_fix:
        stage.shop.clear(scenario.name)
    return judge(scenario, stage.observer.events(), live_at, began_at)


def _see_through(stage: Stage, scenario: Scenario, incident_id: str) -> bool:
    """Wait for what remediation makes of the incident; play the human where one is needed. Whether it was healed."""
    if scenario.ending is Ending.APPROVED:
        waiting = _wait(stage, lambda events: _in_state(events, incident_id, RunState.AWAITING_APPROVAL), HEALING_S)
        if waiting is not None:
            stage.timeline.say(f"a human approves: {waiting.action} on {waiting.target}", "yellow")
            body = {"actor": "demo-viewer", "reason": "the evidence is clear"}
            _post(stage, f"/api/v1/remediations/{waiting.id}/approve", body)
    if scenario.ending is Ending.HUMAN:
        _wait(stage, lambda events: _in_state(events, incident_id, RunState.ESCALATED), HEALING_S)
        stage.timeline.say(f"a human fixes it: {scenario.title} no more", "yellow")
        return False
    run = _wait(stage, lambda events: _ended(events, incident_id), HEALING_S)
    return run is not None and run.state is RunState.SUCCEEDED


def _post(stage: Stage, path: str, body: dict[str, str]) -> None:
    try:
        post(stage.settings, path, body)
    except ParamedicError as error:
        stage.timeline.say(f"the API refused: {error}", "red")


def _in_state(events: list[Seen], incident_id: str, state: RunState) -> RemediationChanged | None:
    for _, change in runs(events, incident_id):
        if change.state is state:
            return change
    return None


def _ended(events: list[Seen], incident_id: str) -> RemediationChanged | None:
    run = last_run([change for _, change in runs(events, incident_id)])
    return run if run is not None and run.applied_at is not None and run.state in FINAL_STATES else None


def _wait_resolved(stage: Stage, incident_id: str) -> None:
    def resolved(events: list[Seen]) -> bool | None:
        incident = newest_incident(events, incident_id)
        return True if incident is not None and incident.state not in OPEN_STATES else None

    _wait(stage, resolved, RECOVERY_S)


def _wait(stage: Stage, look: Callable[[list[Seen]], R | None], timeout_s: float) -> R | None:
    deadline = time.monotonic() + timeout_s
    while True:
        found = stage.observer.wait(look, 1.0, stage.stop)
        stage.supervisor.tend()
        if found is not None or time.monotonic() > deadline or stage.stop.is_set():
            return found


def _quiet(stage: Stage, scenario: Scenario, length_s: float) -> Outcome:
    began_at = datetime.now(UTC)
    stage.timeline.say(f"── {scenario.title}")
    until_ns = ns_from_utc(began_at + timedelta(seconds=length_s))
    with console.status("nothing is broken"):
        while stage.platform.telemetry.watermark_ns() < until_ns and not stage.stop.is_set():
            stage.supervisor.tend()
            stage.stop.wait(1.0)
    opened = openings(stage.observer.events(), began_at)
    failures = tuple(f"false ticket {incident.number}: {incident.title}" for _, incident in opened)
    return Outcome(scenario=scenario.name, title=scenario.title, resolved=not opened, failures=failures)


def _memory(stage: Stage) -> dict[str, float]:
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


def _keep(stage: Stage) -> None:
    stage.timeline.say(
        f"everything keeps running: API {api_url(stage.settings)}/docs, shop {stage.shop.control_url}", "green"
    )
    console.print(
        f"Look around with: PARAMEDIC_DATA_DIR={stage.settings.data_dir} paramedic incidents list   (Ctrl-C ends it)"
    )
    while not stage.stop.wait(0.5):
        stage.supervisor.tend()


def scenario_names(known: Sequence[Scenario]) -> str:
    """Names for an error message."""
    return ", ".join(scenario.name for scenario in known)
