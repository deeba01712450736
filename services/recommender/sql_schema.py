"""Tables and indexes that a repository creates, and what a plan says of a statement over them.

For SQLite the plan is real: the statement is explained by SQLite itself on an empty database with the same schema.
"""

import re
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from services.recommender.source import Source

_CREATE: Final = re.compile(
    r"CREATE\s+(?:(?P<table>TABLE)|(?:UNIQUE\s+)?(?P<index>INDEX))\s+(?:CONCURRENTLY\s+)?(?:IF\s+NOT\s+EXISTS\s+)?"
    r"[\"`\[]?(?P<name>\w{1,100})[\"`\]]?(?:\s+ON\s+[\"`\[]?(?P<on>\w{1,100}))?[^;\"']{0,8000};",
    re.IGNORECASE,
)
_MOST_FILES: Final = 100
_PLAN_COLUMN: Final = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Created:
    """One CREATE TABLE or CREATE INDEX of a file.

    Attributes:
        name: Of the table or index.
        table: Of the table that it is, or is on.
        is_index: Whether it is an index.
        text: The statement.
        end: Position behind its semicolon in the file.
    """

    name: str
    table: str
    is_index: bool
    text: str
    end: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SchemaFile:
    """One file with a schema."""

    path: str
    text: str
    created: tuple[Created, ...]

    def has(self, tables: Sequence[str]) -> bool:
        """Whether it creates all of some tables."""
        known = {one.table.casefold() for one in self.created if not one.is_index}
        return all(table.casefold() in known for table in tables)


def schema_files(source: Source) -> list[SchemaFile]:
    """Files of the repository that create tables."""
    found = []
    for path in source.files(source.repository.schemas)[:_MOST_FILES]:
        text = source.read(path)
        created = _created(text) if text else ()
        if text and any(not one.is_index for one in created):
            found.append(SchemaFile(path=path, text=text, created=created))
    return found


def _created(text: str) -> tuple[Created, ...]:
    return tuple(
        Created(
            name=match["name"],
            table=match["on"] if match["index"] else match["name"],
            is_index=bool(match["index"]),
            text=match.group(0),
            end=match.end(),
        )
        for match in _CREATE.finditer(text)
        if match["table"] or match["on"]
    )


class EmptyDatabase:
    """An SQLite database in memory with a schema and no rows, to explain statements on.

    Args:
        schema: What it is made of; statements that SQLite does not take are left out.
    """

    def __init__(self, schema: SchemaFile) -> None:
        self._connection = sqlite3.connect(":memory:")
        for one in sorted(schema.created, key=lambda one: one.is_index):
            self.create(one.text)

    def create(self, statement: str) -> bool:
        """Carry out a CREATE; whether SQLite took it."""
        try:
            self._connection.execute(statement)
        except sqlite3.Error:
            return False
        return True

    def drop_index(self, name: str) -> None:
        """Take an index away again."""
        self._connection.execute(f'DROP INDEX IF EXISTS "{name}"')

    def columns(self, table: str) -> tuple[str, ...]:
        """Columns of a table, () when there is none."""
        rows = self._connection.execute("SELECT name FROM pragma_table_info(?)", (table,))
        return tuple(str(row[0]) for row in rows)

    def plan(self, statement: str, parameters: int) -> list[str] | None:
        """Lines of EXPLAIN QUERY PLAN, None when SQLite cannot explain the statement."""
        try:
            rows = self._connection.execute(f"EXPLAIN QUERY PLAN {statement}", [None] * parameters).fetchall()
        except (sqlite3.Error, sqlite3.Warning):
            return None
        return [str(row[_PLAN_COLUMN]) for row in rows]

    def close(self) -> None:
        """Forget it."""
        self._connection.close()


def scans(plan: Sequence[str]) -> list[str]:
    """Steps that go through a whole table."""
    return [step for step in plan if step.startswith("SCAN ") and "CONSTANT ROW" not in step and "SUBQUERY" not in step]
