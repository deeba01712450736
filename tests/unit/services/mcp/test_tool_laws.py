"""Every tool of every server keeps the laws; a new tool is under them by being a file."""

import pkgutil
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any

import pytest
from pydantic import Field

from libs.errors import ConfigurationError, InvalidMessage
from libs.service.platform import Platform
from services.mcp.answer import Answer, Arguments, Row
from services.mcp.bounds import MOST_ANSWER_BYTES
from services.mcp.server import declaration
from services.mcp.sources import Sources
from services.mcp.tool import TOOLSETS, AnyTool, Tool, register
from tests.unit.services.mcp.hostile import fill_hostile
from tests.unit.services.mcp.shop import NUMBER, TRACE, open_shop
from tests.unit.services.mcp.tool_laws import problems

TOOLS: list[AnyTool] = [tool for toolset in TOOLSETS.values() for _, tool in toolset.load()]
# What a required argument is given; a tool with another one names a value here.
KNOWN: Mapping[str, Any] = {
    "service": "catalog",
    "metric": "process.memory.usage",
    "trace_id": TRACE,
    "incident": NUMBER,
    "name": "roll-back-deploy",
}
# The others ask for an incident or runbook by name, which is refused with those that exist, or for what is shipped.
ASK_STORES = [
    tool
    for tool in TOOLS
    if not {"incident", "name"} & set(tool.arguments.model_fields) and tool.name != "list_runbooks"
]
every_tool = pytest.mark.parametrize("tool", TOOLS, ids=lambda tool: tool.name)


def arguments(tool: AnyTool, **more: Any) -> dict[str, Any]:
    required = [name for name, field in tool.arguments.model_fields.items() if field.is_required()]
    return {name: KNOWN[name] for name in required} | more


@every_tool
def test_a_tool_is_bounded_typed_described_and_honest_about_its_texts(tool: AnyTool) -> None:
    assert problems(tool) == []


@every_tool
def test_a_tool_is_announced_as_reading_only(tool: AnyTool) -> None:
    hints = declaration(tool).annotations
    assert hints is not None
    assert hints.readOnlyHint is True
    assert hints.destructiveHint is False


@every_tool
def test_a_tool_has_an_answer_in_the_shop(tool: AnyTool, sources: Sources) -> None:
    found = tool.run(sources, arguments(tool))
    assert isinstance(found, tool.result)
    assert found.status == "success", found.summary
    assert found.rows
    assert found.cut is None or found.cut.rows_left > 0


@pytest.mark.parametrize("tool", ASK_STORES, ids=lambda tool: tool.name)
def test_a_tool_finds_nothing_in_empty_stores_without_failing(tool: AnyTool, empty: Platform) -> None:
    found = tool.run(Sources(empty), arguments(tool))
    assert found.status == "no_data"
    assert found.summary
    assert found.rows == []


@every_tool
def test_an_unknown_argument_is_named_with_those_that_exist(tool: AnyTool, sources: Sources) -> None:
    with pytest.raises(InvalidMessage, match=r"colour.*Arguments of .*limit"):
        tool.run(sources, arguments(tool, colour="red"))


@every_tool
def test_hostile_telemetry_stays_within_the_bytes_of_an_answer(tool: AnyTool, hostile: Platform) -> None:
    limit = next(m.le for m in tool.arguments.model_fields["limit"].metadata if hasattr(m, "le"))
    found = tool.run(Sources(hostile), arguments(tool, limit=limit))
    text = found.model_dump_json()
    assert len(text.encode()) <= MOST_ANSWER_BYTES
    assert "\u202e" not in text
    assert "\U000e0041" not in text
    assert "NaN" not in text


@every_tool
def test_the_pages_of_a_tool_hold_every_row_once(tool: AnyTool, sources: Sources) -> None:
    asked = arguments(tool, limit=1)
    rows: list[Row] = []
    total = 1
    while len(rows) < min(total, 5):
        found = tool.run(sources, asked)
        rows += found.rows
        total = found.rows_total
        if found.cut is None:
            break
        asked = found.cut.next_arguments
    assert rows == tool.run(sources, arguments(tool, limit=5)).rows


def test_no_tool_changes_a_store(sources: Sources, shop: Platform) -> None:
    before = _contents(shop)
    for tool in TOOLS:
        tool.run(sources, arguments(tool))
    assert _contents(shop) == before
    assert sum(map(len, before)) > 10


def test_names_are_unique_over_all_servers() -> None:
    names = [tool.name for tool in TOOLS]
    assert len(names) == len(set(names))


def test_a_file_is_called_like_the_tool_in_it() -> None:
    for toolset in TOOLSETS.values():
        files = {module.name for module in pkgutil.iter_modules(import_module(toolset.package).__path__)}
        assert files == set(toolset.load().names())


@every_tool
def test_a_tool_is_in_the_docs(tool: AnyTool) -> None:
    assert f"`{tool.name}`" in (Path(__file__).resolve().parents[4] / "docs" / "mcp.md").read_text()


def test_a_planted_tool_breaks_each_law() -> None:
    class LooseArguments(Arguments, extra="ignore"):
        limit: int = 1
        text: Annotated[str, Field(max_length=501, description="Longer than what is carried on.")] = ""

    class LooseRow(Row):
        body: str
        values: list[float]
        attributes: dict[str, str]

    class LooseAnswer(Answer[LooseRow]):
        pass

    def never(_: Sources, __: LooseArguments) -> LooseAnswer:
        raise AssertionError

    planted = Tool(name="x", title="", description="short", arguments=LooseArguments, result=LooseAnswer, ask=never)
    assert problems(planted) == [
        "description has 5 characters",
        "no title",
        "takes arguments that it does not know",
        "argument limit has no description",
        "argument limit is not bounded",
        "argument text is longer than a next page can carry",
        "text rows.[].body is not bounded",
        "list rows.[].values is not bounded",
        "mapping rows.[].attributes is not bounded",
        "text rows.[].attributes is not bounded",
        "text rows.[].body does not say that it is untrusted",
        "text rows.[].attributes does not say that it is untrusted",
        "figure rows.[].values.[] has no unit",
    ]


def test_two_tools_of_one_name_are_refused() -> None:
    with pytest.raises(ConfigurationError, match="find_logs"):
        register("observability", replace(TOOLSETS["observability"].load().get("find_logs")))


def _contents(platform: Platform) -> tuple[list[str], ...]:
    found = []
    for name in ("telemetry", "incidents"):
        with closing(sqlite3.connect(platform.settings.data_dir / f"{name}.sqlite")) as connection:
            tables = connection.execute("SELECT name FROM sqlite_schema WHERE type = 'table' ORDER BY name").fetchall()
            found.append([repr(row) for (table,) in tables for row in connection.execute(f'SELECT * FROM "{table}"')])
    return tuple(found)


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    platform = open_shop(tmp_path_factory.mktemp("hostile"))
    fill_hostile(platform)
    yield platform
    platform.telemetry.close()
    platform.incidents.close()
