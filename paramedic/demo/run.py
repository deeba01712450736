"""Run the demo: platform and shop up, faults one after another, a human's part played, everything down again."""

import shutil
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from libs.contracts.codec import ns_from_utc
from libs.contracts.incident import OPEN_STATES, IncidentChanged
from libs.contracts.remediation import FINAL_STATES, RemediationChanged, RunState
from libs.errors import ParamedicError
from libs.service.settings import Settings, load_settings
from paramedic.api_client import post
from paramedic.console import console
from paramedic.demo.cluster import require_own
from paramedic.demo.history import judge_history
from paramedic.demo.improve_act import improve
from paramedic.demo.improvement import Improvement, on_healthy, open_recommendations
from paramedic.demo.judge import Outcome, judge, last_run, ticket_of
from paramedic.demo.observer import Seen, last_closed, newest_incident, openings, runs
from paramedic.demo.patience import patiently
from paramedic.demo.scenario import QUIET_S, WEAK, Ending, Scenario
from paramedic.demo.stage import Stage, demo_environment, environment, keep, memory_mib, raise_stage
from paramedic.demo.timeline import Timeline
from paramedic.supervisor import SERVICES

DETECTION_S: Final = 75.0
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
        improve: Whether to try a recommended code change after the faults.
        stack: Run on the servers of the settings instead of the embedded broker and SQLite.
    """

    scenarios: tuple[Scenario, ...]
    keep: bool = False
    seed: int = 7
    quiet: bool = False
    quiet_s: float = QUIET_S
    improve: bool = False
    stack: bool = False


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
        improvement: What became of the recommended code changes; None when that was not tried.
        interrupted: Whether Ctrl-C ended it early.
    """

    outcomes: list[Outcome] = field(default_factory=list)
    early_tickets: list[str] = field(default_factory=list)
    memory_mib: dict[str, float] = field(default_factory=dict)
    recording: Path = Path()
    settings: Settings = field(default_factory=load_settings)
    wall_s: float = 0.0
    run_states: list[RemediationChanged] = field(default_factory=list)
    improvement: Improvement | None = None
    interrupted: bool = False


def run_demo(options: DemoOptions, stop: threading.Event) -> DemoResult:
    """Run the scenarios; whatever happens, no process is left behind.

    Raises:
        ConfigurationError: `options.stack`, and the settings name no servers, or servers with somebody's data.
    """
    with environment(demo_environment(load_settings(), stack=options.stack)):
        settings = load_settings()
        shutil.rmtree(settings.data_dir, ignore_errors=True)
        if options.stack:
            require_own(settings)
        result = DemoResult(settings=settings, recording=settings.data_dir / "recording")
        with ExitStack() as cleanup:
            timeline = Timeline(quiet=options.quiet)
            stage = raise_stage(
                settings, cleanup, seed=options.seed, timeline=timeline, recording=result.recording, stop=stop
            )
            if stage is not None:
                _play(options, stage, result)
                result.memory_mib = memory_mib(stage)
                if options.keep and not stop.is_set():
                    keep(stage)
        result.interrupted = stop.is_set() and not options.keep
        return result


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
            result.outcomes.append(_with_history(stage, result.outcomes, _fault(stage, scenario)))
    if options.improve and "recommender" in SERVICES and not stage.stop.is_set():
        result.improvement = improve(stage)
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
    if not _in_the_shop(stage, lambda: stage.shop.inject(scenario.name)):
        return judge(scenario, [], began_at, began_at, None)
    live_at = datetime.now(UTC)
    ticket = Ticket(scenario=scenario, began_at=began_at)
    opened = stage.wait(ticket.newest, DETECTION_S)
    approved_at = _approve(stage, ticket) if opened and scenario.ending is Ending.APPROVED else None
    healed = opened is not None and _see_through(stage, ticket)
    if not healed:
        _in_the_shop(stage, lambda: stage.shop.clear(scenario.name))
    if opened:
        stage.wait(ticket.resolved, RECOVERY_S)
    if healed and scenario.outlasts_fix:
        _in_the_shop(stage, lambda: stage.shop.clear(scenario.name))
    events = stage.observer.events()
    stage.troubles.append((began_at, _calm_again(events, ticket)))
    return judge(scenario, events, live_at, began_at, approved_at)


def _in_the_shop(stage: Stage, act: Callable[[], object]) -> bool:
    return patiently(act, stage.stop, lambda text: stage.timeline.say(text, "red"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Ticket:
    """The ticket of one fault, looked up anew in the events: which one it is may be known only after a while.

    Attributes:
        scenario: The fault.
        began_at: When its injection began.
    """

    scenario: Scenario
    began_at: datetime

    def newest(self, events: list[Seen]) -> IncidentChanged | None:
        """Its newest state; None before it is opened."""
        own = ticket_of(self.scenario, events, self.began_at)
        return None if own is None else newest_incident(events, own[1].id)

    def runs(self, events: list[Seen]) -> list[RemediationChanged]:
        """Its remediation events, in order."""
        incident = self.newest(events)
        return [] if incident is None else [change for _, change in runs(events, incident.id)]

    def in_state(self, state: RunState) -> Callable[[list[Seen]], RemediationChanged | None]:
        """A look for a remediation run in a state."""
        return lambda events: next((change for change in self.runs(events) if change.state is state), None)

    def ended(self, events: list[Seen]) -> RemediationChanged | None:
        """The run that applied something, when it has ended."""
        run = last_run(self.runs(events))
        return run if run is not None and run.applied_at is not None and run.state in FINAL_STATES else None

    def resolved(self, events: list[Seen]) -> bool | None:
        """True when it is resolved."""
        incident = self.newest(events)
        return True if incident is not None and incident.state not in OPEN_STATES else None


def _calm_again(events: list[Seen], ticket: Ticket) -> datetime:
    """When the fault's effects were over: its last anomaly closed, or now where that does not say it."""
    incident = ticket.newest(events)
    closed_at = last_closed(events, incident) if incident is not None and not ticket.scenario.outlasts_fix else None
    return closed_at or datetime.now(UTC)


def _with_history(stage: Stage, earlier: Sequence[Outcome], outcome: Outcome) -> Outcome:
    """The outcome with what its ticket says of the first time, where the fault was there before."""
    first = next((one for one in earlier if one.scenario == outcome.scenario), None)
    if first is None:
        return outcome
    history = judge_history(first, outcome, stage.platform.incidents.get(outcome.incident_id))
    stage.timeline.say(f"{outcome.incident} is {history.text()}", "cyan")
    return replace(outcome, history=history.text(), failures=(*outcome.failures, *history.failures))


def _approve(stage: Stage, ticket: Ticket) -> datetime | None:
    """Play the human who approves; when the approval was sent, None when nothing waited for one."""
    waiting = stage.wait(ticket.in_state(RunState.AWAITING_APPROVAL), HEALING_S)
    if waiting is None:
        return None
    stage.timeline.say(f"a human approves: {waiting.action} on {waiting.target}", "yellow")
    sent_at = datetime.now(UTC)
    _post(
        stage,
        f"/api/v1/remediations/{waiting.id}/approve",
        {"actor": "demo-viewer", "reason": "the evidence is clear"},
    )
    return sent_at


def _see_through(stage: Stage, ticket: Ticket) -> bool:
    """Wait for what remediation makes of the incident; play the human where one is needed. Whether it was healed."""
    if ticket.scenario.ending is Ending.HUMAN:
        stage.wait(ticket.in_state(RunState.ESCALATED), HEALING_S)
        stage.timeline.say(f"a human fixes it: {ticket.scenario.title} no more", "yellow")
        return False
    run = stage.wait(ticket.ended, HEALING_S)
    return run is not None and run.state is RunState.SUCCEEDED


def _post(stage: Stage, path: str, body: dict[str, str]) -> None:
    try:
        post(stage.settings, path, body)
    except ParamedicError as error:
        stage.timeline.say(f"the API refused: {error}", "red")


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
    false = on_healthy(open_recommendations(stage.observer.events()), WEAK)
    return Outcome(scenario=scenario.name, title=scenario.title, resolved=not opened, failures=(*failures, *false))


def scenario_names(known: Sequence[Scenario]) -> str:
    """Names for an error message."""
    return ", ".join(scenario.name for scenario in known)
