"""What an investigation tool is, and the registry of them; a new tool is a new file that ends in `register(...)`."""

import importlib
import pkgutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Generic, TypeVar

from libs.contracts.investigation import InvestigationStep, StepStatus
from libs.errors import ConfigurationError, InvalidMessage, NotFound
from services.investigator.scene import Scene

T = TypeVar("T")
MOST_FINDING_CHARACTERS: Final = 600


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer(Generic[T]):
    """What a tool saw.

    Attributes:
        found: False when there was nothing to see, which is evidence too.
        finding: One or two sentences with figures.
        query: What was asked, readable and repeatable.
        part: The typed result.
    """

    found: bool
    finding: str
    query: str
    part: T


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolResult(Generic[T]):
    """A tool's answer as a step of an investigation.

    Attributes:
        step: tool, query, status, duration and finding.
        part: The typed result; None when the tool failed.
    """

    step: InvestigationStep
    part: T | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Tool(Generic[T]):
    """One question.

    Attributes:
        name: Registered name.
        title: What it answers, for people and models.
        ask: The question itself. It may raise `InvalidMessage` for a wrong argument and `NotFound`; `Unavailable`
            passes through, so that the investigation is held and asked again.
        arguments: Meaning of each optional argument, by name.
    """

    name: str
    title: str
    ask: Callable[[Scene, Mapping[str, str]], Answer[T]]
    arguments: Mapping[str, str] = field(default_factory=dict)

    def run(self, scene: Scene, arguments: Mapping[str, str] | None = None) -> ToolResult[T]:
        """Ask; a question that cannot be answered becomes a step with status error."""
        given = dict(arguments or {})
        started_s = scene.timer()
        try:
            unknown = sorted(set(given) - set(self.arguments))
            if unknown:
                raise InvalidMessage(f"{self.name} has no argument {', '.join(unknown)}")
            answer = self.ask(_narrowed(scene, given), given)
        except (InvalidMessage, NotFound) as error:
            query = ", ".join(f"{name}={value}" for name, value in sorted(given.items()))
            return ToolResult(
                step=self._step(query, StepStatus.ERROR, str(error), scene.timer() - started_s), part=None
            )
        status = StepStatus.SUCCESS if answer.found else StepStatus.NO_DATA
        return ToolResult(
            step=self._step(answer.query, status, answer.finding, scene.timer() - started_s), part=answer.part
        )

    def _step(self, query: str, status: StepStatus, finding: str, duration_s: float) -> InvestigationStep:
        return InvestigationStep(
            tool=self.name,
            query=query,
            status=status,
            duration_s=round(max(duration_s, 0.0), 4),
            finding=finding[:MOST_FINDING_CHARACTERS],
        )


def _narrowed(scene: Scene, arguments: Mapping[str, str]) -> Scene:
    """Only the service that is asked for, when one is."""
    service = arguments.get("service", "")
    if not service:
        return scene
    if scene.services and service not in scene.services:
        raise NotFound(f"no service {service[:80]!r} in scope; there are {', '.join(scene.services[:30])}")
    return scene.only((service,))


_TOOLS: dict[str, Tool[Any]] = {}


def register(tool: Tool[T]) -> Tool[T]:
    """Add a tool; `ConfigurationError` when the name is taken."""
    if tool.name in _TOOLS and _TOOLS[tool.name].ask is not tool.ask:
        raise ConfigurationError(f"two investigation tools are named {tool.name}")
    _TOOLS[tool.name] = tool
    return tool


def tools() -> Mapping[str, Tool[Any]]:
    """Every tool of this package by name."""
    package = importlib.import_module("services.investigator.tools")
    for module in pkgutil.iter_modules(package.__path__):
        importlib.import_module(f"{package.__name__}.{module.name}")
    return dict(sorted(_TOOLS.items()))


SERVICE: Final[Mapping[str, str]] = {"service": "only this service.name"}


def where(scene: Scene) -> str:
    """The services in scope, for the text of a query."""
    if not scene.services:
        return "all services"
    shown = ", ".join(scene.services[:6])
    return shown if len(scene.services) <= 6 else f"{shown} and {len(scene.services) - 6} more"
