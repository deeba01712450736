"""The door to MCP servers as their client: their tools, as LangChain sees them, for the length of one investigation.

Each server has a task that holds its session: what opens a session must close it. A server that does not start, does
not answer or ends is a gap of the investigation, never its failure. Names, descriptions and answers are untrusted.
"""

import asyncio
import json
import re
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final

import httpx
from langchain_core.messages import ToolMessage
from langchain_core.tools import BaseTool, StructuredTool
from langchain_mcp_adapters.sessions import Connection, StdioConnection, StreamableHttpConnection, create_session
from langchain_mcp_adapters.tools import load_mcp_tools

from libs.contracts.investigation import InvestigationStep, StepStatus
from libs.observability.untrusted_text import cut_text, visible
from services.investigator.fence import fence, fenced
from services.investigator.spending import Spending
from services.investigator.tool_servers import ToolServer

ANSWER: Final = "ModelAnswer"  # the model gives its answer by a tool of this name; no server may take it
_NAME: Final = re.compile(r"[A-Za-z0-9_-]{1,64}")  # what every provider accepts
_MOST_DESCRIPTION: Final = 2_000
_MOST_SCHEMA_BYTES: Final = 16_384
_MOST_FINDING: Final = 400
_MOST_REASON: Final = 200
_READ: Final = 4  # times as many characters as an answer may show are looked at


@dataclass(frozen=True, slots=True, kw_only=True)
class _Session:
    """A server whose session is held open.

    Attributes:
        server: The server.
        held: The task that holds it; done when the session has ended.
        listed: Its tools.
    """

    server: ToolServer
    held: "asyncio.Task[None]"
    listed: "asyncio.Future[list[BaseTool]]"


@asynccontextmanager
async def open_tools(
    servers: Sequence[ToolServer], spending: Spending, timer: Callable[[], float] = time.monotonic
) -> AsyncIterator[list[BaseTool]]:
    """Tools of all servers that answer in time; the sessions end with the block, without keeping its result waiting.

    Args:
        servers: Earlier ones keep a name that later ones have as well.
        spending: What may be asked; gaps and steps are noted in it.
        timer: Seconds, for the durations of steps.
    """
    over = asyncio.Event()
    sessions = [_open(server, over) for server in servers]
    try:
        if sessions:
            await asyncio.wait([session.listed for session in sessions], timeout=spending.budget.connect_s)
        tools: dict[str, BaseTool] = {}
        for session in sessions:
            for tool in _listed(session, spending):
                if tool.name in tools or tool.name == ANSWER:
                    spending.gap(f"The tool {tool.name} of {session.server.name} was left out: its name is taken.")
                else:
                    tools[tool.name] = _guarded(tool, session, spending, timer)
        yield list(tools.values())
    finally:
        over.set()
        for session in sessions:
            if not session.listed.done():
                session.held.cancel()


def _open(server: ToolServer, over: asyncio.Event) -> _Session:
    listed: asyncio.Future[list[BaseTool]] = asyncio.get_running_loop().create_future()
    held = asyncio.create_task(_hold(server, listed, over), name=f"mcp-{server.name}")

    def ended(task: "asyncio.Task[None]") -> None:
        error = None if task.cancelled() else task.exception()  # taken, so that it is not told at the end of the loop
        if not listed.done():
            listed.set_exception(error or ConnectionError("it was given up"))
            listed.exception()

    held.add_done_callback(ended)
    return _Session(server=server, held=held, listed=listed)


async def _hold(server: ToolServer, listed: "asyncio.Future[list[BaseTool]]", over: asyncio.Event) -> None:
    async with create_session(_connection(server)) as session:
        await session.initialize()
        listed.set_result(await load_mcp_tools(session, server_name=server.name))
        await over.wait()


def _connection(server: ToolServer) -> Connection:
    if server.command:
        # Of this process's environment only PATH, HOME and the like reach the server: no key of a model provider.
        return StdioConnection(transport="stdio", command=server.command, args=list(server.args), env=dict(server.env))
    return StreamableHttpConnection(
        transport="streamable_http", url=server.url, headers=dict(server.headers), httpx_client_factory=_http_client
    )


def _http_client(
    headers: dict[str, str] | None = None, timeout: httpx.Timeout | None = None, auth: httpx.Auth | None = None
) -> httpx.AsyncClient:
    """A client that follows no redirect: headers with secrets go to the configured address only."""
    return httpx.AsyncClient(headers=headers, timeout=timeout, auth=auth, follow_redirects=False)


def _listed(session: _Session, spending: Spending) -> list[BaseTool]:
    """The tools of a server that may be used; a gap says why there are none, or which are missing."""
    server = session.server
    if not session.listed.done():
        seconds = spending.budget.connect_s
        spending.gap(f"The MCP server {server.name} was not asked: no answer within {seconds:.0f} s of its start.")
        return []
    error = session.listed.exception()
    if error is not None:
        spending.gap(f"The MCP server {server.name} was not asked: {_reason(server, error)}.")
        return []
    listed = session.listed.result()
    if server.tools is None:
        return listed
    missing = sorted(server.tools - {tool.name for tool in listed})
    if missing:
        spending.gap(f"The MCP server {server.name} has no tool {fenced(', '.join(missing), 200)}.")
    return [tool for tool in listed if tool.name in server.tools and _fits(tool, server, spending)]


def _fits(tool: BaseTool, server: ToolServer, spending: Spending) -> bool:
    schema_bytes = len(json.dumps(tool.args_schema, default=str).encode())
    if (tool.metadata or {}).get("readOnlyHint") is False:
        why = "it says of itself that it changes things"
    elif not _NAME.fullmatch(tool.name):
        why = "no model accepts such a name"
    elif schema_bytes > _MOST_SCHEMA_BYTES:
        why = f"its schema has {schema_bytes} bytes, {_MOST_SCHEMA_BYTES} are allowed"
    else:
        return True
    spending.gap(f"The tool {fenced(tool.name, 80)} of {server.name} was left out: {why}.")
    return False


def _guarded(tool: BaseTool, session: _Session, spending: Spending, timer: Callable[[], float]) -> BaseTool:
    """The tool under the shared budgets; whatever happens to its server, the model gets a text."""

    async def ask(**arguments: Any) -> str:
        refused = spending.take_call()
        if refused:
            return refused
        began_s = timer()
        status, finding, text = await _ask(tool, session, spending, arguments)
        spending.steps.append(
            InvestigationStep(
                tool=f"{session.server.name}.{tool.name}",
                query=fenced(json.dumps(arguments, default=str), 300),
                status=status,
                duration_s=round(max(timer() - began_s, 0.0), 4),
                finding=fenced(finding, _MOST_FINDING),
            )
        )
        return f"{status}\n{fence(text, spending.take_text(len(text)))}"

    return StructuredTool(
        name=tool.name,
        description=cut_text(tool.description, _MOST_DESCRIPTION),
        args_schema=tool.args_schema or {},
        coroutine=ask,
    )


async def _ask(
    tool: BaseTool, session: _Session, spending: Spending, arguments: dict[str, Any]
) -> tuple[StepStatus, str, str]:
    """Status, one line and text of an answer."""
    server, seconds = session.server, spending.budget.call_s
    call = {"name": tool.name, "args": arguments, "id": tool.name, "type": "tool_call"}
    asked = asyncio.ensure_future(tool.ainvoke(call))
    try:
        await asyncio.wait([asked, session.held], timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        if asked.done() and asked.exception() is None:
            return _told(asked.result(), server, most=_READ * spending.budget.answer_characters)
        if asked.done():
            why = _reason(server, asked.exception())
        else:
            why = "the server has ended" if session.held.done() else f"no answer within {seconds:.0f} s"
    finally:
        asked.cancel()
    spending.gap(f"{server.name}.{tool.name} could not be asked: {why}.")
    return StepStatus.ERROR, why, f"{why}; go on without this tool"


def _told(message: ToolMessage, server: ToolServer, *, most: int) -> tuple[StepStatus, str, str]:
    """Status, one line and text of an answer, of which at most so many characters are looked at."""
    blocks = [message.content] if isinstance(message.content, str) else message.content
    texts = [block if isinstance(block, str) else str(block.get("text", "[not a text]")) for block in blocks]
    text = visible(server.redacted("\n".join(texts)[:most]))
    if message.status == "error":
        return StepStatus.ERROR, text, text
    artifact = message.artifact if isinstance(message.artifact, dict) else {}
    content = artifact.get("structured_content") or {}
    status = StepStatus.NO_DATA if content.get("status") == StepStatus.NO_DATA.value else StepStatus.SUCCESS
    summary = content.get("summary")
    return status, server.redacted(summary[:most]) if isinstance(summary, str) else text, text


def _reason(server: ToolServer, error: BaseException | None) -> str:
    """The first error within a group, in one bounded line without secrets."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return fenced(server.redacted(f"{type(error).__name__}: {error}"), _MOST_REASON)
