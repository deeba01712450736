"""Operator files: arrays of tables in TOML, checked entry by entry."""

import tomllib
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ValidationError

from libs.errors import ConfigurationError

M = TypeVar("M", bound=BaseModel)


def read_entries(path: Path, table: str, model: type[M]) -> list[M]:
    """Entries of `[[table]]`; `ConfigurationError` names the file, the entry and the field that is wrong."""
    try:
        found = tomllib.loads(path.read_text())
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigurationError(f"{path}: {error}") from error
    unknown = sorted(set(found) - {table})
    if unknown:
        raise ConfigurationError(f"{path}: unknown table {unknown[0]!r}; entries are written [[{table}]]")
    entries = found.get(table, [])
    if not isinstance(entries, list):
        raise ConfigurationError(f"{path}: write [[{table}]], not [{table}]")
    read = []
    for number, entry in enumerate(entries, start=1):
        try:
            read.append(model.model_validate(entry))
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(str(part) for part in first["loc"])
            raise ConfigurationError(f"{path}: {table} {number}: {where}: {first['msg']}") from error
    return read
