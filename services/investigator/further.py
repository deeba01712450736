"""Let a model go further beside the service: one at a time, bounded by the wall clock; without it statistics stand."""

import asyncio
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from libs.contracts.investigation import InvestigationCompleted
from libs.errors import InvalidMessage
from libs.observability.log import Logger
from services.investigator.protocol import Investigated, investigation_id
from services.investigator.scene import Scene
from services.investigator.spending import Budget, Spending
from services.investigator.tool_servers import ToolServer

if TYPE_CHECKING:
    from langchain_core.language_models import BaseChatModel
    from langchain_core.tools import BaseTool

    from services.investigator.answer import ModelAnswer

_MOST_REASON: Final = 300
# A server over stdio has 2 s to end after its stdin closed and 2 s after SIGTERM before it is killed.
_LONGEST_CLOSE_S: Final = 6.0
_MOST_ANSWERS: Final = 200  # answers that later looks are fused with; a few kilobytes each
_SHARE_TO_CONNECT: Final = 0.25  # of the time: the rest is the model's
OpenTools = Callable[
    [Sequence[ToolServer], Spending, Callable[[], float]], "AbstractAsyncContextManager[list[BaseTool]]"
]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Asked:
    found: Investigated
    began_s: float
    spending: Spending
    answer: "Future[ModelAnswer]"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Answered:
    answer: "ModelAnswer"
    spending: Spending


class Further:
    """Runs a model on an event loop of its own thread; nothing starts before the first question.

    Args:
        model_name: provider:name.
        seconds: Longest investigation, wall clock: statistics, start of the servers and model together.
        log: Canonical log.
        servers: MCP servers whose tools the model may call.
        open_model: Opens the model by name; None uses LangChain's registry of providers.
        open_tools: Opens the servers' tools; None connects to them.
        timer: Seconds, monotonic.
    """

    def __init__(
        self,
        model_name: str,
        seconds: float,
        log: Logger,
        *,
        servers: Sequence[ToolServer] = (),
        open_model: "Callable[[str, float], BaseChatModel] | None" = None,
        open_tools: OpenTools | None = None,
        timer: Callable[[], float] = time.monotonic,
    ) -> None:
        self._name = model_name
        self._seconds = seconds
        self._log = log
        self._servers = tuple(servers)
        self._open_model = open_model
        self._open_tools = open_tools
        self._timer = timer
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._one_at_a_time: asyncio.Semaphore | None = None
        self._asked: dict[str, _Asked] = {}
        self._answered: dict[str, _Answered] = {}

    def is_asking(self, incident_id: str) -> bool:
        """Whether a question about an incident is under way."""
        return incident_id in self._asked

    def looked_again(self, found: Investigated) -> InvestigationCompleted:
        """The result of a later look that asks no new question, with what the model said before about the incident.

        An answer that is still awaited will be fused with this look instead of the older one.
        """
        incident_id = found.completed.incident_id
        asked, known = self._asked.get(incident_id), self._answered.get(incident_id)
        if asked is not None:
            self._asked[incident_id] = replace(asked, found=found)
        elif known is not None:
            return self._fused(found, known, revision=found.completed.revision, duration_s=found.completed.duration_s)
        return found.completed

    def start(self, scene: Scene, found: Investigated) -> None:
        """Ask about an incident; an older question about it is given up."""
        incident_id = found.completed.incident_id
        self._answered.pop(incident_id, None)
        older = self._asked.pop(incident_id, None)
        if older is not None:
            older.answer.cancel()
        began_s = self._timer()
        left_s = max(self._seconds - found.completed.duration_s, 0.0)
        connect_s = min(Budget(seconds=left_s).connect_s, _SHARE_TO_CONNECT * left_s)
        spending = Spending(budget=Budget(seconds=left_s, connect_s=connect_s), ends_s=began_s + left_s)
        future = asyncio.run_coroutine_threadsafe(self._bounded(scene, found, spending), self._running_loop())
        self._asked[incident_id] = _Asked(found=found, began_s=began_s, spending=spending, answer=future)

    def finished(self) -> list[InvestigationCompleted]:
        """Results since the last call: the model's revision, or the statistical one that says why there is none."""
        done = [incident_id for incident_id, asked in self._asked.items() if asked.answer.done()]
        return [self._result(self._asked.pop(incident_id)) for incident_id in done]

    def answer(self, scene: Scene, found: Investigated) -> InvestigationCompleted:
        """Ask and wait for the result."""
        self.start(scene, found)
        asked = self._asked.pop(found.completed.incident_id)
        asked.answer.exception()  # waits; bounded by `_bounded`
        return self._result(asked)

    def close(self) -> None:
        """Give up what was asked."""
        for asked in self._asked.values():
            asked.answer.cancel()
        self._asked.clear()
        if self._loop is not None and self._thread is not None:
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join(_LONGEST_CLOSE_S + 1.0)
            self._loop = self._thread = None

    async def _bounded(self, scene: Scene, found: Investigated, spending: Spending) -> "ModelAnswer":
        from services.investigator.agent import go_further, open_model, task_text
        from services.investigator.mcp_tools import open_tools

        if self._one_at_a_time is None:
            self._one_at_a_time = asyncio.Semaphore(1)
        opener = self._open_tools or open_tools
        async with asyncio.timeout(spending.budget.seconds), self._one_at_a_time:
            model = (self._open_model or open_model)(self._name, spending.budget.seconds)
            async with opener(self._servers, spending, self._timer) as tools:
                return await go_further(model, task_text(scene, found), tools, spending, self._timer)

    def _result(self, asked: _Asked) -> InvestigationCompleted:
        completed, failure = asked.found.completed, asked.answer.exception()
        duration_s = round(self._timer() - asked.began_s + completed.duration_s, 4)
        revision = completed.revision + 1
        if failure is None:
            known = _Answered(answer=asked.answer.result(), spending=asked.spending)
            return self._fused(asked.found, known, revision=revision, duration_s=duration_s)
        return self._given_up(asked.found, asked.spending, failure, revision=revision, duration_s=duration_s)

    def _fused(
        self, found: Investigated, known: _Answered, *, revision: int, duration_s: float
    ) -> InvestigationCompleted:
        """The look with the model's answer, or with the reason why that cannot be used."""
        from services.investigator.answer import fuse_answer

        noted = _with_notes(found, known.spending)
        incident_id = found.completed.incident_id
        try:
            fused = fuse_answer(noted, known.answer, author=self._name, revision=revision, duration_s=duration_s)
        except InvalidMessage as error:
            self._answered.pop(incident_id, None)
            return self._given_up(found, known.spending, error, revision=revision, duration_s=duration_s)
        self._answered.pop(incident_id, None)
        self._answered[incident_id] = known
        if len(self._answered) > _MOST_ANSWERS:
            self._answered.pop(next(iter(self._answered)))
        return fused

    def _given_up(
        self, found: Investigated, spending: Spending, failure: BaseException, *, revision: int, duration_s: float
    ) -> InvestigationCompleted:
        """The statistical answer with the reason why the model gave none."""
        completed = _with_notes(found, spending).completed
        reason = f"no answer within {self._seconds:.0f} s" if isinstance(failure, TimeoutError) else str(failure)
        reason = " ".join(f"{type(failure).__name__}: {reason}".split())[:_MOST_REASON]
        self._log.warning("model gave no answer", reason=reason, model=self._name)
        return replace(
            completed,
            id=investigation_id(completed.incident_id, revision),
            revision=revision,
            status="partial",
            duration_s=duration_s,
            gaps=(*completed.gaps, f"The model {self._name} was asked and gave no usable answer ({reason})."),
        )

    def _running_loop(self) -> asyncio.AbstractEventLoop:
        if self._loop is None:
            self._loop = asyncio.new_event_loop()
            self._thread = threading.Thread(target=_run, args=(self._loop,), name="model", daemon=True)
            self._thread.start()
        return self._loop


def _with_notes(found: Investigated, spending: Spending) -> Investigated:
    """What the model asked and could not ask, beside what the protocol did."""
    completed = found.completed
    noted = replace(completed, steps=(*completed.steps, *spending.steps), gaps=(*completed.gaps, *spending.gaps))
    return replace(found, completed=noted)


def _run(loop: asyncio.AbstractEventLoop) -> None:
    """Run a loop until it is stopped, let its tasks end (sessions end their processes), and close it."""
    loop.run_forever()
    tasks = asyncio.all_tasks(loop)
    for task in tasks:
        task.cancel()
    if tasks:
        loop.run_until_complete(asyncio.wait(tasks, timeout=_LONGEST_CLOSE_S))
    loop.run_until_complete(loop.shutdown_asyncgens())
    loop.close()
