"""One run: look at a window, let the code confirm or refute what the rules found, make and prove patches."""

import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from hashlib import sha256
from time import monotonic
from typing import Final

from libs.contracts.codec import utc_from_ns
from libs.contracts.recommendation import CodeChangeRecommended
from libs.stores.telemetry import TelemetryReader, Window
from services.recommender.configuration import Configuration, Repository
from services.recommender.diff import unified
from services.recommender.observe import observe
from services.recommender.patch import Declined, Patch, load_patchers
from services.recommender.rule import Finding, load_rules
from services.recommender.scene import CodePlace, Scene
from services.recommender.source import NoSource, Source, open_source
from services.recommender.validate import validate

NAMESPACE: Final = uuid.UUID("5d0c3c1c-9f6f-5b1e-8f5c-3a4f8e0d7b21")
# Below this a reviewer's time is more likely wasted than not.
LEAST_CONFIDENCE: Final = 0.3
_TESTED: Final = 0.03  # what passing tests add to the confidence
Improver = Callable[[Finding, Source, str], Patch | Declined]


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What a run is to look at.

    Attributes:
        window: Event time.
        services: Only these, all when empty.
        incident_id: The incident that asked for it, None for a scheduled run.
    """

    window: Window
    services: tuple[str, ...] = ()
    incident_id: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What a run found.

    Attributes:
        asked: What it looked at.
        found: Recommendations, most certain first.
        judged: Deployed version by service, of those that had enough traffic to be judged.
        operations: Service and server span of every judged operation.
        complete: Whether every finding was looked at before the time was up.
        requests: Requests that were looked at.
        duration_s: How long it took.
        notes: What could not be done, in words.
    """

    asked: Asked
    found: tuple[CodeChangeRecommended, ...]
    judged: Mapping[str, str]
    operations: frozenset[tuple[str, str]]
    complete: bool
    requests: int
    duration_s: float
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Looked:
    """A finding after the code was read.

    Attributes:
        finding: With place, benefit, advice and confidence as the code shows them.
        repository: Name of the repository, "" when none is mapped.
        diff: Proven patch, "" for none.
        validation: What was checked, or why there is no patch.
    """

    finding: Finding
    repository: str = ""
    diff: str = ""
    validation: str = ""


@dataclass(slots=True)
class Analyst:
    """Runs analyses; used from one thread at a time.

    Attributes:
        telemetry: Where from.
        configuration: The operator's file.
        improve: Writes a patch where no patcher does, None without a model.
        stopping: Whether to give up.
        timer: Monotonic seconds.
    """

    telemetry: TelemetryReader
    configuration: Configuration
    improve: Improver | None = None
    stopping: Callable[[], bool] = lambda: False
    timer: Callable[[], float] = monotonic
    _proven: dict[str, tuple[bool, str]] = field(default_factory=dict)
    _improved: dict[str, Looked] = field(default_factory=dict)

    def run(
        self,
        asked: Asked,
        known: Mapping[str, CodeChangeRecommended],
        deliver: Callable[[CodeChangeRecommended], None] = lambda _: None,
    ) -> Report:
        """Look at a window.

        Args:
            asked: What to look at.
            known: Stored recommendations by id: what was decided is not patched again.
            deliver: Told of each recommendation as soon as it is made; tests of a patch take a while.
        Raises:
            Stopped: the service is stopping.
            Unavailable: the telemetry store is down.
        """
        began_s = self.timer()
        scene = observe(self.telemetry, asked.window, self.configuration.sources, asked.services)
        found: list[CodeChangeRecommended] = []
        notes: list[str] = []
        complete = True
        sources: dict[tuple[str, str], Source | str] = {}
        # What needs no tests comes first, then what telemetry alone is surest of.
        order = sorted(
            self.findings(scene),
            key=lambda one: (bool(one.patcher), -one.confidence, one.service, one.rule, one.subject),
        )
        for finding in order:
            if self.stopping() or self.timer() - began_s > self.configuration.caps.run_s:
                complete = False
                break
            source = self._source(finding, sources)
            decided = known.get(identity(finding, self._path(finding, source)))
            if decided is not None and decided.state in ("accepted", "dismissed"):
                found.append(decided)
                continue
            looked = self._look(finding, source)
            if looked is None:
                notes.append(f"refuted by the code: {finding.rule} at {finding.place} of {finding.service}")
                continue
            if looked.finding.confidence >= LEAST_CONFIDENCE:
                found.append(_record(looked, asked, identity(finding, self._path(finding, source)), scene))
                deliver(found[-1])
        found.sort(key=lambda one: (-one.confidence, one.id))
        return Report(
            asked=asked,
            found=tuple(found),
            judged={service: version for service, version in scene.versions.items() if scene.judged(service)},
            operations=frozenset((one.service, one.name) for one in scene.operations),
            complete=complete,
            requests=sum(len(one.requests) for one in scene.operations),
            duration_s=self.timer() - began_s,
            notes=tuple(notes),
        )

    def findings(self, scene: Scene) -> list[Finding]:
        """What the enabled rules find."""
        found: list[Finding] = []
        for name, rule in load_rules():
            thresholds = self.configuration.rules[name]
            if thresholds.enabled:
                found += rule().find(scene, thresholds)
        return found

    def _source(self, finding: Finding, opened: dict[tuple[str, str], Source | str]) -> Source | str:
        """The code of a finding, or why there is none."""
        repository = self.configuration.repository_of(finding.service)
        if repository is None:
            return f"no repository is mapped to {finding.service}, so there is no patch"
        key = (repository.name, finding.version)
        if key not in opened:
            try:
                opened[key] = open_source(repository, finding.version, self.stopping)
            except NoSource as error:
                opened[key] = str(error)
        return opened[key]

    def _path(self, finding: Finding, source: Source | str) -> str:
        """Path for the identity: the same whether the deployed folder is called /app or something else."""
        return source.resolve(finding.place.path) if isinstance(source, Source) else ""

    def _look(self, finding: Finding, source: Source | str) -> Looked | None:
        """Read the code; None when it refutes the finding, or does not confirm what it must."""
        if not isinstance(source, Source):
            return None if finding.confidence == 0 else Looked(finding=finding, validation=source)
        path = source.resolve(finding.place.path)
        finding = replace(finding, place=_in_repository(finding.place, path))
        made = self._made(finding, source)
        if isinstance(made, Declined):
            if made.refuted:
                return None
            return self._improved_or(self._declined(finding, source.repository, made), source, made.why)
        looked = self._proven_patch(finding, source, made)
        return looked if looked.diff else self._improved_or(looked, source, looked.validation)

    def _made(self, finding: Finding, source: Source) -> Patch | Declined:
        if not finding.patcher:
            return Declined(why="this is not a mechanical change")
        return load_patchers().get(finding.patcher)(finding, source)

    def _declined(self, finding: Finding, repository: Repository, why: Declined) -> Looked:
        benefit = finding.benefit
        if why.helps_less and benefit.at_most:
            benefit = replace(benefit, words=benefit.at_most, before_s=0.0, after_s=0.0)
        changed = replace(
            finding,
            place=_placed(finding.place, why.place),
            advice=why.advice or finding.advice,
            confidence=finding.confidence if why.confidence is None else why.confidence,
            benefit=benefit,
        )
        return Looked(finding=changed, repository=repository.name, validation=f"no patch: {why.why}")

    def _proven_patch(self, finding: Finding, source: Source, patch: Patch) -> Looked:
        finding = replace(finding, place=_placed(finding.place, patch.place), confidence=patch.confidence)
        before = {path: source.read(path) or "" for path in patch.files}
        diff = unified(before, patch.files)
        looked = Looked(finding=finding, repository=source.repository.name)
        lines = diff.count("\n")
        if lines > self.configuration.caps.diff_lines:
            return replace(looked, validation=f"no patch: its diff has {lines} lines, caps.diff_lines allows fewer")
        key = sha256("\0".join((source.repository.name, source.commit, finding.service, diff)).encode()).hexdigest()
        if key not in self._proven:
            checked = validate(source, finding.service, diff, patch.files, self.stopping)
            self._proven[key] = (checked.passed, checked.words)
        passed, words = self._proven[key]
        if not passed:
            return replace(looked, validation=f"no patch: the one that was made {words}")
        sure = min(0.99, finding.confidence + (_TESTED if "passes" in words else 0.0))
        return replace(
            looked,
            finding=replace(finding, confidence=round(sure, 2), advice=patch.says),
            diff=diff,
            validation=words,
        )

    def _improved_or(self, looked: Looked, source: Source, why: str) -> Looked:
        """The model's patch where one is configured and its patch is proven, else what there is."""
        finding = looked.finding
        if self.improve is None or not finding.place.path or finding.confidence < LEAST_CONFIDENCE:
            return looked
        key = f"{identity(finding, finding.place.path)} {source.commit}"
        if key not in self._improved:
            made = self.improve(finding, source, why)
            if isinstance(made, Declined):
                tried = replace(looked, validation=f"{looked.validation}; {made.why}")
            else:
                proven = self._proven_patch(finding, source, made)
                tried = (
                    proven if proven.diff else replace(looked, validation=f"{looked.validation}; {proven.validation}")
                )
            self._improved[key] = tried
        tried = self._improved[key]
        return replace(
            tried,
            finding=replace(
                finding, advice=tried.finding.advice, confidence=max(finding.confidence, tried.finding.confidence)
            ),
        )


def identity(finding: Finding, path: str) -> str:
    """Id of a recommendation: rule, service and location, the same in every run and at every version.

    Lines move and versions pass; the file, the function and what it does there stay.
    """
    named = path or finding.place.path
    return str(
        uuid.uuid5(NAMESPACE, "\0".join((finding.rule, finding.service, named, finding.place.name, finding.subject)))
    )


def _in_repository(place: CodePlace, path: str) -> CodePlace:
    """A place with its path from the repository root, and its function without the name of the file's module."""
    if not path:
        return place
    module = path.removesuffix(".py").replace("/", ".") + "."
    return replace(place, path=path, function=place.function.removeprefix(module))


def _placed(told: CodePlace, seen: CodePlace | None) -> CodePlace:
    return told if seen is None else seen


def _record(looked: Looked, asked: Asked, identity_: str, scene: Scene) -> CodeChangeRecommended:
    finding = looked.finding
    benefit = finding.benefit
    return CodeChangeRecommended(
        id=identity_,
        rule=finding.rule,
        service=finding.service,
        title=finding.title,
        location=finding.location(looked.repository),
        evidence=finding.evidence,
        benefit=f"{benefit.words}. {finding.advice}",
        benefit_value=benefit.value,
        benefit_unit=benefit.unit,
        confidence=finding.confidence,
        diff=looked.diff,
        validation=looked.validation,
        incident_id=asked.incident_id if finding.acute else None,
        recommended_at=utc_from_ns(scene.end_ns),
        operation=finding.operation,
        before_s=benefit.before_s,
        after_s=benefit.after_s,
    )


def scheduled(watermark_ns: int, window_s: float) -> Asked:
    """A scheduled run up to a watermark."""
    return Asked(window=Window(start_ns=max(watermark_ns - round(window_s * 1e9), 0), end_ns=watermark_ns))


def around(incident_id: str, services: Sequence[str], began_ns: int, as_of_ns: int, before_s: float) -> Asked:
    """A run around an incident: from before it began to what its investigation has seen."""
    start_ns = max(began_ns - round(before_s * 1e9), 0)
    return Asked(
        window=Window(start_ns=start_ns, end_ns=max(as_of_ns, start_ns + 1)),
        services=tuple(services),
        incident_id=incident_id,
    )
