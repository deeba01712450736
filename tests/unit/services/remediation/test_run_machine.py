"""A run under every order of facts: never applied twice, never while halted, never after a rejection, one end.

The model is an executor that carries out each idempotency key once, may lose its answers, and a service that is killed
between any two steps; what is counted is what the executor did to production.
"""

from dataclasses import replace
from itertools import count
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import Phase as Stage
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from libs.contracts.anomaly import AnomalyDetected, Signal
from libs.contracts.codec import from_json, to_json
from libs.contracts.incident import IncidentState
from libs.contracts.remediation import FINAL_STATES, Mode, RunState
from libs.errors import InvalidMessage
from services.remediation import decide as decisions
from services.remediation import decide_applied
from services.remediation.decide import decide, wanted
from services.remediation.facts import (
    AnomalySeen,
    Applied,
    Apply,
    Approved,
    Away,
    Capture,
    ChangedByOthers,
    Effect,
    Fact,
    IncidentSeen,
    Judge,
    Passed,
    Plan,
    Refused,
    Rejected,
    Restarted,
    Revised,
    Ruling,
    TakenOver,
    Undo,
    Undone,
    WentLive,
)
from services.remediation.run import Now, Phase, Run, Told, move
from tests.unit.libs.runbooks.made import a_change, a_hypothesis, an_anomaly, an_incident, at, closed
from tests.unit.services.remediation.started import HALTED, SYMPTOM, TRIGGER, a_run, captured, judged, planned

MODES = st.sampled_from([Mode.AUTO] * 4 + [Mode.APPROVE, Mode.OBSERVE])
# Most verdicts and answers let a run go on: a walk that ends at its first step tests nothing of what follows.
RULINGS = st.sampled_from([Ruling.ALLOW] * 8 + [Ruling.WAIT, Ruling.DENY])
ANSWERS = st.sampled_from(["ok"] * 4 + ["not live", "lost", "unreached", "refused", "refused"])
STATES = st.sampled_from([IncidentState.IN_PROGRESS] * 6 + [IncidentState.RESOLVED, IncidentState.CANCELED])
REACHED: set[RunState] = set()


class RunMachine(RuleBasedStateMachine):
    """One run and its world."""

    @initialize(
        mode=MODES,
        undoable=st.sampled_from([True, True, False]),
        ahead=st.integers(0, 8),
        halted=st.sampled_from([False, False, False, True]),
    )
    def begin(self, mode: Mode, undoable: bool, ahead: int, halted: bool) -> None:
        self.run: Run = a_run(mode=mode) if undoable else a_run(mode=mode, inverse="")
        self.mode = mode
        self.seconds = 20.0
        self.wall_ahead = 0.0
        self.halted = False
        self.rejected = False
        self.done: dict[str, int] = {}
        self.finals: list[RunState] = []
        self.sequence = 1
        self.carry_on(ahead)
        self.halted = halted

    @property
    def now(self) -> Now:
        return Now(
            event_at=at(self.seconds),
            wall_at=at(self.seconds + self.wall_ahead),
            halted=HALTED if self.halted else "",
        )

    def tell(self, fact: Fact) -> None:
        before = self.run
        self.run, effects = decide(before, fact, self.now)
        assert effects == wanted(self.run, self.now)
        if before.ended:
            assert self.run == before
        REACHED.update(told.state for told in self.run.pending)
        if not before.ended and self.run.ended:
            self.finals.append(self.run.change.state)

    def carry_out(self, key: str) -> None:
        """What the executor does to production."""
        assert not self.halted
        assert not self.rejected
        self.done[key] = self.done.get(key, 0) + (key not in self.done)

    @rule(mode=MODES)
    def person_sets_mode(self, mode: Mode) -> None:
        self.mode = mode

    @rule(steps=st.integers(1, 4))
    def carry_on(self, steps: int) -> None:
        """The ordinary course of things; random facts alone would hardly ever reach its end."""
        for _ in range(steps):
            if self.run.phase is Phase.APPROVAL and not self.rejected:
                self.person_decides(approve=True, command="c0")
            elif self.run.phase is Phase.VERIFY:
                self.anomalies_close([watch for watch in (TRIGGER, SYMPTOM) if not self._closed(watch)], 5.0)
            elif self.run.phase is Phase.HOLD:
                self.time_passes(30.0)
            else:
                self.act(ruling=Ruling.ALLOW, answer="ok")

    def _closed(self, anomaly: AnomalyDetected) -> bool:
        return any(watch.id == anomaly.id and watch.closed_at for watch in self.run.watched)

    @rule(ruling=RULINGS, answer=ANSWERS)
    def act(self, ruling: Ruling, answer: str) -> None:
        """Carry out what the run asks for."""
        for effect in wanted(self.run, self.now):
            match effect:
                case Capture():
                    self.tell(captured())
                case Judge():
                    said = Ruling.WAIT if self.halted else ruling
                    said = Ruling.PROPOSE if self.mode is Mode.OBSERVE else said
                    self.tell(judged(said, self.mode, said.value))
                case Plan():
                    self.tell(planned())
                case Apply(key=key) | Undo(key=key):
                    self._change(key, answer, undo=isinstance(effect, Undo))
                case _:
                    self.tell(WentLive(text="live") if answer == "ok" else Passed())

    def _change(self, key: str, answer: str, *, undo: bool) -> None:
        if answer == "refused":
            self.tell(Refused(reason="422"))
            return
        if answer == "unreached":
            self.tell(Away(reason="refused", carried_out=False))
            return
        self.carry_out(key)
        if answer == "lost":
            self.tell(Away(reason="timeout", carried_out=True))
        else:
            self.tell(Undone(text="back") if undo else Applied(live=answer == "ok", text="done"))

    @rule()
    def kill(self) -> None:
        """Killed after the executor acted and before its answer was stored; the stored run is all that is left."""
        for effect in wanted(self.run, self.now):
            if isinstance(effect, Apply | Undo):
                self.carry_out(effect.key)
        stored = from_json(to_json(self.run), Run)
        assert stored == self.run
        self.run = stored
        self.tell(Restarted())

    @rule(seconds=st.floats(0.2, 40))
    def time_passes(self, seconds: float) -> None:
        self.seconds += seconds
        self.tell(Passed())

    @rule(seconds=st.floats(1, 100))
    def telemetry_stands_still(self, seconds: float) -> None:
        self.wall_ahead += seconds
        self.tell(Passed())

    @rule(halted=st.booleans())
    def switch(self, halted: bool) -> None:
        self.halted = halted

    @rule(approve=st.booleans(), command=st.sampled_from(["c1", "c2"]))
    def person_decides(self, approve: bool, command: str) -> None:
        kind = Approved if approve else Rejected
        try:
            self.tell(kind(command_id=command, actor="ann", reason=""))
        except InvalidMessage:
            return
        if not approve and self.run.ended:
            self.rejected = True

    @rule(which=st.sampled_from([[TRIGGER], [SYMPTOM], [TRIGGER, SYMPTOM]]), later=st.floats(0, 30))
    def anomalies_close(self, which: list[AnomalyDetected], later: float) -> None:
        self.seconds += later
        for anomaly in which:
            self.tell(AnomalySeen(anomaly=closed(anomaly, self.seconds), of_incident=False))

    @rule(service=st.sampled_from(["catalog", "gateway", "inventory", "far"]), ago=st.floats(0, 60), own=st.booleans())
    def anomaly_opens(self, service: str, ago: float, own: bool) -> None:
        self.sequence += 1
        anomaly = an_anomaly(
            service, id=f"later-{self.sequence}", started_at=at(self.seconds - ago), signal=Signal.ERRORS
        )
        self.tell(AnomalySeen(anomaly=anomaly, of_incident=own))

    @rule(state=STATES, by=st.sampled_from([None, "ann", "recovery"]))
    def incident_changes(self, state: IncidentState, by: str | None) -> None:
        self.tell(IncidentSeen(incident=an_incident(TRIGGER, SYMPTOM, state=state, resolved_by=by)))

    @rule(revision=st.integers(1, 5), same=st.booleans())
    def investigation_revised(self, revision: int, same: bool) -> None:
        hypothesis = a_hypothesis() if same else None
        self.tell(Revised(revision=revision, hypothesis=hypothesis, lead=2.0, leader="x"))

    @precondition(lambda self: self.run.change.applied_at is not None)
    @rule(command=st.booleans())
    def somebody_else_acts(self, command: bool) -> None:
        taken = TakenOver(command_id="t", actor="ann", what="resolved")
        self.tell(taken if command else ChangedByOthers(change=a_change(id="other")))

    @invariant()
    def production_was_changed_at_most_once_each_way(self) -> None:
        if not hasattr(self, "run"):
            return
        assert all(count == 1 for count in self.done.values())
        assert len(self.done) <= 2
        applied = f"{self.run.id}/apply"
        assert set(self.done) <= {applied, f"{self.run.id}/roll_back"}
        if f"{self.run.id}/roll_back" in self.done:
            assert applied in self.done

    @invariant()
    def there_is_one_end_and_the_record_is_honest(self) -> None:
        if not hasattr(self, "run"):
            return
        change = self.run.change
        assert len(self.finals) == (change.state in FINAL_STATES)
        assert [told.version for told in self.run.pending] == list(range(1, change.version + 1))
        assert sum(told.state in FINAL_STATES for told in self.run.pending) == len(self.finals)
        if self.done and self.finals:
            assert change.applied_at is not None  # what touched production is never reported as not applied
        if change.state is RunState.SUCCEEDED:
            assert self.done == {f"{self.run.id}/apply": 1}
            assert not change.recurred
            assert change.verification


def run_machine(examples: int) -> None:
    options: dict[str, Any] = {"deadline": None, "suppress_health_check": list(HealthCheck), "database": None}
    phases = (Stage.generate,)  # a planted violation need not be shrunk, and a real one is found again by its seed
    run_state_machine_as_test(
        RunMachine,
        settings=settings(max_examples=examples, stateful_step_count=20, derandomize=True, phases=phases, **options),
    )


def test_no_order_of_facts_breaks_a_run() -> None:
    REACHED.clear()
    run_machine(examples=400)
    assert set(RunState) == REACHED, "a walk that never gets there proves nothing about it"


@pytest.mark.parametrize(
    "planted", ["applies while halted", "applies under a new key", "forgets that it applied", "skips a version"]
)
def test_the_machine_finds_a_planted_violation(planted: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The laws above are seen to fail: otherwise they would prove nothing."""
    honest = decisions.wanted
    keys = count()

    def deaf(run: Run, now: Now) -> tuple[Effect, ...]:
        return honest(run, Now(event_at=now.event_at, wall_at=now.wall_at))

    def rekeyed(run: Run, now: Now) -> tuple[Effect, ...]:
        return tuple(replace(e, key=str(next(keys))) if isinstance(e, Apply) else e for e in honest(run, now))

    def forgetful(run: Run, _fact: Applied, now: Now) -> Run:
        told = Told(state=RunState.CANCELED, reason="lost")
        return move(run, now, told)

    def restless(run: Run, _now: Now) -> Run:
        return replace(run, change=replace(run.change, version=run.change.version + 1))

    if planted == "forgets that it applied":
        monkeypatch.setattr(decide_applied, "on_applied", forgetful)
    elif planted == "skips a version":
        monkeypatch.setattr(decide_applied, "on_time", restless)
    else:
        broken = deaf if planted == "applies while halted" else rekeyed
        monkeypatch.setattr(decisions, "wanted", broken)
        monkeypatch.setitem(globals(), "wanted", broken)
    with pytest.raises((AssertionError, BaseExceptionGroup)):
        run_machine(examples=400)
