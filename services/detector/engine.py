"""Runs the detectors over what one partition observes: warm-up, learning, freezing and episodes.

A subject is what a detector keeps a state for: a service, a call edge, a series. It is heard only after the warm-up,
and it learns only from what is normal: while an episode is open or suspected its baseline stands still, for an hour at
most, so that a lasting new level is accepted in the end.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

from libs.contracts.anomaly import AnomalyDetected, Severity
from services.detector.detector import Detector, DetectorOptions, Sieving
from services.detector.episodes import Episode, Frame, close, step
from services.detector.finding import SEVERITY_RANK, Finding, Level
from services.detector.snapshot_codec import from_plain, to_plain

FREEZE_NS: Final = 3600 * 1_000_000_000
# A window of seconds sums up many requests; a point of a metric that comes every half minute or more is one value, and
# a median of eight of them says little. Three times as many leave out 3 of the 19 tickets of PetShop's busy day.
SLOW_POINT_NS: Final = 30 * 1_000_000_000
SLOW_POINT_FACTOR: Final = 3
_FORGET_NS: Final = 2 * 3600 * 1_000_000_000
_MAX_SUBJECTS: Final = 50_000  # per detector and partition; about 1 kB each


class Observation(Protocol):
    """Anything with a service and a place in event time."""

    @property
    def service(self) -> str:
        """service.name."""
        ...

    @property
    def start_ns(self) -> int:
        """Beginning, inclusive."""
        ...

    @property
    def end_ns(self) -> int:
        """End, exclusive."""
        ...


@dataclass(slots=True)
class Subject:
    """What one detector knows of one subject.

    Attributes:
        detector: Name of the detector.
        key: Which subject of the detector.
        service: service.name.
        first_ns: Event time of its first observation.
        last_ns: End of the newest one.
        learned: Observations it learned from.
        frozen_ns: Since when it does not learn; 0 while it does.
        state: The detector's own state.
        episodes: Suspected and open episodes by signal key.
    """

    detector: str
    key: str
    service: str
    first_ns: int
    last_ns: int
    state: Any
    learned: int = 0
    frozen_ns: int = 0
    episodes: dict[str, Episode] = field(default_factory=dict)


@dataclass(slots=True)
class StoredSubject:
    """A subject in a snapshot; `state` is the detector's state as plain values."""

    service: str
    first_ns: int
    last_ns: int
    learned: int
    frozen_ns: int
    state: Any
    episodes: dict[str, Episode]


class Engine:
    """The detectors of one partition.

    Args:
        detectors: In a fixed order, so that emits have one too.
        options: Warm-up.
    """

    def __init__(self, detectors: Sequence[Detector[Any, Any]], options: DetectorOptions) -> None:
        self._detectors = {detector.name: detector for detector in detectors}
        self._warmup_ns = int(options.warmup_s * 1e9)
        self._subjects: dict[str, dict[str, Subject]] = {name: {} for name in self._detectors}
        self._troubled: dict[str, int] = {}
        self._active: dict[str, dict[int, Subject]] = {}
        self._sieves = {d.name: d.begins_nothing for d in detectors if isinstance(d, Sieving)}

    @property
    def detectors(self) -> Sequence[Detector[Any, Any]]:
        """The detectors in order."""
        return tuple(self._detectors.values())

    def observe(
        self, detector: Detector[Any, Any], key: str, seen: Observation, *, peer: str = ""
    ) -> list[AnomalyDetected]:
        """Let a detector see one observation of a subject; the anomalies to emit, in order."""
        subject = self._subjects[detector.name].get(key) or self._new_subject(detector, key, seen)
        findings: Sequence[Finding] = ()
        end_ns = seen.end_ns
        state = subject.state
        if detector.knows_warmup or (
            end_ns - subject.first_ns >= self._warmup_ns and _has_learned(detector, subject.learned, seen)
        ):
            sieve = self._sieves.get(detector.name)
            if subject.episodes or sieve is None or not sieve(state, seen):
                findings = detector.judge(state, seen)
        emitted: list[AnomalyDetected] = []
        if subject.episodes or (findings and any(finding.level >= Level.SUSPICIOUS for finding in findings)):
            emitted = self._take(detector, subject, findings, seen, peer)
        if subject.episodes:
            self._learn_when_thawed(detector, subject, seen)
        else:
            subject.frozen_ns = 0
            detector.learn(state, seen)
            subject.learned += 1
        detector.note(state, seen)
        if end_ns > subject.last_ns:
            subject.last_ns = end_ns
        return emitted

    def _new_subject(self, detector: Detector[Any, Any], key: str, seen: Observation) -> Subject:
        subjects = self._subjects[detector.name]
        if len(subjects) >= _MAX_SUBJECTS:
            self._forget(subjects, seen.end_ns)
        subject = subjects[key] = Subject(
            detector=detector.name,
            key=key,
            service=seen.service,
            first_ns=seen.start_ns,
            last_ns=seen.end_ns,
            state=detector.new_state(),
        )
        return subject

    def _take(
        self, detector: Detector[Any, Any], subject: Subject, findings: Sequence[Finding], seen: Observation, peer: str
    ) -> list[AnomalyDetected]:
        frame = Frame(
            service=subject.service,
            peer=peer,
            detector=detector.name,
            start_ns=seen.start_ns,
            end_ns=seen.end_ns,
            open_after=detector.open_after,
            close_after=detector.close_after,
        )
        by_key = {finding.key: finding for finding in findings}
        emitted = []
        for key in sorted(subject.episodes.keys() | by_key.keys()):
            before = subject.episodes.get(key)
            after, anomaly = step(before, by_key.get(key), frame)
            self._keep(subject, key, before, after)
            if anomaly is not None:
                emitted.append(anomaly)
        return emitted

    def _keep(self, subject: Subject, key: str, before: Episode | None, after: Episode | None) -> None:
        if after is None:
            subject.episodes.pop(key, None)
        else:
            subject.episodes[key] = after
        if subject.episodes:
            self._active.setdefault(subject.service, {})[id(subject)] = subject
        elif subject.service in self._active:
            self._active[subject.service].pop(id(subject), None)
            if not self._active[subject.service]:
                del self._active[subject.service]
        _change(self._troubled, subject.service, _troubles(after) - _troubles(before))

    def _learn_when_thawed(self, detector: Detector[Any, Any], subject: Subject, seen: Observation) -> None:
        if not subject.frozen_ns:
            subject.frozen_ns = seen.start_ns
        if seen.end_ns - subject.frozen_ns > FREEZE_NS:
            detector.learn(subject.state, seen)
            subject.learned += 1

    def is_troubled(self, service: str) -> bool:
        """Whether an episode of at least MEDIUM severity of the service is open in this partition."""
        return service in self._troubled

    def has_episode(self, detector: Detector[Any, Any], key: str) -> bool:
        """Whether a subject has a suspected or open episode."""
        subject = self._subjects[detector.name].get(key)
        return subject is not None and bool(subject.episodes)

    def known_since_ns(self, detectors: Iterable[Detector[Any, Any]], key: str) -> int:
        """Event time of the first observation of a subject by any of the detectors; 0 when it is unknown."""
        known = [self._subjects[detector.name].get(key) for detector in detectors]
        return min((subject.first_ns for subject in known if subject is not None), default=0)

    def expire(self, service: str, now_ns: int, silent_ns: int) -> list[AnomalyDetected]:
        """Close episodes of a service's subjects that were not observed for `silent_ns`: their instance is gone."""
        emitted: list[AnomalyDetected] = []
        for subject in list(self._active.get(service, {}).values()):
            if now_ns - subject.last_ns <= silent_ns:
                continue
            for signal, episode in sorted(subject.episodes.items()):
                anomaly = close(episode, now_ns)
                self._keep(subject, signal, episode, None)
                if anomaly is not None:
                    emitted.append(anomaly)
        return emitted

    def followed(self, service: str, detectors: Iterable[Detector[Any, Any]]) -> frozenset[str]:
        """Keys of a service's subjects with a suspected or open episode of one of the detectors."""
        active = self._active.get(service)
        if not active:
            return frozenset()
        names = {detector.name for detector in detectors}
        return frozenset(subject.key for subject in active.values() if subject.detector in names)

    def _forget(self, subjects: dict[str, Subject], now_ns: int) -> None:
        stale = [key for key, s in subjects.items() if not s.episodes and now_ns - s.last_ns > _FORGET_NS]
        quiet = [key for key, s in subjects.items() if not s.episodes]
        for key in stale or quiet[: max(1, _MAX_SUBJECTS // 10)]:
            del subjects[key]

    def snapshot(self) -> dict[str, dict[str, StoredSubject]]:
        """Everything that is known, as values that msgspec stores."""
        return {
            name: {
                key: StoredSubject(
                    service=s.service,
                    first_ns=s.first_ns,
                    last_ns=s.last_ns,
                    learned=s.learned,
                    frozen_ns=s.frozen_ns,
                    state=to_plain(s.state),
                    episodes=s.episodes,
                )
                for key, s in subjects.items()
            }
            for name, subjects in self._subjects.items()
        }

    def restore(self, stored: dict[str, dict[str, StoredSubject]]) -> None:
        """Go on from a snapshot; detectors that it does not know start anew.

        Raises:
            msgspec.ValidationError: a state does not fit its detector (a snapshot of another version).
        """
        for name, detector in self._detectors.items():
            for key, s in stored.get(name, {}).items():
                subject = Subject(
                    detector=name,
                    key=key,
                    service=s.service,
                    first_ns=s.first_ns,
                    last_ns=s.last_ns,
                    learned=s.learned,
                    frozen_ns=s.frozen_ns,
                    state=from_plain(s.state, detector.state_type),
                )
                self._subjects[name][key] = subject
                for signal, episode in s.episodes.items():
                    self._keep(subject, signal, None, episode)


def _has_learned(detector: Detector[Any, Any], learned: int, seen: Observation) -> bool:
    """Whether a subject is known well enough to be judged: one point of a slow metric says less than a window."""
    if learned >= SLOW_POINT_FACTOR * detector.least_windows:
        return True  # of nearly all subjects nearly always, so asked first
    return learned >= detector.least_windows and seen.end_ns - seen.start_ns < SLOW_POINT_NS


def _change(counts: dict[str, int], service: str, by: int) -> None:
    left = counts.get(service, 0) + by
    if left > 0:
        counts[service] = left
    else:
        counts.pop(service, None)


def _troubles(episode: Episode | None) -> int:
    if episode is None or episode.anomaly is None:
        return 0
    return int(SEVERITY_RANK[episode.anomaly.severity] >= SEVERITY_RANK[Severity.MEDIUM])


def of_feed(detectors: Iterable[Detector[Any, Any]], feed: str) -> list[Detector[Any, Any]]:
    """The detectors that take a feed, by name."""
    return sorted((d for d in detectors if d.feed == feed), key=lambda detector: detector.name)
