"""A small Kibana that imports saved objects as the documentation of 8.19 says, and keeps them in memory."""

import base64
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from email.message import Message
from email.parser import BytesParser
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any
from urllib.parse import parse_qs, urlsplit

TYPES = {"index-pattern", "search", "lens", "dashboard"}
# Kibana looks for these and takes any other reference on trust.
CHECKED = {"index-pattern", "search"}


@dataclass
class FakeKibana:
    """What it has, and how it is to behave.

    Attributes:
        url: Where it listens.
        base_path: server.basePath.
        spaces: Spaces besides the default one.
        authorization: The header that it wants, "" for none.
        starting: How many requests it answers with 503 first.
        page: Answers every request with this HTML instead.
        unknown_types: Types that it does not know.
        stored: Objects by space, type and id.
        requests: Paths that were asked.
    """

    url: str = ""
    base_path: str = ""
    spaces: tuple[str, ...] = ()
    authorization: str = ""
    starting: int = 0
    page: str = ""
    unknown_types: set[str] = field(default_factory=set)
    stored: dict[tuple[str, str, str], dict[str, Any]] = field(default_factory=dict)
    requests: list[str] = field(default_factory=list)

    def answer(self, target: str, headers: Message, body: bytes) -> tuple[int, Any]:
        """Status and body of a POST."""
        self.requests.append(target)
        if self.starting > 0:
            self.starting -= 1
            return 503, "Kibana server is not ready yet"
        if self.page:
            return 200, self.page
        if self.authorization and headers["Authorization"] != self.authorization:
            return 401, _error(401, "Unauthorized", "missing or wrong authentication credentials")
        if not headers["kbn-xsrf"]:
            return 400, _error(400, "Bad Request", "Request must contain a kbn-xsrf header.")
        parts = urlsplit(target)
        spaces = {f"{self.base_path}/api/saved_objects/_import": "default"}
        spaces |= {f"{self.base_path}/s/{name}/api/saved_objects/_import": name for name in self.spaces}
        if parts.path not in spaces:
            return 404, _error(404, "Not Found", "Not Found")
        if parse_qs(parts.query) != {"overwrite": ["true"]}:
            return 400, _error(400, "Bad Request", "conflicts are not expected to be resolved otherwise")
        name, content = _file(headers, body)
        if not name.endswith(".ndjson"):
            return 400, _error(400, "Bad Request", f"Invalid file extension {name}")
        return 200, self._imported(spaces[parts.path], [json.loads(line) for line in content.splitlines()])

    def _imported(self, space: str, objects: list[dict[str, Any]]) -> dict[str, Any]:
        here = {(found["type"], found["id"]) for found in objects}
        here |= {(kind, identity) for where, kind, identity in self.stored if where == space}
        taken, refused = [], []
        for found in objects:
            about = {"type": found["type"], "id": found["id"], "meta": {"title": found["attributes"]["title"]}}
            links = [{"type": link["type"], "id": link["id"]} for link in found["references"]]
            missing = [link for link in links if link["type"] in CHECKED and (link["type"], link["id"]) not in here]
            if found["type"] in self.unknown_types or found["type"] not in TYPES:
                refused.append({**about, "error": {"type": "unsupported_type"}})
            elif missing:
                refused.append({**about, "error": {"type": "missing_references", "references": missing}})
            else:
                key = (space, found["type"], found["id"])
                taken.append({**about, "managed": False, **({"overwrite": True} if key in self.stored else {})})
                self.stored[key] = found
        answer: dict[str, Any] = {"successCount": len(taken), "success": not refused, "warnings": []}
        if taken:
            answer["successResults"] = taken
        if refused:
            answer["errors"] = refused
        return answer


def basic(user: str, password: str) -> str:
    """Header of basic authentication."""
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


def _error(status: int, error: str, message: str) -> dict[str, Any]:
    return {"statusCode": status, "error": error, "message": message}


def _file(headers: Message, body: bytes) -> tuple[str, str]:
    """File name and text of the one part of a multipart body."""
    head = f"Content-Type: {headers['Content-Type']}\r\n\r\n".encode()
    parsed = BytesParser().parsebytes(head + body)
    assert parsed.get_content_type() == "multipart/form-data"
    parts = parsed.get_payload()
    assert isinstance(parts, list)
    [part] = parts
    assert isinstance(part, Message)
    assert part.get_param("name", header="content-disposition") == "file"
    content = part.get_payload(decode=True)
    assert isinstance(content, bytes)
    return part.get_filename() or "", content.decode()


@contextmanager
def running(kibana: FakeKibana) -> Iterator[FakeKibana]:
    """Let it listen on loopback."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            status, answer = kibana.answer(self.path, self.headers, body)
            text = answer if isinstance(answer, str) else json.dumps(answer)
            self.send_response(status)
            self.send_header("Content-Type", "text/plain" if isinstance(answer, str) else "application/json")
            self.end_headers()
            self.wfile.write(text.encode())

        def log_message(self, format: str, *args: Any) -> None:
            """Quiet."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        kibana.url = f"http://127.0.0.1:{server.server_port}{kibana.base_path}"
        try:
            yield kibana
        finally:
            server.shutdown()
            thread.join()
