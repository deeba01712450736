"""The door to LangChain: a chat model that goes further over the tools of MCP servers, within budgets.

Imported when a model is configured and first used: LangChain costs about a second and 80 MB.
"""

from collections.abc import Callable, Sequence
from importlib import resources
from typing import Any, Final

from langchain.agents import create_agent
from langchain.agents.middleware import AgentMiddleware, AgentState, ModelCallLimitMiddleware
from langchain.agents.structured_output import ToolStrategy
from langchain.chat_models import init_chat_model
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage
from langchain_core.tools import BaseTool

from libs.contracts.investigation import InvestigationCompleted
from libs.errors import InvalidMessage
from libs.runbooks.actions import ACTIONS
from services.investigator.answer import ModelAnswer
from services.investigator.fence import fenced
from services.investigator.protocol import Investigated
from services.investigator.scene import Scene
from services.investigator.spending import BudgetSpent, Spending

_MOST_SERVICES: Final = 150


class _Ends(AgentMiddleware[Any, Any]):
    """Ends the run before a call of the model that the budget does not cover."""

    def __init__(self, spending: Spending, timer: Callable[[], float]) -> None:
        super().__init__()
        self._spending = spending
        self._timer = timer

    def before_model(self, state: AgentState[Any], runtime: Any) -> None:
        """Refuse when tokens or time are spent; `BudgetSpent` ends the run."""
        used = sum(
            message.usage_metadata["total_tokens"]
            for message in state["messages"]
            if isinstance(message, AIMessage) and message.usage_metadata
        )
        budget = self._spending.budget
        if used >= budget.tokens:
            raise BudgetSpent(f"{used} tokens were used, {budget.tokens} are allowed")
        if self._timer() >= self._spending.ends_s:
            raise BudgetSpent(f"{budget.seconds:.0f} s were used up")

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
    task: str,
    tools: Sequence[BaseTool],
    spending: Spending,
    timer: Callable[[], float],
) -> ModelAnswer:
    """Let a model check the statistical ranking with tools.

    Raises:
        InvalidMessage: it gave no answer of the right shape.
        BudgetSpent: tokens or time are spent.
    """
    budget = spending.budget
    agent = create_agent(
        model,
        tools=list(tools),
        system_prompt=_prompt("system.md"),
        middleware=[_Ends(spending, timer), ModelCallLimitMiddleware(run_limit=budget.model_calls)],
        response_format=ToolStrategy(ModelAnswer),
    )
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
        started=scene.incident.started_at.isoformat(),
        affected=fenced(", ".join(scene.incident.services)),
        services=fenced(", ".join(found.evidence.services()[:_MOST_SERVICES]), most=6000),
        actions=", ".join(sorted(ACTIONS)),
        steps="\n".join(f"- {step.tool} ({step.status}): {fenced(step.finding)}" for step in completed.steps),
        hypotheses=_hypotheses_text(completed),
        gaps="\n".join(f"- {fenced(gap)}" for gap in completed.gaps) or "- none",
    )


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


def _prompt(name: str) -> str:
    return resources.files("services.investigator.prompts").joinpath(name).read_text(encoding="utf-8")
