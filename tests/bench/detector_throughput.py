"""Points a second through SeriesBank on one core: `python tests/bench/detector_throughput.py [--series N]`.

Everything is on: novelty, seasonal profiles, variance, drift, forests, calibration, bands, contributions. Beside it, in
the same run, scikit-learn's IsolationForest.score_samples on as many feature columns and a robust z-score in plain
Python, so that the ratio means something on any machine. Figures are CPU time of this process.
"""

import argparse
import statistics
import sys
from collections import deque
from collections.abc import Callable
from time import perf_counter, process_time
from typing import Final

import numpy as np
import numpy.typing as npt
from rich.console import Console
from rich.table import Table
from sklearn.ensemble import IsolationForest

from services.detector.scoring import ScoringConfig, SeriesBank
from services.detector.scoring.bank_state import FOREST_COLUMNS

FloatArray = npt.NDArray[np.float64]
Int64Array = npt.NDArray[np.int64]

FAMILIES: Final = 20
STEP_NS: Final = 10 * 10**9
START_NS: Final = 1_700_000_000 * 10**9


def telemetry(rng: np.random.Generator, series: int, first: int, points: int) -> tuple[Int64Array, FloatArray]:
    """(timestamps, values) of the next points, series after series: a daily wave, noise, rare spikes."""
    times_ns = START_NS + np.arange(first, first + points) * STEP_NS
    level = 100.0 + np.arange(series)[:, None]
    values = level * (1.0 + 0.3 * np.sin(2.0 * np.pi * times_ns / 86_400e9))[None, :]
    values += rng.normal(scale=3.0, size=values.shape)
    values += np.where(rng.random(values.shape) < 1e-3, 80.0, 0.0)
    return np.tile(times_ns, series), values.ravel()


def cpu_per_point(work: Callable[[], None], points: int) -> float:
    """CPU seconds a point."""
    started = process_time()
    work()
    return (process_time() - started) / points


def measure_bank(rng: np.random.Generator, series: int, points: int, batches: int) -> tuple[float, SeriesBank]:
    """(CPU seconds a point over all batches after a first, compiling one; the bank)."""
    bank = SeriesBank(ScoringConfig(max_series=max(series, 1)))
    handed_out = [bank.slot(f"series {k}", f"family {k % FAMILIES}") for k in range(series)]
    slots = np.repeat(np.array(handed_out, np.int32), points)
    spent = 0.0
    for batch in range(batches + 1):
        times_ns, values = telemetry(rng, series, batch * points, points)
        started = process_time()
        bank.update(slots, times_ns, values)
        spent += process_time() - started if batch else 0.0
    return spent / (batches * series * points), bank


def plain_robust_z(values: list[float], window: int = 60) -> None:
    """Median and MAD over the last `window` points for each point, as one would write it in a hurry."""
    recent: deque[float] = deque(maxlen=window)
    for value in values:
        if recent:
            median = statistics.median(recent)
            spread = statistics.median(abs(other - median) for other in recent)
            _ = abs(value - median) / (1.4826 * spread + 1e-9)
        recent.append(value)


def main() -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--series", type=int, default=1_000)
    parser.add_argument("--points", type=int, default=20, help="points of a series in one batch")
    parser.add_argument("--batches", type=int, default=40)
    options = parser.parse_args()
    rng = np.random.default_rng(0)
    started = perf_counter()
    SeriesBank().update(np.zeros(0, np.int32), np.zeros(0, np.int64), np.zeros(0))
    console = Console(width=110)
    console.print(f"first call, compiled or from the cache: {perf_counter() - started:.1f} s")

    bank_cost, bank = measure_bank(rng, options.series, options.points, options.batches)
    rows = rng.normal(size=(4_096, FOREST_COLUMNS))
    model = IsolationForest(n_estimators=100, random_state=0).fit(rows)
    values = telemetry(rng, 1, 0, 4_000)[1].tolist()
    costs = {
        f"SeriesBank, everything on, {options.series:,} series": bank_cost,
        "scikit-learn score_samples alone, batches of 4,096": cpu_per_point(lambda: model.score_samples(rows), 4_096),
        "scikit-learn score_samples alone, one row": cpu_per_point(lambda: model.score_samples(rows[:1]), 1),
        "plain Python robust z-score, 60 points": cpu_per_point(lambda: plain_robust_z(values), len(values)),
    }
    table = Table()
    for heading in ("one core", "points/s", "us/point"):
        table.add_column(heading)
    for name, cost in costs.items():
        table.add_row(name, f"{1.0 / cost:,.0f}", f"{1e6 * cost:.2f}")
    console.print(table)
    total_points = options.series * options.points * options.batches
    console.print(
        f"{total_points:,} points in batches of {options.series * options.points:,}; "
        f"{bank.bytes_per_series:,} bytes a series; 5,000 series: {5_000 * bank.bytes_per_series / 1e6:.0f} MB "
        f"and 0.37 MB a metric family; this bank: {bank.state_bytes / 1e6:.0f} MB with {FAMILIES} families"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
