"""The databases' schemas, one file of SQL each, and the step of a deployment that brings a database up to its schema.

Every statement says IF NOT EXISTS, so running a file again changes nothing but what it has more than the database.
"""

import argparse
import sqlite3
import sys
from pathlib import Path

_FOLDER = Path(__file__).resolve().parent / "sql"
_BUSY_TIMEOUT_S = 10.0  # an index over 250,000 rows takes 0.5 s; the services go on writing in between


def statements(database: str) -> list[str]:
    """The statements of a database's schema, tables before indexes as the file has them."""
    found: list[str] = []
    rest = ""
    for line in (_FOLDER / f"{database}.sql").read_text().splitlines(keepends=True):
        rest += line
        if sqlite3.complete_statement(rest):
            found.append(rest.strip())
            rest = ""
    return found


def tables(database: str) -> str:
    """The script that creates the tables."""
    return "\n".join(one for one in statements(database) if one.upper().startswith("CREATE TABLE"))


def indexes(database: str) -> str:
    """The script that creates the indexes; after the rows it is three times as fast as before them."""
    return "\n".join(one for one in statements(database) if not one.upper().startswith("CREATE TABLE"))


def bring_up(path: Path, database: str) -> None:
    """Create in an existing database what its schema has and it has not.

    Raises:
        sqlite3.Error: a statement fails, or another writer kept the database for ten seconds.
    """
    connection = sqlite3.connect(f"{path.resolve().as_uri()}?mode=rw", uri=True, timeout=_BUSY_TIMEOUT_S)
    try:
        for statement in statements(database):
            connection.execute(statement)
        connection.commit()
    finally:
        connection.close()


def has_schema(database: str) -> bool:
    """Whether a service has a database of its own."""
    return (_FOLDER / f"{database}.sql").is_file()


def main() -> int:
    """Bring the database of one service up to the schema that lies beside this file."""
    parser = argparse.ArgumentParser(prog="python -m examples.shop.schema", description=__doc__)
    parser.add_argument("--service", required=True)
    parser.add_argument("--directory", type=Path, required=True, help="where the databases lie")
    told = parser.parse_args()
    if not has_schema(told.service):
        return 0
    try:
        bring_up(told.directory / f"{told.service}.sqlite", told.service)
    except (sqlite3.Error, UnicodeDecodeError) as error:
        print(f"{told.service}.sql: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
