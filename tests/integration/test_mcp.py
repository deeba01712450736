"""The MCP servers as a client of the official SDK sees them, over stdio and streamable HTTP, on real stores."""

import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

import anyio
import httpx
import pytest
import typer
from langchain_mcp_adapters.client import MultiServerMCPClient
from mcp import ClientSession, StdioServerParameters
from mcp.client.stdio import stdio_client
from mcp.client.streamable_http import streamable_http_client
from mcp.types import CallToolResult, TextContent
from typer.testing import CliRunner

from paramedic.commands import mcp as mcp_command
from services.mcp.bounds import MOST_ANSWER_BYTES
from services.mcp.tool import TOOLSETS
from tests.unit.services.mcp.shop import NUMBER, ORDER, fill_incidents, fill_telemetry, open_shop

ROOT: Final = Path(__file__).resolve().parents[2]
TOKEN: Final = "s3cret"
# The command exactly as the console script registers it.
COMMAND: Final = (
    "import typer; from paramedic.commands import mcp; app = typer.Typer(); app.callback()(lambda: None); "
    "mcp.register(app); {before}; app()"
)
INITIALIZE: Final = {
    "jsonrpc": "2.0",
    "id": 1,
    "method": "initialize",
    "params": {"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}},
}
JSON: Final = {"Accept": "application/json, text/event-stream", "Content-Type": "application/json"}
servers = pytest.mark.parametrize("server", sorted(TOOLSETS))


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("mcp")
    platform = open_shop(folder)
    fill_telemetry(platform)
    fill_incidents(platform)
    platform.telemetry.close()
    platform.incidents.close()
    return folder


def environment(data_dir: Path, **more: str) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PARAMEDIC_")}
    return {**kept, "PARAMEDIC_DATA_DIR": str(data_dir), "PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "error", **more}


def arguments(*words: str, before: str = "pass") -> list[str]:
    return ["-c", COMMAND.format(before=before), "mcp", *words]


@asynccontextmanager
async def over_stdio(data_dir: Path, server: str, *, before: str = "pass") -> AsyncIterator[ClientSession]:
    parameters = StdioServerParameters(
        command=sys.executable, args=arguments(server, before=before), env=environment(data_dir), cwd=data_dir
    )
    with Path(os.devnull).open("w") as log:
        async with (
            stdio_client(parameters, errlog=log) as (incoming, outgoing),
            ClientSession(incoming, outgoing, read_timeout_seconds=timedelta(seconds=30)) as session,
        ):
            yield session


@contextmanager
def http_servers(data_dir: Path, *names: str, **settings: str) -> Iterator[dict[str, str]]:
    """URL of each server; they start beside one another and must stop cleanly."""
    processes = [
        subprocess.Popen(
            [sys.executable, *arguments(name, "--http")],
            env=environment(data_dir, **settings),
            cwd=data_dir,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        for name in names
    ]
    try:
        yield {name: _told_url(process) for name, process in zip(names, processes, strict=True)}
        for process in processes:
            process.terminate()
        assert [process.wait(timeout=20) for process in processes] == [0] * len(processes)
    finally:
        for process in processes:
            process.kill()
            process.communicate()


def _told_url(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    line = process.stdout.readline()
    assert "http" in line, "the server did not start"
    return line.split()[1]


@pytest.fixture(scope="module")
def urls(data_dir: Path) -> Iterator[dict[str, str]]:
    with http_servers(data_dir, *TOOLSETS) as started:
        yield started


@asynccontextmanager
async def over_http(url: str, token: str = "") -> AsyncIterator[ClientSession]:
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    async with (
        httpx.AsyncClient(headers=headers, timeout=30) as client,
        streamable_http_client(url, http_client=client) as (incoming, outgoing, _),
        ClientSession(incoming, outgoing, read_timeout_seconds=timedelta(seconds=30)) as session,
    ):
        yield session


def text_of(result: CallToolResult) -> str:
    (content,) = result.content
    assert isinstance(content, TextContent)
    return content.text


ASKED: Final[dict[str, tuple[str, dict[str, Any]]]] = {
    "observability": ("get_requests", {"last_s": 300}),
    "incidents": ("get_incident", {"incident": NUMBER}),
    "runbooks": ("match_runbooks", {"incident": NUMBER}),
}


async def exercise(session: ClientSession, server: str) -> None:
    """What every server does over every transport; the session checks results against the announced schemas."""
    start = await session.initialize()
    assert start.serverInfo.name == f"paramedic-{server}"
    assert "never as instructions" in (start.instructions or "")
    listed = (await session.list_tools()).tools
    assert {tool.name for tool in listed} == set(TOOLSETS[server].load().names())
    assert all(tool.annotations and tool.annotations.readOnlyHint and tool.outputSchema for tool in listed)

    tool, given = ASKED[server]
    answer = await session.call_tool(tool, given)
    assert not answer.isError
    content = json.loads(text_of(answer))
    assert answer.structuredContent == content
    assert content["status"] == "success"
    assert content["rows"][0]["service"] == "catalog"

    wrong = await session.call_tool(tool, {"limit": 10_000, "colour": "red"})
    assert wrong.isError
    assert "limit" in text_of(wrong)
    assert "colour" in text_of(wrong)
    unknown = await session.call_tool("restart_service", {})
    assert unknown.isError
    assert tool in text_of(unknown)


@servers
def test_every_server_answers_over_stdio(data_dir: Path, server: str) -> None:
    async def talk() -> None:
        async with over_stdio(data_dir, server) as session:
            await exercise(session, server)

    anyio.run(talk)


@servers
def test_every_server_answers_over_http(urls: dict[str, str], server: str) -> None:
    async def talk() -> None:
        async with over_http(urls[server]) as session:
            await exercise(session, server)

    anyio.run(talk)


def test_both_transports_give_the_same_answer(data_dir: Path, urls: dict[str, str]) -> None:
    async def ask(session: ClientSession) -> CallToolResult:
        await session.initialize()
        return await session.call_tool("get_trace", {"trace_id": f"{500:032x}"})

    async def talk() -> tuple[CallToolResult, CallToolResult]:
        async with over_http(urls["observability"]) as http, over_stdio(data_dir, "observability") as stdio:
            return await ask(http), await ask(stdio)

    first, second = anyio.run(talk)
    assert first == second
    assert ORDER in text_of(first)


def test_a_client_pages_through_everything(urls: dict[str, str]) -> None:
    async def talk() -> list[str]:
        async with over_http(urls["observability"]) as session:
            await session.initialize()
            bodies: list[str] = []
            asked: dict[str, Any] | None = {"service": "catalog", "limit": 200}
            while asked is not None:
                answer = await session.call_tool("find_logs", asked)
                assert len(text_of(answer).encode()) <= MOST_ANSWER_BYTES
                content = answer.structuredContent or {}
                bodies += [row["body"] for row in content["rows"]]
                asked = content["cut"] and content["cut"]["next_arguments"]
            return bodies

    bodies = anyio.run(talk)
    assert len(bodies) == len(set(bodies)) == 630


def test_many_calls_at_once_are_all_answered(urls: dict[str, str]) -> None:
    async def talk() -> list[CallToolResult]:
        answers: list[CallToolResult] = []
        async with over_http(urls["observability"]) as session:
            await session.initialize()

            async def ask(order: str) -> None:
                answers.append(await session.call_tool("find_traces", {"order": order, "limit": 5}))

            async with anyio.create_task_group() as group:
                for order in ("slowest", "newest", "oldest") * 6:
                    group.start_soon(ask, order)
        return answers

    answers = anyio.run(talk)
    assert len(answers) == 18
    assert not any(answer.isError for answer in answers)


def test_what_prints_to_stdout_does_not_break_the_protocol(data_dir: Path) -> None:
    planted = (
        "from services.mcp.tools.observability import list_services as m; import os; inner = m.TOOL.ask; "
        "noisy = lambda s, a: (print('noise', flush=True), os.write(1, b'noise below python\\n'), inner(s, a))[2]; "
        "object.__setattr__(m.TOOL, 'ask', noisy)"
    )

    async def talk() -> CallToolResult:
        async with over_stdio(data_dir, "observability", before=planted) as session:
            await session.initialize()
            return await session.call_tool("list_services", {})

    assert not anyio.run(talk).isError


def test_stdout_holds_nothing_but_protocol_and_garbage_on_stdin_is_survived(data_dir: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, *arguments("runbooks")],
        env=environment(data_dir),
        cwd=data_dir,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    try:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(b"not json\n\xff\xfe\n{}\n" + json.dumps(INITIALIZE).encode() + b"\n")
        process.stdin.flush()
        lines: list[Any] = []
        while not lines or lines[-1].get("id") != 1:
            lines.append(json.loads(process.stdout.readline()))
        rest, _ = process.communicate(timeout=20)  # closes stdin, which ends the server
        assert process.returncode == 0
    finally:
        process.kill()
        process.communicate()
    assert all(line["jsonrpc"] == "2.0" for line in [*lines, *map(json.loads, rest.splitlines())])


def test_a_bug_in_a_tool_is_an_error_of_the_protocol_and_the_next_call_works(data_dir: Path) -> None:
    planted = (
        "from services.mcp.tools.observability import list_services as m; "
        "object.__setattr__(m.TOOL, 'ask', lambda s, a: 1 / 0)"
    )

    async def talk() -> CallToolResult:
        async with over_stdio(data_dir, "observability", before=planted) as session:
            await session.initialize()
            with pytest.raises(Exception, match="division by zero"):
                await session.call_tool("list_services", {})
            return await session.call_tool("get_topology", {})

    assert not anyio.run(talk).isError


def test_foreign_hosts_and_origins_are_refused(urls: dict[str, str]) -> None:
    url = urls["runbooks"]
    with httpx.Client(headers=JSON) as client:
        assert client.post(url, json=INITIALIZE).status_code == 200
        port = httpx.URL(url).port
        assert client.post(url, json=INITIALIZE, headers={"Host": f"localhost:{port}"}).status_code == 200
        assert client.post(url, json=INITIALIZE, headers={"Host": f"rebound.example:{port}"}).status_code == 421
        assert client.post(url, json=INITIALIZE, headers={"Origin": "https://evil.example"}).status_code == 403
        assert client.post(url, json=INITIALIZE, headers={"Origin": f"http://127.0.0.1:{port}"}).status_code == 200
        assert client.get(url).status_code == 405
        assert client.post(url, content=b"x" * 100_000).status_code == 413
        assert client.post(url, content=b"not json").status_code == 400


def test_a_token_that_is_set_is_asked_for(data_dir: Path) -> None:
    async def talk(url: str) -> None:
        async with over_http(url, TOKEN) as session:
            await exercise(session, "runbooks")

    with http_servers(data_dir, "runbooks", PARAMEDIC_API_TOKEN=TOKEN) as started:
        anyio.run(talk, started["runbooks"])
        refused = httpx.post(started["runbooks"], json=INITIALIZE, headers=JSON)
        assert (refused.status_code, refused.headers["www-authenticate"]) == (401, "Bearer")


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("observability", "--http", "--host", "0.0.0.0"), "PARAMEDIC_API_TOKEN"),
        (("everything",), "observability, incidents, runbooks"),
        (("observability", "--port", "80"), "need --http"),
    ],
)
def test_a_wrong_start_says_what_to_do(
    data_dir: Path, words: tuple[str, ...], told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(data_dir)
    monkeypatch.setenv("PARAMEDIC_DATA_DIR", str(data_dir))
    monkeypatch.setenv("COLUMNS", "300")
    monkeypatch.delenv("PARAMEDIC_API_TOKEN", raising=False)
    app = typer.Typer()
    app.callback()(lambda: None)
    mcp_command.register(app)
    done = CliRunner().invoke(app, ["mcp", *words])
    assert done.exit_code != 0
    assert told in f"{done.output} {done.exception}"


def test_langchain_adapters_turn_the_tools_into_tools_of_an_agent(urls: dict[str, str]) -> None:
    async def talk() -> tuple[set[str], str]:
        connection: Any = {
            "transport": "streamable_http",
            "url": urls["observability"],
        }
        tools = await MultiServerMCPClient({"observability": connection}).get_tools()
        requests = next(tool for tool in tools if tool.name == "get_requests")
        return {tool.name for tool in tools}, json.dumps(await requests.ainvoke({"last_s": 300}), default=str)

    names, answer = anyio.run(talk)
    assert names == set(TOOLSETS["observability"].load().names())
    assert "catalog" in answer
