"""A cluster in memory that answers as it is told: the transport below the client is replaced, nothing else."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import unquote

import msgspec
from elastic_transport import ApiResponseMeta, BaseNode, HttpHeaders, NodeConfig
from elastic_transport._node._base import NodeApiResponse

from libs.stores.elastic_options import ElasticOptions

Answer = tuple[int, Any] | Exception
MODULES: Final = ("transport-netty4", "x-pack-core")


@dataclass
class FakeCluster:
    """What was asked, and what is answered.

    Attributes:
        version: Of its one node.
        modules: Of its one node.
        answer: Answers everything but the nodes API and what `prepare` puts in place; None means 200 and {}.
        asked: Method, path and decoded body of each request, in order.
        headers: Headers of each request.
        pauses: Waits between attempts, seconds.
        down: Raised by every request while it is set.
    """

    version: str = "8.19.9"
    modules: tuple[str, ...] = MODULES
    answer: Callable[[str, str, Any], Answer | None] = lambda *_: None
    asked: list[tuple[str, str, Any]] = field(default_factory=list)
    headers: list[Mapping[str, str]] = field(default_factory=list)
    pauses: list[float] = field(default_factory=list)
    down: Exception | None = None

    def options(self, **changes: Any) -> ElasticOptions:
        """How to reach it."""
        cluster = self

        class Node(BaseNode):
            def __init__(self, config: NodeConfig) -> None:
                super().__init__(config)

            def perform_request(
                self, method: str, target: str, body: bytes | None = None, headers: Any = None, request_timeout: Any = 0
            ) -> NodeApiResponse:
                status, answered = cluster.handle(method, target, body, headers or {})
                fields = HttpHeaders({"x-elastic-product": "Elasticsearch", "content-type": "application/json"})
                meta = ApiResponseMeta(
                    status=status, http_version="1.1", headers=fields, duration=0.0, node=self.config
                )
                return NodeApiResponse(meta, msgspec.json.encode(answered))

            def close(self) -> None:
                pass

        fields: dict[str, Any] = {
            "addresses": ("http://cluster:9200",),
            "node_class": Node,
            "sleep": self.pauses.append,
        }
        return ElasticOptions(**{**fields, **changes})

    def handle(self, method: str, target: str, body: bytes | None, headers: Mapping[str, str]) -> tuple[int, Any]:
        """Status and body of one request."""
        if self.down is not None:
            raise self.down
        path = unquote(target.split("?")[0])
        lines = [msgspec.json.decode(line) for line in (body or b"").splitlines() if line]
        decoded = lines if path.endswith("/_bulk") else lines[0] if lines else None
        self.asked.append((method, path, decoded))
        self.headers.append(dict(headers))
        if path == "/_nodes":
            modules = [{"name": name} for name in self.modules]
            return 200, {"nodes": {"n": {"version": self.version, "modules": modules}}}
        told = self.answer(method, path, decoded)
        if isinstance(told, Exception):
            raise told
        return told if told is not None else (200, {})

    def paths(self, method: str) -> list[str]:
        """Paths of requests of a method."""
        return [path for verb, path, _ in self.asked if verb == method]


def refusal(kind: str, reason: str) -> dict[str, Any]:
    """An error as the server words it."""
    cause = {"type": kind, "reason": reason}
    return {"error": {**cause, "root_cause": [cause]}}
