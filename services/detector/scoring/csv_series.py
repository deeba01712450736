"""Read a CSV of telemetry into columns: which column is the time, which are values, is there a header.

Every byte may be malformed: a cell that is no number is NaN and counted, a file that cannot be telemetry is a
`ConfigurationError` that says which line or column and what was expected.
"""

import csv
import gzip
import io
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

from libs.errors import ConfigurationError

FloatArray = npt.NDArray[np.float64]
Int64Array = npt.NDArray[np.int64]

MINUTE_NS: Final = 60 * 10**9
_GZIP_MAGIC: Final = b"\x1f\x8b"
_TIME_NAMES: Final = frozenset({"timestamp", "time", "datetime", "date", "ts", "@timestamp", "_time"})
_LABEL_NAMES: Final = frozenset({"label", "labels", "is_anomaly"})
_EARLIEST_EPOCH: Final = 1e8  # 1973 in seconds: smaller whole numbers in a first column are values
_MOST_COLUMNS: Final = 1_000
_MOST_CELL_CHARACTERS: Final = 1_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class CsvSeries:
    """A file's rows in columns.

    Attributes:
        times_text: The timestamp cell of each row as written, or the row's number.
        timestamps_ns: shape (n,), unix nanoseconds; a row without a readable time gets the time of the row before.
        values: shape (n, d); NaN where a cell is malformed.
        names: d column names.
        malformed_cells: Number of unreadable values and timestamps.
        first_malformed_line: Line of the first of them, counted from 1.
        has_time_column: Whether the file tells the time; otherwise row k is minute k.
    """

    times_text: list[str]
    timestamps_ns: Int64Array
    values: FloatArray
    names: tuple[str, ...]
    malformed_cells: int
    first_malformed_line: int | None
    has_time_column: bool


def read_csv_series(source: Path) -> CsvSeries:
    """Read a CSV file, plain or gzipped, with or without a header.

    A column called label, labels or is_anomaly (any case) is never read. Columns without a single number are left out.

    Raises:
        ConfigurationError: the file is missing, unreadable, empty or has no numeric column.
    """
    lines, rows = _read_rows(source)
    header = _header_of(rows[0])
    if header is not None:
        lines, rows = lines[1:], rows[1:]
    if not rows:
        raise ConfigurationError(f"{source}: a header but no rows")
    width = len(header) if header is not None else len(rows[0])
    if width > _MOST_COLUMNS:
        raise ConfigurationError(f"{source}: {width} columns; at most {_MOST_COLUMNS} are read")
    time_column = _time_column(header, rows)
    names, columns = _value_columns(header, rows, width, time_column)
    if not columns:
        raise ConfigurationError(
            f"{source}: no numeric column; line {lines[0]} is {','.join(rows[0])[:80]!r}. "
            "Expected timestamp,value or numbers only"
        )
    values = np.array([[_number(row, column) for column in columns] for row in rows], np.float64)
    times_text, times_ns, unreadable = _times(rows, time_column)
    values[unreadable] = np.nan
    malformed = ~np.isfinite(values)
    bad_rows = np.nonzero(malformed.any(axis=1))[0]
    return CsvSeries(
        times_text=times_text,
        timestamps_ns=times_ns,
        values=values,
        names=names,
        malformed_cells=int(malformed.sum()),
        first_malformed_line=lines[int(bad_rows[0])] if len(bad_rows) else None,
        has_time_column=time_column is not None,
    )


def _read_rows(source: Path) -> tuple[list[int], list[list[str]]]:
    """(line numbers, cells) of every row that is not blank."""
    try:
        content = source.read_bytes()
        if content[:2] == _GZIP_MAGIC:
            content = gzip.decompress(content)
    except FileNotFoundError as error:
        raise ConfigurationError(f"{source}: there is no such file") from error
    except (OSError, EOFError) as error:
        raise ConfigurationError(f"{source}: cannot be read: {error}") from error
    if b"\x00" in content[:4096]:
        raise ConfigurationError(f"{source}: is binary; expected CSV text, plain or gzipped")
    text = content.decode("utf-8-sig", errors="replace")
    csv.field_size_limit(_MOST_CELL_CHARACTERS)
    reader = csv.reader(io.StringIO(text, newline=""))
    lines: list[int] = []
    rows: list[list[str]] = []
    try:
        for row in reader:
            if any(cell.strip() for cell in row):
                lines.append(reader.line_num)
                rows.append(row)
    except csv.Error as error:
        raise ConfigurationError(f"{source}, line {reader.line_num}: not CSV: {error}") from error
    if not rows:
        raise ConfigurationError(f"{source}: is empty")
    return lines, rows


def _header_of(row: list[str]) -> list[str] | None:
    """The first row's names, when none of its cells is a number or a time."""
    if any(_parse_number(cell) is not None or _parse_time_ns(cell) is not None for cell in row):
        return None
    return [cell.strip() for cell in row]


def _time_column(header: list[str] | None, rows: list[list[str]]) -> int | None:
    if header is not None:
        return next((k for k, name in enumerate(header) if name.lower() in _TIME_NAMES), None)
    first = [row[0] for row in rows[:100]]
    if len(rows[0]) < 2:
        return None
    numbers = [_parse_number(cell) for cell in first]
    if all(number is None for number in numbers):
        return 0 if any(_parse_time_ns(cell) is not None for cell in first) else None
    epochs = [number for number in numbers if number is not None]
    rising = all(a <= b for a, b in pairwise(epochs))
    return 0 if rising and min(epochs) >= _EARLIEST_EPOCH else None


def _value_columns(
    header: list[str] | None, rows: list[list[str]], width: int, time_column: int | None
) -> tuple[tuple[str, ...], list[int]]:
    names, columns = [], []
    for column in range(width):
        name = header[column] if header is not None else f"column {column + 1}"
        if column == time_column or name.lower() in _LABEL_NAMES:
            continue
        if any(column < len(row) and _parse_number(row[column]) is not None for row in rows):
            names.append(name)
            columns.append(column)
    return tuple(names), columns


def _times(rows: list[list[str]], time_column: int | None) -> tuple[list[str], Int64Array, list[int]]:
    """(cells as written, unix nanoseconds, rows whose time is unreadable)."""
    if time_column is None:
        minutes = np.arange(len(rows), dtype=np.int64)
        return [str(k) for k in range(len(rows))], minutes * MINUTE_NS, []
    texts, times, unreadable = [], np.empty(len(rows), np.int64), []
    for k, row in enumerate(rows):
        text = row[time_column] if time_column < len(row) else ""
        texts.append(text)
        parsed = _parse_time_ns(text)
        if parsed is None:
            unreadable.append(k)
            parsed = int(times[k - 1]) if k else 0
        times[k] = parsed
    return texts, times, unreadable


def _number(row: list[str], column: int) -> float:
    parsed = _parse_number(row[column]) if column < len(row) else None
    return float("nan") if parsed is None else parsed


def _parse_number(cell: str) -> float | None:
    """The finite number in a cell; None for anything else."""
    try:
        number = float(cell)
    except ValueError:
        return None
    return number if np.isfinite(number) and "_" not in cell else None


def _parse_time_ns(cell: str) -> int | None:
    """Unix nanoseconds of an ISO 8601 time (UTC unless it says otherwise) or of an epoch in s, ms, us or ns."""
    number = _parse_number(cell)
    if number is not None:
        if not _EARLIEST_EPOCH <= number < 9.2e18:
            return None
        for limit, unit_ns in ((1e11, 10**9), (1e14, 10**6), (1e17, 10**3)):
            if number < limit:
                return int(number * unit_ns)
        return int(number)
    try:
        moment = datetime.fromisoformat(cell.strip())
    except ValueError:
        return None
    aware = moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)
    try:
        return round(aware.timestamp() * 1e6) * 1_000 if 1680 < aware.year < 2260 else None
    except OverflowError:
        return None
