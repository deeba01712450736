"""Let a model go further beside the service: one at a time, bounded by the wall clock; without it statistics stand."""

import asyncio
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from libs.contracts.investigation import InvestigationCompleted
from libs.errors import InvalidMessage
from libs.observability.log import Logger
from services.investigator.protocol import Investigated, investigation_id
from services.investigator.scene import Scene

if TYPE_CHECKING:
    from langchain_core.language_models import BaseChatModel

    from services.investigator.answer import ModelAnswer

_MOST_REASON: Final = 300
_LONGEST_CLOSE_S: Final = 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class _Asked:
    found: Investigated
    began_s: float
    answer: "Future[ModelAnswer]"


class Further:
    """Runs a model on an event loop of its own thread; nothing starts before the first question.

    Args:
        model_name: provider:name.
        seconds: Longest wait for an answer, wall clock.
        log: Canonical log.
        open_model: Opens the model by name; None uses LangChain's registry of providers.
        timer: Seconds, monotonic.
    """

    def __init__(
        self,
        model_name: str,
        seconds: float,
        log: Logger,
        *,
        open_model: "Callable[[str, float], BaseChatModel] | None" = None,
        timer: Callable[[], float] = time.monotonic,
    ) -> None:
        self._name = model_name
        self._seconds = seconds
        self._log = log
        self._open_model = open_model
        self._timer = timer
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._one_at_a_time: asyncio.Semaphore | None = None
        self._asked: dict[str, _Asked] = {}

    def start(self, scene: Scene, found: Investigated) -> None:
        """Ask about an incident; an older question about it is given up."""
        incident_id = found.completed.incident_id
        older = self._asked.pop(incident_id, None)
        if older is not None:
            older.answer.cancel()
        future = asyncio.run_coroutine_threadsafe(self._bounded(scene, found), self._running_loop())
        self._asked[incident_id] = _Asked(found=found, began_s=self._timer(), answer=future)

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
            self._thread.join(_LONGEST_CLOSE_S)
            self._loop = self._thread = None

    async def _bounded(self, scene: Scene, found: Investigated) -> "ModelAnswer":
        from services.investigator.agent import Budget, go_further, open_model

        if self._one_at_a_time is None:
            self._one_at_a_time = asyncio.Semaphore(1)
        async with asyncio.timeout(self._seconds), self._one_at_a_time:
            model = (self._open_model or open_model)(self._name, self._seconds)
            return await go_further(model, scene, found, Budget(seconds=self._seconds), self._timer)

    def _result(self, asked: _Asked) -> InvestigationCompleted:
        from services.investigator.answer import fuse_answer

        failure = asked.answer.exception()
        duration_s = self._timer() - asked.began_s
        if failure is None:
            try:
                return fuse_answer(asked.found, asked.answer.result(), author=self._name, duration_s=duration_s)
            except InvalidMessage as error:
                failure = error
        reason = f"no answer within {self._seconds:.0f} s" if isinstance(failure, TimeoutError) else str(failure)
        reason = " ".join(f"{type(failure).__name__}: {reason}".split())[:_MOST_REASON]
        self._log.warning("model gave no answer", reason=reason, model=self._name)
        completed = asked.found.completed
        return replace(
            completed,
            id=investigation_id(completed.incident_id, completed.revision + 1),
            revision=completed.revision + 1,
            status="partial",
            gaps=(*completed.gaps, f"The model {self._name} was asked and gave no usable answer ({reason})."),
        )

    def _running_loop(self) -> asyncio.AbstractEventLoop:
        if self._loop is None:
            self._loop = asyncio.new_event_loop()
            self._thread = threading.Thread(target=_run, args=(self._loop,), name="model", daemon=True)
            self._thread.start()
        return self._loop


def _run(loop: asyncio.AbstractEventLoop) -> None:
    """Run a loop until it is stopped, give its tasks one turn to end, and close it."""
    loop.run_forever()
    for task in asyncio.all_tasks(loop):
        task.cancel()
    loop.run_until_complete(asyncio.sleep(0))
    loop.close()
