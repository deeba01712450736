"""`paramedic score FILE.csv --out OUT.csv`: the live detector's scoring over a recorded series.

One value column is scored by `SeriesBank`, several as one entity by `MultivariateScorer`; nothing is tuned per file.
"""

import csv
import gzip
import io
import json
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from time import perf_counter
from typing import Annotated, Final

import numpy as np
import numpy.typing as npt
import typer
from rich.console import Console
from rich.progress import Progress

from libs.errors import ConfigurationError
from services.detector.scoring.csv_series import MINUTE_NS, CsvSeries, read_csv_series

FloatArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]

_CHUNK_ROWS: Final = 16_384
_PROGRESS_ROWS: Final = 50_000


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoreSummary:
    """What scoring a file came to.

    Attributes:
        rows: Rows scored, one line of output each.
        value_columns: Numeric columns that were read.
        train_rows: Rows of history learned before the first score.
        anomalies: Rows with is_anomaly 1.
        malformed_cells: Unreadable values and timestamps; their rows score 0 in a single series, and the metric
            counts as expected in a file of many.
        first_malformed_line: Line of the first of them, None when all were fine.
        seconds: Time for scoring alone, without reading and writing.
    """

    rows: int
    value_columns: int
    train_rows: int
    anomalies: int
    malformed_cells: int
    first_malformed_line: int | None
    seconds: float


def score_file(source: Path, destination: Path, *, train: Path | None, progress: bool = False) -> ScoreSummary:
    """Score a CSV and write `timestamp,anomaly_score,is_anomaly`, one row per input row in input order.

    Args:
        source: `timestamp,value`, or numbers only; header or none; gzipped or plain.
        destination: Written as a whole at the end; gzipped when its name ends in .gz.
        train: History of the same columns, learned before the first row is scored.
        progress: Show a bar on standard error for long files.
    Raises:
        ConfigurationError: a file is missing, unreadable or of another shape; the destination cannot be written.
    """
    if destination.resolve() == source.resolve():
        raise ConfigurationError(f"{destination}: would overwrite the input; choose another --out")
    series = read_csv_series(source)
    history = read_csv_series(train) if train is not None else None
    if history is not None and history.values.shape[1] != series.values.shape[1]:
        raise ConfigurationError(
            f"{train}: {history.values.shape[1]} value columns where {source} has {series.values.shape[1]}"
        )
    started = perf_counter()
    score, is_anomaly = _score(series, history, progress=progress and len(series.values) >= _PROGRESS_ROWS)
    seconds = perf_counter() - started
    _write(destination, series.times_text, score, is_anomaly)
    return ScoreSummary(
        rows=len(series.values),
        value_columns=series.values.shape[1],
        train_rows=0 if history is None else len(history.values),
        anomalies=int(is_anomaly.sum()),
        malformed_cells=series.malformed_cells,
        first_malformed_line=series.first_malformed_line,
        seconds=seconds,
    )


def score(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="CSV, plain or gzipped: timestamp,value or numbers.")],
    out: Annotated[Path, typer.Option("--out", metavar="OUT", help="Where the scores go: one row per input row.")],
    train: Annotated[Path | None, typer.Option(metavar="FILE", help="History to learn from before scoring.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the summary as JSON.")] = False,
) -> None:
    """Score a recorded series exactly as the live detector would."""
    summary = score_file(file, out, train=train, progress=sys.stderr.isatty())
    if as_json:
        typer.echo(json.dumps(asdict(summary)))
        return
    console = Console(highlight=False, soft_wrap=True)
    console.print(
        f"{summary.rows:,} rows of {summary.value_columns} column(s) scored in {summary.seconds:.2f} s: "
        f"{summary.anomalies:,} anomalous -> {out}"
    )
    if summary.malformed_cells:
        console.print(
            f"[yellow]{summary.malformed_cells:,} malformed cells, the first in line "
            f"{summary.first_malformed_line}[/]: not learned from"
        )


def _score(series: CsvSeries, history: CsvSeries | None, *, progress: bool) -> tuple[FloatArray, BoolArray]:
    parts = _multivariate(series, history) if series.values.shape[1] > 1 else _univariate(series, history)
    scores: list[FloatArray] = []
    flags: list[BoolArray] = []
    with Progress(console=Console(stderr=True), disable=not progress, transient=True) as bar:
        task = bar.add_task("scoring", total=len(series.values))
        for chunk_scores, chunk_flags in parts:
            scores.append(chunk_scores)
            flags.append(chunk_flags)
            bar.advance(task, len(chunk_scores))
    return np.concatenate(scores), np.concatenate(flags)


def _univariate(series: CsvSeries, history: CsvSeries | None) -> Iterator[tuple[FloatArray, BoolArray]]:
    from services.detector.scoring.series_bank import SeriesBank  # numba costs a second: not for a wrong file name

    bank = SeriesBank()
    slot = bank.slot("file", "file")
    times_ns = series.timestamps_ns
    if history is not None:
        if not series.has_time_column:  # the file goes on where its history ends
            times_ns = times_ns + len(history.values) * MINUTE_NS
        slots = np.full(len(history.values), slot, np.int32)
        bank.update(slots, history.timestamps_ns, history.values[:, 0])
    for start in range(0, len(times_ns), _CHUNK_ROWS):
        rows = slice(start, start + _CHUNK_ROWS)
        chunk = bank.update(np.full(len(times_ns[rows]), slot, np.int32), times_ns[rows], series.values[rows, 0])
        yield chunk.score, chunk.is_anomaly


def _multivariate(series: CsvSeries, history: CsvSeries | None) -> Iterator[tuple[FloatArray, BoolArray]]:
    from services.detector.scoring.multivariate import MultivariateScorer

    scorer = MultivariateScorer(series.values.shape[1])
    if history is not None:
        scorer.fit(history.values)
    for start in range(0, len(series.values), _CHUNK_ROWS):
        chunk = scorer.update(series.values[start : start + _CHUNK_ROWS])
        yield chunk.score, chunk.is_anomaly


def _write(destination: Path, times_text: list[str], score: FloatArray, is_anomaly: BoolArray) -> None:
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("timestamp", "anomaly_score", "is_anomaly"))
    writer.writerows(
        (time, f"{value:.9g}", int(flag)) for time, value, flag in zip(times_text, score, is_anomaly, strict=True)
    )
    content = text.getvalue().encode()
    try:
        destination.write_bytes(gzip.compress(content) if destination.suffix == ".gz" else content)
    except OSError as error:
        raise ConfigurationError(f"{destination}: cannot be written: {error}") from error
