"""The only door to LangChain: a chat model that goes further over the same tools, within budgets.

Imported when a model is configured and first used: LangChain costs about a second and 80 MB.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib import resources
from typing import Any, Final

from langchain.agents import create_agent
from langchain.agents.middleware import AgentMiddleware, AgentState, ModelCallLimitMiddleware, ToolCallLimitMiddleware
from langchain.agents.structured_output import ToolStrategy
from langchain.chat_models import init_chat_model
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage
from langchain_core.tools import BaseTool, StructuredTool
from pydantic import Field, create_model

from libs.contracts.investigation import InvestigationCompleted
from libs.errors import InvalidMessage, Unavailable
from libs.runbooks.actions import ACTIONS
from services.investigator.answer import ModelAnswer
from services.investigator.protocol import Investigated
from services.investigator.scene import Scene
from services.investigator.tools.tool import Tool, tools

_MOST_LINE: Final = 400
_FENCES: Final = ("<telemetry>", "</telemetry>")


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """What one investigation may spend.

    Attributes:
        seconds: Wall clock; what is left of it ends the tools' answers, the caller ends the whole.
        model_calls: Calls of the model.
        tool_calls: Calls of tools.
        tokens: Input and output tokens of all calls, as the provider counts them.
    """

    seconds: float
    model_calls: int = 12
    tool_calls: int = 20
    tokens: int = 200_000


class BudgetSpent(Unavailable):
    """The model has used up its tokens or time."""


class _Spending(AgentMiddleware[Any, Any]):
    """Ends the run before a call of the model that the budget does not cover."""

    def __init__(self, budget: Budget, timer: Callable[[], float]) -> None:
        super().__init__()
        self._budget = budget
        self._timer = timer
        self._ends_s = timer() + budget.seconds

    def before_model(self, state: AgentState[Any], runtime: Any) -> None:
        """Refuse when tokens or time are spent; `BudgetSpent` ends the run."""
        used = sum(
            message.usage_metadata["total_tokens"]
            for message in state["messages"]
            if isinstance(message, AIMessage) and message.usage_metadata
        )
        if used >= self._budget.tokens:
            raise BudgetSpent(f"{used} tokens were used, {self._budget.tokens} are allowed")
        if self._timer() >= self._ends_s:
            raise BudgetSpent(f"{self._budget.seconds:.0f} s were used up")

    async def abefore_model(self, state: AgentState[Any], runtime: Any) -> None:
        """The same on an event loop."""
        self.before_model(state, runtime)


def open_model(name: str, seconds: float) -> BaseChatModel:
    """The chat model provider:name; every call of it is bounded by the whole budget."""
    model = init_chat_model(name, timeout=seconds, max_retries=1)
    if not isinstance(model, BaseChatModel):
        raise InvalidMessage(f"{name} is not a chat model; use provider:name")
    return model


async def go_further(
    model: BaseChatModel,
    scene: Scene,
    found: Investigated,
    budget: Budget,
    timer: Callable[[], float] = time.monotonic,
) -> ModelAnswer:
    """Let a model check the statistical ranking with the tools.

    Raises:
        InvalidMessage: it gave no answer of the right shape.
        BudgetSpent: tokens or time are spent.
    """
    agent = create_agent(
        model,
        tools=[_as_langchain(tool, scene) for tool in tools().values()],
        system_prompt=_prompt("system.md"),
        middleware=[
            _Spending(budget, timer),
            ModelCallLimitMiddleware(run_limit=budget.model_calls),
            ToolCallLimitMiddleware(run_limit=budget.tool_calls),
        ],
        response_format=ToolStrategy(ModelAnswer),
    )
    task = task_text(scene, found)
    state = await agent.ainvoke(
        {"messages": [{"role": "user", "content": task}]}, config={"recursion_limit": 8 * budget.model_calls}
    )
    answer = state.get("structured_response")
    if not isinstance(answer, ModelAnswer):
        raise InvalidMessage("it ended without an answer of the right shape")
    return answer


def task_text(scene: Scene, found: Investigated) -> str:
    """The task, with everything that telemetry wrote fenced and bounded."""
    completed = found.completed
    return _prompt("task.md").format(
        number=scene.incident.number,
        as_of=completed.as_of.isoformat(),
        affected=fenced(", ".join(scene.incident.services)),
        services=fenced(", ".join(found.evidence.services()[:150]), most=6000),
        actions=", ".join(sorted(ACTIONS)),
        steps="\n".join(f"- {step.tool} ({step.status}): {fenced(step.finding)}" for step in completed.steps),
        hypotheses=_hypotheses_text(completed),
        gaps="\n".join(f"- {fenced(gap)}" for gap in completed.gaps) or "- none",
    )


def fenced(text: str, most: int = _MOST_LINE) -> str:
    """Text of telemetry for a prompt: one bounded line that cannot close its fence."""
    line = " ".join(text.split())
    while any(fence in line for fence in _FENCES):
        for fence in _FENCES:
            line = line.replace(fence, "")
    return line[:most].replace("{", "(").replace("}", ")")


def _hypotheses_text(completed: InvestigationCompleted) -> str:
    lines = []
    for hypothesis in completed.hypotheses:
        lines.append(
            f"{hypothesis.rank}. {fenced(hypothesis.service)} ({hypothesis.kind}, {hypothesis.confidence:.0%}): "
            f"{fenced(hypothesis.cause)}"
        )
        lines.extend(f"   for: {fenced(line.text)}" for line in hypothesis.evidence_for[:4])
        lines.extend(f"   against: {fenced(line.text)}" for line in hypothesis.evidence_against[:3])
    return "\n".join(lines) or "nothing deviates"


def _as_langchain(tool: Tool[Any], scene: Scene) -> BaseTool:
    """An investigation tool as LangChain sees it; its answer is fenced."""
    fields: dict[str, Any] = {
        name: (str, Field(default="", max_length=200, description=meaning)) for name, meaning in tool.arguments.items()
    }
    schema = create_model(f"{tool.name}_arguments", **fields)

    def ask(**arguments: str) -> str:
        given = {name: value for name, value in arguments.items() if value}
        step = tool.run(scene, given).step
        return f"{step.status}\n<telemetry>\n{fenced(step.finding, most=2000)}\n</telemetry>"

    return StructuredTool.from_function(func=ask, name=tool.name, description=tool.title, args_schema=schema)


def _prompt(name: str) -> str:
    return resources.files("services.investigator.prompts").joinpath(name).read_text(encoding="utf-8")
