"""The only door to LangChain: a chat model writes a patch where no patcher does; it is proven like any other.

Imported when a model is configured and first used: LangChain costs about a second and 80 MB.
"""

import asyncio
from collections.abc import Callable
from importlib import resources
from typing import Annotated, Any, Final

from langchain.agents import create_agent
from langchain.agents.middleware import ModelCallLimitMiddleware
from langchain.agents.structured_output import ToolStrategy
from langchain.chat_models import init_chat_model
from langchain_core.language_models import BaseChatModel
from pydantic import BaseModel, ConfigDict, Field

from libs.observability.log import Logger
from services.recommender.patch import Declined, Patch
from services.recommender.rule import Finding
from services.recommender.source import Source
from services.recommender.validate import parse_problem

_SECONDS: Final = 60.0
_MODEL_CALLS: Final = 3
_MOST_TOKENS: Final = 4_000  # of an answer
_MOST_FILE_CHARACTERS: Final = 40_000
_AROUND_LINES: Final = 150
_MOST_LINE: Final = 400
_FENCES: Final = ("<telemetry>", "</telemetry>")


class Edit(BaseModel):
    """One exact replacement."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    path: Annotated[str, Field(max_length=400, description="Path of the file, exactly as given.")]
    find: Annotated[str, Field(min_length=1, max_length=6_000, description="Text of the file, occurring exactly once.")]
    replace: Annotated[str, Field(max_length=12_000, description="What stands there afterwards.")]


class ModelPatch(BaseModel):
    """A change of one file."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    edits: Annotated[list[Edit], Field(max_length=8, description="Edits, none when no small change is right.")]
    explanation: Annotated[str, Field(max_length=800, description="What it does and what to review.")]


class ModelPatcher:
    """Asks a model for a patch, once a finding and revision of the code.

    Args:
        model_name: provider:name.
        log: Canonical log.
        open_model: Opens the model by name; LangChain's registry of providers by default.
        seconds: Longest wait, wall clock.
    """

    def __init__(
        self,
        model_name: str,
        log: Logger,
        *,
        open_model: Callable[[str, float], BaseChatModel] | None = None,
        seconds: float = _SECONDS,
    ) -> None:
        self._name = model_name
        self._log = log
        self._open = open_model or _open_model
        self._seconds = seconds

    def __call__(self, finding: Finding, source: Source, why: str) -> Patch | Declined:
        """A patch of the finding's file, or why there is none; `why` says what the patchers lacked."""
        path = finding.place.path
        text = source.read(path)
        if text is None:
            return Declined(why=f"{self._name} was not asked: {path} cannot be read")
        answered = asyncio.run(self._answer(_task(finding, path, text, why)))
        if not isinstance(answered, ModelPatch):
            reason = " ".join(f"{type(answered).__name__}: {answered}".split())[:200]
            self._log.warning("model gave no patch", model=self._name, reason=reason, rule=finding.rule)
            return Declined(why=f"{self._name} gave no usable answer ({reason})")
        return self._patch(finding, path, text, answered)

    async def _answer(self, task: str) -> ModelPatch | BaseException:
        """The model's answer, or what went wrong: a provider's client raises what it likes."""
        [answered] = await asyncio.gather(self._ask(task), return_exceptions=True)
        return answered

    async def _ask(self, task: str) -> ModelPatch:
        async with asyncio.timeout(self._seconds):
            agent = create_agent(
                self._open(self._name, self._seconds),
                tools=[],
                system_prompt=resources.files("services.recommender.prompts").joinpath("patch.md").read_text("utf-8"),
                middleware=[ModelCallLimitMiddleware(run_limit=_MODEL_CALLS)],
                response_format=ToolStrategy(ModelPatch),
            )
            state: dict[str, Any] = await agent.ainvoke(
                {"messages": [{"role": "user", "content": task}]}, config={"recursion_limit": 8 * _MODEL_CALLS}
            )
        answer = state.get("structured_response")
        if not isinstance(answer, ModelPatch):
            raise ValueError("it ended without an answer of the right shape")
        return answer

    def _patch(self, finding: Finding, path: str, text: str, answer: ModelPatch) -> Patch | Declined:
        explanation = fenced(answer.explanation, most=800)
        if not answer.edits:
            return Declined(why=f"{self._name} proposes no change: {explanation}")
        for edit in answer.edits:
            if edit.path != path:
                return Declined(
                    why=f"the patch of {self._name} was rejected: it changes {edit.path[:80]!r}, not {path}"
                )
            if text.count(edit.find) != 1:
                return Declined(why=f"the patch of {self._name} was rejected: its text is not there exactly once")
            text = text.replace(edit.find, edit.replace)
        problem = parse_problem(path, text)
        if problem:
            return Declined(why=f"the patch of {self._name} was rejected: {problem}")
        says = f"Written by {self._name}: {explanation}"
        return Patch(files={path: text}, says=says, confidence=finding.confidence, place=finding.place)


def fenced(text: str, most: int = _MOST_LINE) -> str:
    """Foreign text for a prompt: one bounded line that cannot close its fence."""
    line = " ".join(text.split())
    while any(fence in line for fence in _FENCES):
        for fence in _FENCES:
            line = line.replace(fence, "")
    return line[:most]


def _task(finding: Finding, path: str, text: str, why: str) -> str:
    evidence = "\n".join(f"- {fenced(line.text)}" for line in finding.evidence)
    return (
        f"Weakness: {finding.rule} in {path}, line {finding.place.line}\n"
        f"<telemetry>\n{fenced(finding.title)}\nfunction {fenced(finding.place.function)}\n{evidence}\n</telemetry>\n"
        f"Advice: {finding.advice}\nNo mechanical patch: {fenced(why)}\n\n"
        f"The file {path}:\n\n{_excerpt(text, finding.place.line)}"
    )


def _excerpt(text: str, line: int) -> str:
    """The file, or the part around the line when it is long."""
    if len(text) <= _MOST_FILE_CHARACTERS:
        return text
    lines = text.splitlines(keepends=True)
    return "".join(lines[max(0, line - _AROUND_LINES) : line + _AROUND_LINES])[:_MOST_FILE_CHARACTERS]


def _open_model(name: str, seconds: float) -> BaseChatModel:
    model = init_chat_model(name, timeout=seconds, max_retries=1, max_tokens=_MOST_TOKENS)
    if not isinstance(model, BaseChatModel):
        raise ValueError(f"{name} is not a chat model; use provider:name")
    return model
