"""Run a service: signals, health and metrics endpoint, run file, exit code."""

import json
import os
import signal
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Final, Protocol

from prometheus_client import generate_latest

from libs.errors import ConfigurationError, ParamedicError
from libs.service.listening import url_of
from libs.service.platform import Platform, open_platform
from libs.service.settings import Settings, load_settings

PARENT_VARIABLE: Final = "PARAMEDIC_PARENT_PID"
_PARENT_CHECK: Final = threading.Event()  # never set: `wait` is a sleep that ends with the process


class Runnable(Protocol):
    """What `build` returns: a Loop, a web server, or both."""

    def run(self) -> None:
        """Run until `stop`."""
        ...

    def stop(self) -> None:
        """Ask it to end soon; called from a signal handler."""
        ...

    @property
    def state(self) -> str:
        """starting, ready, held or stopped."""
        ...

    @property
    def reason(self) -> str:
        """Why it is held, "" otherwise."""
        ...


def run_service(service: str, build: Callable[[Settings, Platform], Runnable]) -> int:
    """Build and run a service until SIGTERM or SIGINT; the exit code is 0 after a clean stop, 1 after an error."""
    try:
        settings = load_settings()
        platform = open_platform(service, settings)
    except ParamedicError as error:
        print(f"{service}: {error}", flush=True)
        return 2
    try:
        runnable = build(settings, platform)
        health = HealthServer(service, runnable, platform)
    except ParamedicError as error:
        platform.log.error("not started", reason=str(error))
        return 2
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: runnable.stop())
    watch_parent(runnable.stop)
    with health:
        platform.log.info("started", pid=os.getpid())
        try:
            runnable.run()
        except Exception as error:
            platform.log.error("stopped by an error", error=error)
            return 1
    platform.log.info("stopped")
    return 0


def watch_parent(stop: Callable[[], None]) -> None:
    """Stop when the supervisor that started this process is gone, so that even its kill -9 leaves no orphan."""
    if PARENT_VARIABLE not in os.environ:
        return
    expected = int(os.environ[PARENT_VARIABLE])

    def watch() -> None:
        while os.getppid() == expected:
            _PARENT_CHECK.wait(1.0)
        stop()

    threading.Thread(target=watch, name="parent-watch", daemon=True).start()


class HealthServer:
    """GET /livez, /readyz and /metrics, by default on a free loopback port, published in <data_dir>/run/<service>.json.

    Raises:
        ConfigurationError: the address of the settings is taken.
    """

    def __init__(self, service: str, runnable: Runnable, platform: Platform) -> None:
        host, port = platform.settings.health_host, platform.settings.health_port
        self._file = platform.settings.run_dir / f"{service}.json"
        try:
            self._server = ThreadingHTTPServer((host, port), _handler(runnable, platform))
        except OSError as error:
            raise ConfigurationError(
                f"cannot listen on {host}:{port} ({error.strerror or error}); "
                "set PARAMEDIC_HEALTH_PORT to a free port, 0 takes any"
            ) from error
        self._server.daemon_threads = True
        self._url = url_of(host, self._server.socket)

    def __enter__(self) -> "HealthServer":
        threading.Thread(target=self._server.serve_forever, name="health", daemon=True).start()
        write_run_file(self._file, {"pid": os.getpid(), "health": self._url})
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._file.unlink(missing_ok=True)


def write_run_file(path: Path, fields: dict[str, Any]) -> None:
    """Write a run file atomically; fields already there (an address a service published) are kept."""
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        known = json.loads(path.read_text())
        kept = known if known.get("pid") == fields.get("pid") else {}
    except (OSError, ValueError):
        kept = {}
    temporary = path.with_suffix(f".{os.getpid()}.{threading.get_ident()}")
    temporary.write_text(json.dumps({**kept, **fields}))
    temporary.replace(path)


def publish_address(platform: Platform, url: str) -> None:
    """Publish the address that a service listens on in its run file."""
    write_run_file(platform.settings.run_dir / f"{platform.service}.json", {"pid": os.getpid(), "url": url})


def _handler(runnable: Runnable, platform: Platform) -> type[BaseHTTPRequestHandler]:
    class Health(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if self.path == "/metrics":
                self._answer(200, generate_latest(platform.metrics.registry), "text/plain; version=0.0.4")
                return
            if self.path not in ("/livez", "/readyz"):
                self._answer(404, b"{}", "application/json")
                return
            body = json.dumps({"service": platform.service, "state": runnable.state, "reason": runnable.reason})
            ready = self.path == "/livez" or runnable.state == "ready"
            self._answer(200 if ready else 503, body.encode(), "application/json")

        def _answer(self, status: int, body: bytes, content_type: str) -> None:
            self.send_response(status)
            self.send_header("Content-Type", content_type)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:
            """Health checks are not worth a log line."""

    return Health
