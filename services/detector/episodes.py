"""Findings of single windows become episodes: opened once, updated when worse, closed when calm.

Two thresholds keep an episode from flapping: SUSPICIOUS opens, and everything from LINGERING up keeps it open. Event
time only; ids are derived, so that the same telemetry gives the same anomalies however often it is read.
"""

import uuid
from dataclasses import dataclass, replace
from typing import Final

from libs.contracts.anomaly import AnomalyDetected, EpisodeState
from libs.contracts.codec import utc_from_ns
from services.detector.finding import SEVERITY_RANK, Finding, Level

NAMESPACE: Final = uuid.UUID("0c7f4f0a-3a44-5b0e-8a1d-6f7f2f8f9f10")
_PENDING_PATIENCE: Final = 2  # windows without evidence for or against that a suspicion survives
_NO_DATA_CLOSE: Final = 8  # 40 s at 5 s: longer than a client's timeout, shorter than a person's patience
_WORSE: Final = 1.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Frame:
    """Where and when a finding was made.

    Attributes:
        service: service.name.
        peer: Callee, "" for none.
        detector: Name of the detector.
        start_ns: Beginning of the window.
        end_ns: End of the window.
        open_after: Suspicious windows in a row that open.
        close_after: Normal windows in a row that close.
    """

    service: str
    peer: str
    detector: str
    start_ns: int
    end_ns: int
    open_after: int
    close_after: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Episode:
    """A signal that is suspected to deviate, or does.

    Attributes:
        since_ns: When the deviation began.
        suspicious: Suspicious windows in a row, while it is not open.
        normal: Normal windows in a row.
        unknown: Windows in a row without evidence for or against.
        anomaly: What was emitted last; None while it is only suspected.
    """

    since_ns: int
    suspicious: int = 0
    normal: int = 0
    unknown: int = 0
    anomaly: AnomalyDetected | None = None


Step = tuple[Episode | None, AnomalyDetected | None]


def step(episode: Episode | None, finding: Finding | None, frame: Frame) -> Step:
    """Take one window into account.

    Args:
        episode: What is known of the signal; None when it was normal.
        finding: What the detector says; None for normal.
        frame: Where and when.
    Returns:
        What is known now, and the anomaly to emit, if any.
    """
    level = Level.NORMAL if finding is None else finding.level
    if episode is None or episode.anomaly is None:
        return _suspect(episode, finding, level, frame)
    if level is Level.NORMAL:
        return _calm(episode, episode.anomaly, frame)
    if finding is None or level is Level.NO_DATA:
        return _wait(episode, episode.anomaly, frame)
    return _go_on(episode, episode.anomaly, finding, frame)


def close(episode: Episode, at_ns: int) -> AnomalyDetected | None:
    """End an episode whose signal will not come again (its instance is gone)."""
    return None if episode.anomaly is None else _closed(episode.anomaly, at_ns)


def _suspect(episode: Episode | None, finding: Finding | None, level: Level, frame: Frame) -> Step:
    if finding is None or level is Level.NORMAL:
        return None, None
    if level < Level.SUSPICIOUS:
        if episode is None or episode.unknown >= _PENDING_PATIENCE:
            return None, None
        return replace(episode, unknown=episode.unknown + 1), None
    began = episode.since_ns if episode is not None else (finding.since_ns or frame.start_ns)
    known = episode if episode is not None else Episode(since_ns=began)
    known = replace(known, suspicious=known.suspicious + 1, unknown=0)
    if level is not Level.STRONG and known.suspicious < frame.open_after:
        return known, None
    anomaly = _opened(known, finding, frame)
    return replace(known, anomaly=anomaly), anomaly


def _go_on(episode: Episode, anomaly: AnomalyDetected, finding: Finding, frame: Frame) -> Step:
    calmed = replace(episode, normal=0, unknown=0)
    is_worse = finding.level >= Level.SUSPICIOUS and (
        SEVERITY_RANK[finding.severity] > SEVERITY_RANK[anomaly.severity]
        or abs(finding.deviation) >= _WORSE * max(abs(anomaly.deviation), 1e-9)
    )
    if not is_worse:
        return calmed, None
    worse = replace(
        anomaly,
        state=EpisodeState.UPDATED,
        severity=max(finding.severity, anomaly.severity, key=SEVERITY_RANK.__getitem__),
        score=max(finding.score, anomaly.score),
        observed=finding.observed,
        deviation=finding.deviation,
        updated_at=utc_from_ns(frame.end_ns),
        contributions=finding.contributions,
        explanation=finding.explanation,
        trace_ids=finding.trace_ids or anomaly.trace_ids,
        sequence=anomaly.sequence + 1,
    )
    return replace(calmed, anomaly=worse), worse


def _calm(episode: Episode, anomaly: AnomalyDetected, frame: Frame) -> Step:
    if episode.normal + 1 >= frame.close_after:
        return None, _closed(anomaly, frame.end_ns)
    return replace(episode, normal=episode.normal + 1, unknown=0), None


def _wait(episode: Episode, anomaly: AnomalyDetected, frame: Frame) -> Step:
    if episode.unknown + 1 >= _NO_DATA_CLOSE:
        return None, _closed(anomaly, frame.end_ns)
    return replace(episode, unknown=episode.unknown + 1), None


def _closed(anomaly: AnomalyDetected, at_ns: int) -> AnomalyDetected:
    at = max(utc_from_ns(at_ns), anomaly.detected_at)
    return replace(anomaly, state=EpisodeState.CLOSED, updated_at=at, closed_at=at, sequence=anomaly.sequence + 1)


def _opened(episode: Episode, finding: Finding, frame: Frame) -> AnomalyDetected:
    detected_at = utc_from_ns(frame.end_ns)
    started_at = min(utc_from_ns(episode.since_ns), detected_at)
    attributes = ",".join(f"{name}={value}" for name, value in sorted(finding.attributes.items()))
    identity = "\x00".join(
        (
            frame.service,
            frame.peer,
            finding.signal.value,
            finding.metric,
            finding.statistic,
            attributes,
            frame.detector,
            started_at.isoformat(),
        )
    )
    return AnomalyDetected(
        id=str(uuid.uuid5(NAMESPACE, identity)),
        state=EpisodeState.OPENED,
        service=frame.service,
        peer=frame.peer or None,
        signal=finding.signal,
        metric=finding.metric,
        statistic=finding.statistic,
        unit=finding.unit,
        attributes=dict(finding.attributes),
        detector=frame.detector,
        severity=finding.severity,
        score=finding.score,
        observed=finding.observed,
        expected=finding.expected,
        expected_lower=finding.lower,
        expected_upper=finding.upper,
        deviation=finding.deviation,
        started_at=started_at,
        detected_at=detected_at,
        updated_at=detected_at,
        window_s=(frame.end_ns - frame.start_ns) / 1e9,
        contributions=finding.contributions,
        explanation=finding.explanation,
        trace_ids=finding.trace_ids,
    )
