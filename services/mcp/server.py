"""The door to the protocol: a toolset as an MCP server, over stdio or as an ASGI application for streamable HTTP.

Source: Model Context Protocol, revision 2025-11-25 (tools, transports); https://modelcontextprotocol.io/specification
"""

import os
import signal
import sys
import time
from collections.abc import Callable, Sequence
from importlib.metadata import PackageNotFoundError, version
from io import TextIOWrapper
from types import TracebackType
from typing import Any, Final

import anyio
from mcp import types
from mcp.server.lowlevel import Server
from mcp.server.stdio import stdio_server
from mcp.server.streamable_http_manager import StreamableHTTPSessionManager
from mcp.server.transport_security import TransportSecuritySettings
from starlette.applications import Starlette
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from libs.errors import ParamedicError
from libs.observability.log import Logger
from services.mcp.answer import Answer
from services.mcp.sources import Sources
from services.mcp.tool import AnyTool, Toolset

PATH: Final = "/mcp"
# Longer than the stores wait for a lock (5 s) plus the slowest question over six hours of telemetry.
_LONGEST_CALL_S: Final = 30.0
_MOST_CALLS: Final = 4  # at a time: each holds a thread and the rows it reads
_MOST_REQUEST_BYTES: Final = 65_536  # every argument is bounded; a page of them is a few hundred bytes
_ONLY_READS: Final = {
    "readOnlyHint": True,
    "destructiveHint": False,
    "idempotentHint": True,
    "openWorldHint": False,
}

ProtocolServer = Server[Any, Any]


def build_server(
    toolset: Toolset, sources: Sources, log: Logger, *, timer: Callable[[], float] = time.perf_counter
) -> ProtocolServer:
    """A server of one toolset.

    Args:
        toolset: Its tools.
        sources: What they read; those of the toolset are opened now, so that a wrong setting shows at start.
        log: One line per call.
        timer: Seconds, for durations.
    """
    tools = dict(toolset.load())
    for name in toolset.sources:
        getattr(sources, name)
    declared = types.ListToolsResult(tools=[declaration(tool) for tool in tools.values()])
    slots = anyio.CapacityLimiter(_MOST_CALLS)

    async def list_tools(_: types.ListToolsRequest) -> types.ServerResult:
        return types.ServerResult(declared)

    async def call_tool(request: types.CallToolRequest) -> types.ServerResult:
        name, given = request.params.name, request.params.arguments or {}
        with _CallLine(log, toolset.name, name, timer) as line:
            tool = tools.get(name)
            if tool is None:
                return _refused(f"no tool {name[:80]!r}; there are {', '.join(tools)}")
            try:
                with anyio.fail_after(_LONGEST_CALL_S):
                    found = await anyio.to_thread.run_sync(
                        tool.run, sources, given, abandon_on_cancel=True, limiter=slots
                    )
            except ParamedicError as error:
                line.fields.update(status="refused", reason=str(error))
                return _refused(str(error))
            except TimeoutError:
                line.fields["status"] = "late"
                return _refused(f"no answer within {_LONGEST_CALL_S:.0f} s: ask for a shorter window or one service")
            result, text_bytes = _result(found)
            line.fields.update(status=found.status, rows=len(found.rows), bytes=text_bytes)
            return types.ServerResult(result)

    server: ProtocolServer = Server(f"paramedic-{toolset.name}", version=_version(), instructions=toolset.instructions)
    server.request_handlers[types.ListToolsRequest] = list_tools
    server.request_handlers[types.CallToolRequest] = call_tool
    return server


def declaration(tool: AnyTool) -> types.Tool:
    """How a tool is announced: name, description, both schemas, and that it only reads."""
    return types.Tool(
        name=tool.name,
        title=tool.title,
        description=tool.description,
        inputSchema=tool.arguments.model_json_schema(),
        outputSchema=tool.result.model_json_schema(mode="serialization"),
        annotations=types.ToolAnnotations(title=tool.title, **_ONLY_READS),
    )


def serve_stdio(server: ProtocolServer) -> None:
    """Speak the protocol over stdin and stdout until stdin ends.

    File descriptor 1 becomes stderr first: whatever else prints, in Python or below it, cannot break into the protocol.
    """
    # Nothing is held that a sudden end could lose, and a reader that waits for stdin cannot be woken.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    sys.stdout.flush()
    protocol = os.dup(sys.stdout.fileno())
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())

    async def serve() -> None:
        with TextIOWrapper(os.fdopen(protocol, "wb"), encoding="utf-8") as out:
            async with stdio_server(stdout=anyio.wrap_file(out)) as (incoming, outgoing):
                await server.run(incoming, outgoing, server.create_initialization_options())

    anyio.run(serve)


def http_app(server: ProtocolServer, *, hosts: Sequence[str]) -> Starlette:
    """The server at `PATH`, stateless: any request may come first, and a restart goes unnoticed.

    Args:
        server: What to serve.
        hosts: Names that requests may be addressed to (Host) and come from (Origin), without port; any other is
            refused, as a page of another site would send that points its own name at this machine.
    """
    names = [f"{name}{port}" for name in hosts for port in ("", ":*")]
    manager = StreamableHTTPSessionManager(
        app=server,
        json_response=True,
        stateless=True,
        security_settings=TransportSecuritySettings(
            enable_dns_rebinding_protection=True,
            allowed_hosts=names,
            allowed_origins=[f"{scheme}://{name}" for scheme in ("http", "https") for name in names],
        ),
        max_request_body_size=_MOST_REQUEST_BYTES,
    )
    # Only POST: a GET would hold a stream open for messages that this server never sends; 405 says so.
    route = Route(PATH, endpoint=_Endpoint(manager), methods=["POST"])
    return Starlette(routes=[route], lifespan=lambda _: manager.run())


class _Endpoint:
    """An ASGI application as the router wants it: a class, not a function of a request."""

    def __init__(self, manager: StreamableHTTPSessionManager) -> None:
        self._manager = manager

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._manager.handle_request(scope, receive, send)


class _CallLine:
    """The canonical log line of a call; a bug flies on, with its traceback in the line."""

    def __init__(self, log: Logger, server: str, tool: str, timer: Callable[[], float]) -> None:
        self._log, self._timer = log, timer
        self.fields: dict[str, Any] = {"mcp.server": server, "mcp.tool": tool[:80], "status": "refused"}

    def __enter__(self) -> "_CallLine":
        self._started_s = self._timer()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        duration_s = round(self._timer() - self._started_s, 4)
        if isinstance(error, Exception):
            self._log.error("tool failed", error=error, **{**self.fields, "status": "bug"}, duration_s=duration_s)
        elif error is None:
            self._log.info("tool called", **self.fields, duration_s=duration_s)


def _version() -> str:
    try:
        return version("paramedic")
    except PackageNotFoundError:  # run from a copied tree, as an image may
        return "unknown"


def _result(found: Answer[Any]) -> tuple[types.CallToolResult, int]:
    """The answer as typed content and, for clients that know no types, as the same JSON in a text."""
    text = found.model_dump_json()
    result = types.CallToolResult(
        content=[types.TextContent(type="text", text=text)],
        structuredContent=found.model_dump(mode="json"),
    )
    return result, len(text.encode())


def _refused(text: str) -> types.ServerResult:
    return types.ServerResult(types.CallToolResult(content=[types.TextContent(type="text", text=text)], isError=True))
