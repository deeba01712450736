"""Findings become episodes: opened by evidence, kept open by hysteresis, closed by calm."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from libs.contracts.anomaly import AnomalyDetected, EpisodeState, Severity, Signal
from services.detector.episodes import Episode, Frame, step
from services.detector.finding import Finding, Level

NS = 1_000_000_000
BEGIN_NS = 1_700_000_000 * NS


def finding(level: Level, **changes: object) -> Finding:
    made = Finding(
        level=level, signal=Signal.LATENCY, metric="m", severity=Severity.MEDIUM, deviation=5.0, observed=2.0
    )
    return replace(made, **changes)  # type: ignore[arg-type]  # fields by name


def frame(number: int, open_after: int = 2) -> Frame:
    return Frame(
        service="cart",
        peer="",
        detector="latency",
        start_ns=BEGIN_NS + number * 5 * NS,
        end_ns=BEGIN_NS + (number + 1) * 5 * NS,
        open_after=open_after,
        close_after=3,
    )


def steps(levels: list[Level | Finding | None]) -> list[AnomalyDetected]:
    episode: Episode | None = None
    emitted = []
    for number, level in enumerate(levels):
        seen = finding(level) if isinstance(level, Level) else level
        episode, anomaly = step(episode, seen, frame(number))
        if anomaly is not None:
            emitted.append(anomaly)
    return emitted


S, L, N, X, STRONG = Level.SUSPICIOUS, Level.LINGERING, None, Level.NO_DATA, Level.STRONG


@pytest.mark.parametrize(
    ("levels", "states"),
    [
        ([S, N, S, N], []),
        ([S, S], ["opened"]),
        ([STRONG], ["opened"]),
        ([L, L, L], []),
        ([S, L, S], ["opened"]),
        ([S, X, S], ["opened"]),
        ([S, X, X, X, S], []),
        ([S, S, N, N], ["opened"]),
        ([S, S, N, N, N], ["opened", "closed"]),
        ([S, S, N, N, L, N, N], ["opened"]),
        ([S, S, N, N, L, N, N, N], ["opened", "closed"]),
        ([S, S, *[X] * 7], ["opened"]),
        ([S, S, *[X] * 8], ["opened", "closed"]),
        ([S, S, S, S, S], ["opened"]),
    ],
)
def test_windows_make_an_episode(levels: list[Level | Finding | None], states: list[str]) -> None:
    assert [anomaly.state.value for anomaly in steps(levels)] == states


def test_an_episode_starts_with_its_first_window_and_is_detected_at_the_end_of_the_opening_one() -> None:
    (anomaly,) = steps([S, S])
    assert (anomaly.detected_at - anomaly.started_at).total_seconds() == 10.0
    assert anomaly.window_s == 5.0


def test_worse_is_told_and_no_worse_is_not() -> None:
    emitted = steps([S, S, finding(S, deviation=7.0), finding(S, deviation=8.0), finding(S, deviation=8.0)])
    assert [a.state for a in emitted] == [EpisodeState.OPENED, EpisodeState.UPDATED]
    assert emitted[1].deviation == 8.0
    assert emitted[1].id == emitted[0].id


def test_severity_rises_and_never_falls_within_an_episode() -> None:
    emitted = steps([S, S, finding(S, severity=Severity.CRITICAL), finding(S, severity=Severity.LOW, deviation=50.0)])
    assert [a.severity for a in emitted] == [Severity.MEDIUM, Severity.CRITICAL, Severity.CRITICAL]


def test_the_id_says_what_and_when() -> None:
    one, same = steps([S, S])[0], steps([S, S])[0]
    later = steps([N, S, S])[0]
    assert one.id == same.id != later.id


@given(st.lists(st.sampled_from([S, L, N, X, STRONG]), max_size=60))
def test_any_sequence_opens_before_it_closes_and_counts_from_zero(levels: list[Level | Finding | None]) -> None:
    expected_sequence, open_id = 0, ""
    for anomaly in steps(levels):
        if anomaly.state is EpisodeState.OPENED:
            assert not open_id
            open_id, expected_sequence = anomaly.id, 0
        assert anomaly.id == open_id
        assert anomaly.sequence == expected_sequence
        assert (anomaly.closed_at is not None) == (anomaly.state is EpisodeState.CLOSED)
        expected_sequence += 1
        if anomaly.state is EpisodeState.CLOSED:
            open_id = ""
