"""A slow statement gets an index in the schema file of the repository, where one serves it.

SQLite's own planner decides for SQLite; for other systems the statement and the schema do, and the text says so.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import sqlglot
from sqlglot import exp
from sqlglot.errors import SqlglotError

from services.recommender.patch import PATCHERS, Declined, Patch
from services.recommender.rule import Finding
from services.recommender.source import Source
from services.recommender.sql_schema import Created, EmptyDatabase, SchemaFile, scans, schema_files

_DIALECTS: Final = {"sqlite": "sqlite", "postgresql": "postgres", "mysql": "mysql", "mariadb": "mysql"}
_MOST_COLUMNS: Final = 4
_EQUAL: Final = (exp.EQ, exp.In, exp.Is)
_RANGE: Final = (exp.GT, exp.GTE, exp.LT, exp.LTE, exp.Between)


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """Columns of one table that a statement filters or sorts by.

    Attributes:
        table: Name of the table.
        equal: Columns compared with equality, in order.
        ranged: Columns compared with a range.
        ordered: Columns that rows are sorted by.
    """

    table: str
    equal: tuple[str, ...]
    ranged: tuple[str, ...]
    ordered: tuple[str, ...]

    def candidates(self) -> Iterator[tuple[str, ...]]:
        """Column lists of indexes that could serve, the most helpful first."""
        if self.equal and self.ordered:
            yield tuple(dict.fromkeys((*self.equal, *self.ordered)))[:_MOST_COLUMNS]
        if self.equal and self.ranged:
            yield tuple(dict.fromkeys((*self.equal, self.ranged[0])))[:_MOST_COLUMNS]
        if self.equal:
            yield self.equal[:_MOST_COLUMNS]
        elif self.ranged:
            yield self.ranged[:1]


@PATCHERS.register("create_index")
def create_index(finding: Finding, source: Source) -> Patch | Declined:
    """Add an index for the statement of a finding."""
    statement, system = finding.hints["statement"], finding.hints["system"]
    try:
        tree = sqlglot.parse_one(statement, dialect=_DIALECTS.get(system))
    except (SqlglotError, RecursionError):
        return Declined(why="the statement could not be parsed (cut, or not SQL that is known)")
    tables = {table.alias_or_name: table.name for table in tree.find_all(exp.Table) if table.name}
    schema = next((one for one in schema_files(source) if one.has(list(tables.values()))), None)
    if schema is None:
        return Declined(
            why=f"no schema file of {source.repository.name} creates {', '.join(sorted(set(tables.values())))}"
        )
    database = EmptyDatabase(schema)
    try:
        wanted = _wanted(tree, tables, database)
        if system == "sqlite":
            return _by_plan(finding, schema, database, wanted, len(list(tree.find_all(exp.Placeholder))))
        return _by_schema(schema, wanted, system)
    finally:
        database.close()


def _wanted(tree: exp.Expr, tables: dict[str, str], database: EmptyDatabase) -> list[Wanted]:
    owners = {alias: {name.casefold() for name in database.columns(table)} for alias, table in tables.items()}

    def owner(column: object) -> str:
        """Alias of the table whose bare column this is, "" when it is an expression or unclear."""
        if not isinstance(column, exp.Column):
            return ""
        if column.table:
            return column.table if column.table in tables else ""
        having = [alias for alias, names in owners.items() if column.name.casefold() in names]
        return having[0] if len(having) == 1 else ""

    found: dict[str, dict[str, list[str]]] = {alias: {"equal": [], "ranged": [], "ordered": []} for alias in tables}
    for kind, kinds in (("equal", _EQUAL), ("ranged", _RANGE)):
        for comparison in tree.find_all(*kinds):
            for side in (comparison.this, comparison.args.get("expression")):
                alias = owner(side)
                if alias:
                    found[alias][kind].append(side.name)
    order = tree.args.get("order")
    terms = [one.this for one in order.expressions] if order is not None else []
    sides = [owner(term) for term in terms]
    # Rows come sorted out of an index only when all that they are sorted by is of one table.
    if sides and len(set(sides)) == 1 and sides[0]:
        found[sides[0]]["ordered"] = [term.name for term in terms]
    return [
        Wanted(
            table=tables[alias],
            equal=tuple(dict.fromkeys(columns["equal"])),
            ranged=tuple(dict.fromkeys(columns["ranged"])),
            ordered=tuple(columns["ordered"]),
        )
        for alias, columns in found.items()
    ]


def _by_plan(
    finding: Finding, schema: SchemaFile, database: EmptyDatabase, wanted: Sequence[Wanted], parameters: int
) -> Patch | Declined:
    statement = finding.hints["statement"]
    before = database.plan(statement, parameters)
    if before is None:
        return Declined(why="SQLite could not explain the statement on the schema")
    if not scans(before):
        return Declined(why=f"its plan goes through no whole table: {'; '.join(before)}", refuted=True)
    for one in wanted:
        for columns in one.candidates():
            name = _name(schema, one.table, columns)
            if not database.create(f'CREATE INDEX "{name}" ON "{one.table}" ({", ".join(columns)})'):
                continue
            after = database.plan(statement, parameters) or []
            used = [step for step in after if step.startswith("SEARCH ") and f"INDEX {name} " in step]
            database.drop_index(name)
            if used and len(scans(after)) < len(scans(before)):
                says = (
                    f"EXPLAIN QUERY PLAN (SQLite, on the schema of {schema.path}) says "
                    f"{'; '.join(before)!r} without and {'; '.join(after)!r} with the index. Review: each write of "
                    f"{one.table} maintains it, and building it takes a moment on the existing rows."
                )
                return _patch(schema, one.table, columns, name, says, confidence=0.95)
    return Declined(
        why=f"no index serves it: with any of those that its conditions allow, the plan stays {'; '.join(before)!r}",
        advice=(
            "No index can serve this statement: its conditions apply functions to the columns, or patterns that begin "
            "with a wildcard. Search words with a full-text index (FTS5, tsvector), keep the computed value in a "
            "column of its own, or narrow the rows by an indexed condition first."
        ),
        confidence=0.8,
        helps_less=True,
    )


def _by_schema(schema: SchemaFile, wanted: Sequence[Wanted], system: str) -> Patch | Declined:
    for one in wanted:
        for columns in one.candidates():
            if _leads_an_index(schema, one.table, columns[0]):
                break
            says = (
                f"The statement filters {one.table} by {', '.join(columns)} and the schema has no index that "
                f"begins with {columns[0]}. Not checked by a plan: run EXPLAIN on {system} with real rows, and "
                "build it without blocking writers where the system can (CREATE INDEX CONCURRENTLY)."
            )
            return _patch(schema, one.table, columns, _name(schema, one.table, columns), says, confidence=0.6)
    return Declined(
        why=f"every table that the statement filters has an index on its column in {schema.path}", refuted=True
    )


def _leads_an_index(schema: SchemaFile, table: str, column: str) -> bool:
    """Whether a primary key, unique constraint or index begins with a column."""
    for one in schema.created:
        if one.table.casefold() != table.casefold():
            continue
        words = " ".join(one.text.replace('"', "").replace("`", "").casefold().split())
        name = column.casefold()
        if one.is_index and words.partition("(")[2].split(",")[0].split(")")[0].strip().split(" ")[0] == name:
            return True
        if not one.is_index and any(
            f"{key} ({name}" in words or f"{key}({name}" in words for key in ("primary key", "unique")
        ):
            return True
        definitions = [part.strip() for part in words.partition("(")[2].split(",")]
        if any(part.startswith(f"{name} ") and ("primary key" in part or "unique" in part) for part in definitions):
            return True
    return False


def _name(schema: SchemaFile, table: str, columns: Sequence[str]) -> str:
    """A name in the manner of the file's others, that is not taken."""
    indexes = [one.name for one in schema.created if one.is_index]
    manner = (
        f"{table}_by_{'_'.join(columns)}"
        if any("_by_" in one for one in indexes)
        else f"idx_{table}_{'_'.join(columns)}"
    )
    name, number = manner, 2
    while name in indexes:
        name, number = f"{manner}_{number}", number + 1
    return name


def _patch(schema: SchemaFile, table: str, columns: Sequence[str], name: str, says: str, *, confidence: float) -> Patch:
    after = _neighbour(schema.created, table)
    line = f"\nCREATE INDEX IF NOT EXISTS {name} ON {table} ({', '.join(columns)});"
    text = schema.text[: after.end] + line + schema.text[after.end :]
    return Patch(files={schema.path: text}, says=says, confidence=confidence)


def _neighbour(created: Sequence[Created], table: str) -> Created:
    """The statement behind which the index goes: the table's last index, else any index, else the last table."""
    own = [one for one in created if one.is_index and one.table.casefold() == table.casefold()]
    any_index = [one for one in created if one.is_index]
    # A file that creates tables only may fill them before it comes to the indexes; behind the last one all exist.
    return (own or any_index or list(created))[-1]
