"""Runs brought to a phase by the facts that lead there, as the service would."""

from dataclasses import replace
from datetime import datetime
from typing import Any

from libs.contracts.remediation import Mode
from libs.runbooks import Runbook, load_runbooks
from libs.runbooks.actions import ActionCall, TargetNow
from services.remediation.decide import decide
from services.remediation.facts import Applied, Captured, Fact, Judged, Planned, Ruling, Verdict
from services.remediation.request import Candidate, begin
from services.remediation.run import Limits, Now, Run
from tests.unit.libs.runbooks.made import a_hypothesis, an_anomaly, an_incident, at

BOOKS = {runbook.name: runbook for runbook in load_runbooks()}
ROLL_BACK = BOOKS["roll-back-deploy"]
LIMITS = Limits(verify_s=60.0, hold_s=30.0, settle_s=5.0, detection_s=15.0)
CALL = ActionCall(action="rollback_deploy", service="catalog", parameters={"to_version": "2.3.0"})
BEFORE = TargetNow(version="2.4.0", previous_version="2.3.0", replicas=1)
HALTED = "self-healing is halted by ann"
TRIGGER = an_anomaly("catalog")
SYMPTOM = an_anomaly("gateway")


def now(seconds: float, *, wall: datetime | None = None, halted: str = "") -> Now:
    """A moment; the wall clock runs with event time unless told otherwise."""
    return Now(event_at=at(seconds), wall_at=wall or at(seconds), halted=halted)


def a_run(runbook: Runbook = ROLL_BACK, mode: Mode = Mode.AUTO, **fields: Any) -> Run:
    """A run at its beginning, at second 20."""
    found = Candidate(runbook=runbook, hypothesis=a_hypothesis(), revision=1, lead=5.0)
    run = begin(found, an_incident(TRIGGER, SYMPTOM), mode, LIMITS, 1, now(20))
    return replace(run, **fields)


def after(run: Run, *facts: Fact, seconds: float = 20, halted: str = "") -> Run:
    """The run after facts, all at one moment."""
    for fact in facts:
        run, _ = decide(run, fact, now(seconds, halted=halted))
    return run


def captured() -> Captured:
    """Evidence with a call."""
    return Captured(detection="catalog is slow", call=CALL, before=BEFORE, neighbours=("gateway", "inventory"))


def judged(ruling: Ruling = Ruling.ALLOW, mode: Mode = Mode.AUTO, reason: str = "fine") -> Judged:
    """A verdict."""
    return Judged(verdict=Verdict(ruling=ruling, mode=mode, reason=reason))


def planned(call: ActionCall = CALL, *, changes: bool = True) -> Planned:
    """The executor's plan."""
    return Planned(call=call, changes=changes, text="start 1 instance of catalog 2.3.0", before=BEFORE)


def asked_to_apply(mode: Mode = Mode.AUTO) -> Run:
    """A run whose executor was asked and has not answered."""
    return after(a_run(mode=mode), captured(), judged(mode=mode), planned(), judged(mode=mode))


def verifying() -> Run:
    """A run that is live since second 20."""
    return after(asked_to_apply(), Applied(live=True, text="catalog 2.3.0 runs"))
