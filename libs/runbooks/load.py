"""Read runbooks: Markdown files with YAML front matter, checked field by field; errors name the file and the field."""

from pathlib import Path
from typing import Annotated, Final

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from libs.contracts.anomaly import Signal
from libs.contracts.investigation import CauseKind
from libs.contracts.remediation import Mode
from libs.errors import ConfigurationError, InvalidMessage
from libs.runbooks.actions import ACTIONS, INVERSES
from libs.runbooks.parameters import check_template
from libs.runbooks.runbook import Guardrails, ReadOnlyStep, Runbook, Verification

SHIPPED: Final = Path(__file__).parent / "shipped"
_FENCE: Final = "---"
_NAME: Final = r"^[a-z0-9][a-z0-9-]{0,63}$"
_DEFAULT: Final = Guardrails()
# Neither takes tags of Python; libyaml's reads a runbook in a seventh of the time, and the wheels bring it.
_LOADER: Final = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_LARGEST_BYTES: Final = 262_144  # prose of a hundred pages; more is a mistaken path


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class _Match(_Strict):
    cause_kinds: Annotated[list[CauseKind], Field(min_length=1)]
    signals: list[Signal] = []
    services: Annotated[str, Field(min_length=1)] = "*"
    least_confidence: Annotated[float, Field(ge=0, le=1)] = 0.5
    least_lead: Annotated[float, Field(ge=1)] = 1.3
    needs_change: bool = False


class _Guardrails(_Strict):
    max_runs_per_hour: Annotated[int, Field(ge=1)] = _DEFAULT.max_runs_per_hour
    cooldown_s: Annotated[float, Field(ge=0)] = _DEFAULT.cooldown_s
    max_concurrent: Annotated[int, Field(ge=1)] = _DEFAULT.max_concurrent
    human_change_s: Annotated[float, Field(ge=0)] = _DEFAULT.human_change_s
    max_replicas: Annotated[int, Field(ge=1)] | None = None
    max_instances: Annotated[int, Field(ge=1)] | None = None
    healthy_callees: bool = _DEFAULT.healthy_callees


class _Verification(_Strict):
    within_s: Annotated[float, Field(gt=0)] | None = None
    neighbours: bool = True


class _Step(_Strict):
    tool: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$")]
    title: str
    arguments: dict[str, str] = {}


class _FrontMatter(_Strict):
    name: Annotated[str, Field(pattern=_NAME)]
    title: Annotated[str, Field(min_length=1, max_length=120)]
    match: _Match
    action: str
    parameters: dict[str, str] = {}
    mode: Mode
    guardrails: _Guardrails = _Guardrails()
    verification: _Verification = _Verification()
    inverse: str | None = None
    steps: list[_Step] = []


def load_runbooks(*dirs: Path | None) -> list[Runbook]:
    """The shipped runbooks and those of more folders, by name; a later folder replaces a runbook of the same name.

    Raises:
        ConfigurationError: a folder or file cannot be read, or a field is wrong; the text names both.
    """
    found: dict[str, Runbook] = {}
    for folder in (SHIPPED, *(folder for folder in dirs if folder is not None)):
        if not folder.is_dir():
            raise ConfigurationError(f"{folder}: no such folder of runbooks")
        here: dict[str, Runbook] = {}
        for path in sorted(folder.glob("*.md")):
            runbook = read_runbook(path)
            if runbook.name in here:
                raise ConfigurationError(f"{path}: name: {runbook.name} is also in {here[runbook.name].source}")
            here[runbook.name] = runbook
        found |= here
    return [found[name] for name in sorted(found)]


def read_runbook(path: Path) -> Runbook:
    """Read one file; `ConfigurationError` names the file and the field that is wrong."""
    try:
        if path.stat().st_size > _LARGEST_BYTES:
            raise ConfigurationError(f"{path}: more than {_LARGEST_BYTES} bytes; not a runbook")
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{path}: {error}") from error
    return parse_runbook(text, str(path))


def parse_runbook(text: str, source: str) -> Runbook:
    """Read a runbook from its text; `ConfigurationError` names the source and the field that is wrong."""
    header, prose = _split(text, source)
    try:
        fields = yaml.load(header, Loader=_LOADER)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise ConfigurationError(f"{source}: front matter is not YAML: {' '.join(str(error).split())}") from error
    try:
        front = _FrontMatter.model_validate(fields)
    except ValidationError as error:
        problems = "; ".join(
            f"{'.'.join(str(part) for part in problem['loc']) or 'front matter'}: {problem['msg']}"
            for problem in error.errors()
        )
        raise ConfigurationError(f"{source}: {problems}") from error
    _check_action(front, source)
    return _runbook(front, prose, source)


def _split(text: str, source: str) -> tuple[str, str]:
    lines = text.removeprefix("\ufeff").splitlines()
    fences = [number for number, line in enumerate(lines) if line.strip() == _FENCE]
    if len(fences) < 2 or fences[0] != 0:
        raise ConfigurationError(f"{source}: starts with no front matter between two lines of {_FENCE}")
    return "\n".join(lines[1 : fences[1]]), "\n".join(lines[fences[1] + 1 :]).strip() + "\n"


def _check_action(front: _FrontMatter, source: str) -> None:
    spec = ACTIONS.get(front.action)
    if spec is None:
        raise ConfigurationError(f"{source}: action: no action {front.action!r}; there are {', '.join(ACTIONS)}")
    declared = {parameter.name: parameter for parameter in spec.parameters}
    for name, template in front.parameters.items():
        if name not in declared:
            raise ConfigurationError(f"{source}: parameters.{name}: {spec.name} takes {', '.join(declared)}")
        _check_template(template, f"{source}: parameters.{name}")
    missing = [name for name, parameter in declared.items() if parameter.required and name not in front.parameters]
    if missing:
        raise ConfigurationError(f"{source}: parameters.{missing[0]}: {spec.name} needs it")
    for number, step in enumerate(front.steps):
        for name, template in step.arguments.items():
            _check_template(template, f"{source}: steps.{number}.arguments.{name}")
    if front.inverse and (front.inverse not in INVERSES or front.inverse != spec.inverse):
        undo = spec.inverse or "nothing"
        raise ConfigurationError(f"{source}: inverse: {spec.name} is undone by {undo}, not {front.inverse}")
    if not front.match.needs_change and any("{change." in template for template in front.parameters.values()):
        raise ConfigurationError(f"{source}: match.needs_change: must be true where parameters name the change")


def _check_template(template: str, where: str) -> None:
    try:
        check_template(template)
    except InvalidMessage as error:
        raise ConfigurationError(f"{where}: {error}") from error


def _runbook(front: _FrontMatter, prose: str, source: str) -> Runbook:
    inverse = ACTIONS[front.action].inverse if front.inverse is None else front.inverse
    return Runbook(
        name=front.name,
        title=front.title,
        cause_kinds=tuple(front.match.cause_kinds),
        signals=tuple(front.match.signals),
        services=front.match.services,
        least_confidence=front.match.least_confidence,
        least_lead=front.match.least_lead,
        needs_change=front.match.needs_change,
        action=front.action,
        parameters=dict(front.parameters),
        mode=front.mode,
        guardrails=Guardrails(**front.guardrails.model_dump()),
        verification=Verification(**front.verification.model_dump()),
        inverse=inverse,
        steps=tuple(ReadOnlyStep(step.tool, step.title, dict(step.arguments)) for step in front.steps),
        text=prose,
        source=source,
    )
