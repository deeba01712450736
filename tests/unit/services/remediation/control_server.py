"""A tiny control API on loopback: a deployment system that really keeps state, for the executor to change."""

import json
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit


@dataclass(slots=True)
class Production:
    """What runs.

    Attributes:
        versions: Versions of catalog, the live one last.
        replicas: Instances of catalog.
        restarts: How often an instance was replaced.
        flag: Whether new-pricing is on.
        done: (path, key) of every request that changed something.
        actors: Who asked for it.
        answers: What to answer instead, one per changing request: a status; 0 drops the connection after doing it.
        plan: Lines to answer to a dry run instead of the true ones.
        ready: Whether instances report ready.
    """

    versions: list[str] = field(default_factory=lambda: ["2.3.0", "2.4.0"])
    replicas: int = 1
    restarts: int = 0
    flag: bool = True
    done: list[tuple[str, str]] = field(default_factory=list)
    actors: list[str] = field(default_factory=list)
    answers: list[int] = field(default_factory=list)
    plan: list[str] | None = None
    ready: bool = True

    def catalog(self) -> dict[str, Any]:
        instances = [{"id": f"catalog-{self.restarts + n + 1}"} for n in range(self.replicas)]
        return {
            "name": "catalog",
            "version": self.versions[-1],
            "previous_version": self.versions[-2] if len(self.versions) > 1 else None,
            "versions": ["2.3.0", "2.4.0"],
            "replicas": self.replicas,
            "instances": instances,
            "ready": self.ready,
        }

    def pricing(self) -> dict[str, Any]:
        return {"name": "new-pricing", "service": "catalog", "description": "", "enabled": self.flag}


class ControlServer:
    """Serves the API in a thread; a context manager."""

    def __init__(self) -> None:
        self.production = Production()
        self._remembered: dict[str, dict[str, Any]] = {}
        self._lock = threading.Lock()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> "ControlServer":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def answer(self, method: str, target: str, body: dict[str, Any], headers: Any) -> tuple[int, dict[str, Any]]:
        """Status (0: hang up) and body of the answer to one request."""
        url, state = urlsplit(target), self.production
        with self._lock:
            if method == "GET":
                return self._show(url.path)
            key, dry_run = headers.get("Idempotency-Key", ""), "dry_run" in parse_qs(url.query)
            if not dry_run and state.answers and state.answers[0] >= 400:
                return state.answers.pop(0), {"error": "told to fail"}
            if key in self._remembered and not dry_run:
                return 200, self._remembered[key]
            status, fields = self._change(url.path, body, dry_run)
            if status == 200 and not dry_run and fields["changed"]:
                state.done.append((url.path, key))
                state.actors.append(headers.get("X-Actor", ""))
                self._remembered[key] = fields
                if state.answers:
                    return state.answers.pop(0), fields
            return status, fields

    def _show(self, path: str) -> tuple[int, dict[str, Any]]:
        if path == "/services/catalog":
            return 200, self.production.catalog()
        if path == "/flags":
            return 200, {"flags": [self.production.pricing()]}
        return 404, {"error": f"unknown: {path}"}

    def _change(self, path: str, body: dict[str, Any], dry_run: bool) -> tuple[int, dict[str, Any]]:
        state = self.production
        was = (list(state.versions), state.replicas, state.restarts, state.flag)
        plan: list[str] = []
        if path == "/services/catalog/deploy":
            if body["version"] not in ("2.3.0", "2.4.0"):
                return 422, {"error": f"catalog has no version {body['version']!r}"}
            if body["version"] != state.versions[-1]:
                plan = [f"start {state.replicas} instance(s) of catalog {body['version']}"]
                state.versions = [*state.versions, body["version"]]
        elif path == "/services/catalog/scale":
            if body["replicas"] != state.replicas:
                plan = [f"catalog: from {state.replicas} to {body['replicas']} instances of {state.versions[-1]}"]
                state.replicas = body["replicas"]
        elif path == "/services/catalog/restart":
            plan = [f"drain and end {one['id']}" for one in state.catalog()["instances"]]
            state.restarts += 1
        elif path == "/flags/new-pricing":
            if body["enabled"] != state.flag:
                plan = ["flag new-pricing of catalog: switched"]
                state.flag = body["enabled"]
        else:
            return 404, {"error": f"unknown: {path}"}
        if dry_run:
            state.versions, state.replicas, state.restarts, state.flag = was
            plan = state.plan if state.plan is not None else plan
        shown = state.pricing() if path.startswith("/flags") else state.catalog()
        return 200, {"changed": bool(plan), "dry_run": dry_run, "plan": plan, "state": shown}

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        server = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                self._answer("GET", {})

            def do_POST(self) -> None:
                self._answer("POST", json.loads(self.rfile.read(int(self.headers["Content-Length"]))))

            def _answer(self, method: str, body: dict[str, Any]) -> None:
                status, fields = server.answer(method, self.path, body, self.headers)
                if status == 0:
                    self.close_connection = True
                    return
                payload = json.dumps(fields).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(payload)))
                self.end_headers()
                self.wfile.write(payload)

            def log_message(self, format: str, *args: Any) -> None:
                """Silent."""

        return Handler
