"""Run a program without a shell: bounded time, bounded output, an environment of its own, and nothing left behind."""

import contextlib
import os
import signal
import subprocess
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from typing import Final

from libs.errors import ParamedicError

MOST_BYTES: Final = 2_000_000
_LOOK_S: Final = 0.2
# Everything else of this process's environment (tokens, keys, addresses) is not for foreign code.
_KEPT: Final = ("PATH", "LANG", "LC_ALL", "TZ", "SYSTEMROOT")


class Stopped(ParamedicError):
    """The service is stopping; what was under way is given up."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """How a program ended.

    Attributes:
        code: Exit code, negative for a signal, 127 when it could not be started.
        output: What it wrote, the end of it when it wrote a lot.
        timed_out: Whether it was ended because its time was up.
    """

    code: int
    output: bytes
    timed_out: bool = False

    @property
    def text(self) -> str:
        """The output as text."""
        return self.output.decode(errors="replace")


def run_program(
    command: Sequence[str],
    *,
    cwd: Path,
    timeout_s: float,
    environment: Mapping[str, str] | None = None,
    given: bytes = b"",
    stopping: Callable[[], bool] = lambda: False,
) -> Ended:
    """Run a program to its end.

    Args:
        command: Program and arguments; no shell sees them.
        cwd: Where it runs.
        timeout_s: Seconds after which it and its children are killed.
        environment: Added to the few variables that are passed on.
        given: Its standard input.
        stopping: Asked every 0.2 s.
    Raises:
        Stopped: `stopping` said so; the program was killed.
    """
    kept = {name: os.environ[name] for name in _KEPT if name in os.environ}
    with tempfile.TemporaryFile() as output, tempfile.TemporaryFile() as source:
        source.write(given)
        source.seek(0)
        try:
            process = subprocess.Popen(
                list(command),
                cwd=cwd,
                stdin=source,
                stdout=output,
                stderr=subprocess.STDOUT,
                env={**kept, **(environment or {})},
                start_new_session=True,
            )
        except OSError as error:
            return Ended(code=127, output=str(error).encode())
        try:
            timed_out = not _wait(process, timeout_s, stopping)
        finally:
            _kill(process)
        size = output.seek(0, os.SEEK_END)
        output.seek(max(0, size - MOST_BYTES))
        return Ended(code=process.returncode, output=output.read(), timed_out=timed_out)


def _wait(process: subprocess.Popen[bytes], timeout_s: float, stopping: Callable[[], bool]) -> bool:
    """Whether it ended in time."""
    until = monotonic() + timeout_s
    while True:
        try:
            process.wait(min(_LOOK_S, max(until - monotonic(), 0.01)))
        except subprocess.TimeoutExpired:
            if stopping():
                raise Stopped("stopping") from None
            if monotonic() >= until:
                return False
            continue
        return True


def _kill(process: subprocess.Popen[bytes]) -> None:
    """End it and whatever it started in its session."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
