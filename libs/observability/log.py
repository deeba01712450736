"""Structured logs: a stable message, then fields; JSON lines with ECS names on stderr."""

import json
import sys
import threading
import traceback
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, Final, TextIO

_LEVELS: Final = {"debug": 10, "info": 20, "warning": 30, "error": 40}


class Logger:
    """Writes one JSON object a line.

    Args:
        service: service.name of the writer.
        level: Least severe level written.
        stream: Where to; stderr by default.
        clock: Wall clock.
    """

    def __init__(
        self,
        service: str,
        *,
        level: str = "info",
        stream: TextIO | None = None,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._service = service
        self._least = _LEVELS[level]
        self._stream = stream if stream is not None else sys.stderr
        self._clock = clock
        self._lock = threading.Lock()

    def debug(self, message: str, **fields: Any) -> None:
        """For people who develop."""
        self._write("debug", message, fields)

    def info(self, message: str, **fields: Any) -> None:
        """One canonical line per unit of work."""
        self._write("info", message, fields)

    def warning(self, message: str, **fields: Any) -> None:
        """Something an operator may want to look at."""
        self._write("warning", message, fields)

    def error(self, message: str, *, error: BaseException | None = None, **fields: Any) -> None:
        """Something an operator must look at; an exception adds error.type, error.message and error.stack_trace."""
        if error is not None:
            fields["error.type"] = type(error).__name__
            fields["error.message"] = str(error)
            fields["error.stack_trace"] = "".join(traceback.format_exception(error))
        self._write("error", message, fields)

    def _write(self, level: str, message: str, fields: dict[str, Any]) -> None:
        if _LEVELS[level] < self._least:
            return
        line = {
            "@timestamp": self._clock().isoformat(),
            "log.level": level,
            "service.name": self._service,
            "message": message,
            **fields,
        }
        text = json.dumps(line, default=str)
        with self._lock:
            self._stream.write(text + "\n")
            self._stream.flush()
