"""How well scoring finds labelled anomalies: `python tests/bench/detection_quality.py [--data FOLDER]`.

Every file goes through `score_file`, the function behind `paramedic score`, with its defaults. The folder holds
detection/open (Numenta Anomaly Benchmark), detection/cloud-monitoring (Microsoft) and detection/smd (Server Machine
Dataset); it comes from --data, else PARAMEDIC_BENCH_DATA, else ../shared/bench beside the project.

Sources: Lavin and Ahmad, "Evaluating real-time anomaly detection algorithms - the Numenta Anomaly Benchmark", 2015;
Paparrizos et al., "Volume under the surface", VLDB 2022 (VUS-PR, buffers 0 to 100 rows, 250 thresholds).
"""

import argparse
import csv
import gzip
import json
import os
import random
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from rich.console import Console
from rich.table import Table

from services.detector.score_command import score_file
from services.detector.scoring.csv_series import read_csv_series

FloatArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]
IntArray = npt.NDArray[np.int64]

PROFILES: Final = {"standard": (0.11, 1.0), "low FP": (0.22, 1.0), "low FN": (0.11, 2.0)}  # false alarm, missed window
PUBLISHED_NAB: Final = {
    "ARTime": (71.3, 63.2, 76.2),
    "CAD OSE": (65.7, 63.3, 68.4),
    "Numenta HTM": (64.6, 58.4, 68.9),
    "Random Cut Forest": (49.6, 38.0, 58.2),
    "Windowed Gaussian": (42.5, 27.4, 49.2),
}
SPLIT_SEEDS: Final = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Scored:
    """One file's output: scores and flags, shape (n,), and the seconds spent on scoring."""

    score: FloatArray
    flag: BoolArray
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class NabFile:
    """One NAB file after its probation rows.

    Attributes:
        name: category/file.csv.
        scored: The product's output on the rows that count.
        window: shape (n,), index of the window a row lies in, -1 outside.
        weight: shape (n,), credit of a detection inside a window, cost (negative) outside.
        windows: Number of windows.
    """

    name: str
    scored: Scored
    window: IntArray
    weight: FloatArray
    windows: int


def run_product(source: Path, scratch: Path, train: Path | None = None) -> Scored:
    """Score one file as `paramedic score` does and read what it wrote."""
    destination = scratch / "scores.csv"
    summary = score_file(source, destination, train=train)
    with destination.open(newline="") as file:
        rows = list(csv.reader(file))[1:]
    return Scored(
        score=np.array([float(row[1]) for row in rows]),
        flag=np.array([row[2] == "1" for row in rows]),
        seconds=summary.seconds,
    )


def sigmoid(position: float) -> float:
    """NAB's scaled sigmoid: 1 far to the left, 0 at a window's right edge, -1 beyond three widths."""
    return float(2.0 / (1.0 + np.exp(5.0 * position)) - 1.0) if position <= 3.0 else -1.0


def nab_weights(rows: int, windows: Sequence[tuple[int, int]]) -> tuple[IntArray, FloatArray]:
    """(window of each row or -1, credit or cost of a detection there) for inclusive row windows."""
    window, weight = np.full(rows, -1), np.full(rows, -1.0)
    for index, (first, last) in enumerate(windows):
        width = last - first + 1
        for row in range(first, last + 1):
            window[row] = index
            weight[row] = sigmoid(-(last - row + 1) / width) / sigmoid(-1.0)
        following = windows[index + 1][0] if index + 1 < len(windows) else rows
        for row in range(last + 1, following):
            weight[row] = sigmoid((row - last) / max(width - 1, 1))
    return window, weight


def load_nab(folder: Path, scratch: Path) -> list[NabFile]:
    """Score every NAB file and attach its windows."""
    files = []
    for name, spans in sorted(json.loads((folder / "combined_windows.json").read_text()).items()):
        source = folder / "data" / name
        scored = run_product(source, scratch)
        times = read_csv_series(source).timestamps_ns
        rows = len(times)
        windows = []
        for span in spans:
            first, last = (np.datetime64(moment, "ns").astype(np.int64) for moment in span)
            inside = np.nonzero((times >= first) & (times <= last))[0]
            windows.append((int(inside[0]), int(inside[-1])))
        window, weight = nab_weights(rows, windows)
        counted = slice(min(int(0.15 * rows), 750), None)
        kept = Scored(score=scored.score[counted], flag=scored.flag[counted], seconds=scored.seconds)
        files.append(
            NabFile(name=name, scored=kept, window=window[counted], weight=weight[counted], windows=len(windows))
        )
    return files


def nab_raw(file: NabFile, detected: BoolArray, profile: tuple[float, float]) -> float:
    """One file's raw score for a set of detections."""
    false_alarm, missed = profile
    raw = false_alarm * float(file.weight[detected & (file.window < 0)].sum())
    for index in range(file.windows):
        hits = file.weight[detected & (file.window == index)]
        raw += float(hits.max()) if len(hits) else -missed
    return raw


def nab_normalised(files: Sequence[NabFile], raw: float, profile: tuple[float, float]) -> float:
    """0 for a detector that says nothing, 100 for a perfect one."""
    windows, missed = sum(file.windows for file in files), profile[1]
    return 100.0 * (raw + missed * windows) / (windows * (1.0 + missed))


def nab_best(files: Sequence[NabFile], profile: tuple[float, float]) -> tuple[float, float]:
    """(best normalised score, its threshold) over all thresholds, the same for every file."""
    scores = np.concatenate([file.scored.score for file in files])
    owner = np.concatenate([np.full(len(file.scored.score), k) for k, file in enumerate(files)])
    window = np.concatenate([file.window for file in files])
    weight = np.concatenate([file.weight for file in files])
    order = np.argsort(-scores, kind="stable")
    order = order[scores[order] > 0.0]
    credited: dict[tuple[int, int], float] = {}
    raw = -profile[1] * sum(file.windows for file in files)
    best = (nab_normalised(files, raw, profile), float("inf"))
    for position, row in enumerate(order):
        if window[row] < 0:
            raw += profile[0] * float(weight[row])
        else:
            key = (int(owner[row]), int(window[row]))
            before = credited.get(key, -profile[1])
            credited[key] = max(before, float(weight[row]))
            raw += credited[key] - before
        last_of_ties = position + 1 == len(order) or scores[order[position + 1]] < scores[row]
        if last_of_ties:
            best = max(best, (nab_normalised(files, raw, profile), float(scores[row])))
    return best


def report_nab(console: Console, files: list[NabFile]) -> None:
    """Print the NAB table, the product's own alarms, and what transfers between random halves of the files."""
    table = Table(title=f"NAB, {len(files)} files, {sum(file.windows for file in files)} windows")
    for heading in ("detector", *PROFILES, "threshold"):
        table.add_column(heading)
    best = {name: nab_best(files, profile) for name, profile in PROFILES.items()}
    table.add_row("Paramedic, best threshold", *(f"{value:.1f}" for value, _ in best.values()),
                  f"{best['standard'][1]:.3f}")  # fmt: skip
    own = [
        nab_normalised(files, sum(nab_raw(file, file.scored.flag, profile) for file in files), profile)
        for profile in PROFILES.values()
    ]
    table.add_row("Paramedic, own is_anomaly", *(f"{value:.1f}" for value in own), "0.75")
    for name, values in PUBLISHED_NAB.items():
        table.add_row(f"{name}, best threshold", *(f"{value:.1f}" for value in values), "")
    console.print(table)
    rows = sum(len(file.scored.score) for file in files)
    false_alarms = sum(int((file.scored.flag & (file.window < 0)).sum()) for file in files)
    caught = sum(len(set(file.window[file.scored.flag & (file.window >= 0)].tolist())) for file in files)
    console.print(
        f"own is_anomaly: {caught} of {sum(file.windows for file in files)} windows caught, {false_alarms} false "
        f"alarms in {rows:,} rows ({1e4 * false_alarms / rows:.1f} in 10,000)"
    )
    transfer = [nab_transfer(files, seed) for seed in range(SPLIT_SEEDS)]
    console.print(
        f"threshold from one random half, score on the other, {SPLIT_SEEDS} splits: "
        f"{np.mean(transfer):.1f} (10 % to 90 %: {np.quantile(transfer, 0.1):.1f} to {np.quantile(transfer, 0.9):.1f})"
    )


def nab_transfer(files: Sequence[NabFile], seed: int) -> float:
    """Standard score on a random half of the files at the threshold that was best on the other half."""
    shuffled = random.Random(seed).sample(list(files), len(files))
    chosen, held_out = shuffled[: len(files) // 2], shuffled[len(files) // 2 :]
    profile = PROFILES["standard"]
    threshold = nab_best(chosen, profile)[1]
    raw = sum(nab_raw(file, file.scored.score >= threshold, profile) for file in held_out)
    return nab_normalised(held_out, raw, profile)


def average_precision(score: FloatArray, label: IntArray) -> float:
    """Area under the precision-recall steps; rows of equal score count together."""
    order = np.argsort(-score, kind="stable")
    last = np.append(score[order][1:] != score[order][:-1], True)
    hits = np.cumsum(label[order])
    precision, recall = (hits / np.arange(1, len(label) + 1))[last], (hits / label.sum())[last]
    return float(np.sum(np.diff(recall, prepend=0.0) * precision))


def report_cloud(console: Console, folder: Path, scratch: Path) -> tuple[int, float]:
    """Print mean average precision; (points, seconds)."""
    precisions: dict[str, list[float]] = {}
    points, seconds, caught, episodes, false_rows, rows = 0, 0.0, 0, 0, 0, 0
    for source in sorted(folder.glob("*/*.csv")):
        scored = run_product(source, scratch)
        with source.open(newline="") as file:
            label = np.array([int(float(row["Label"] or 0)) for row in csv.DictReader(file)])
        points, seconds = points + len(label), seconds + scored.seconds
        counted = slice(int(0.15 * len(label)), None)
        label, flag = label[counted], scored.flag[counted]
        for first, last in runs(label):
            episodes += 1
            caught += bool(flag[first : last + 1].any())
        false_rows, rows = false_rows + int((flag & (label == 0)).sum()), rows + len(label)
        if label.sum():
            precisions.setdefault(source.parent.name, []).append(average_precision(scored.score[counted], label))
    everything = [value for values in precisions.values() for value in values]
    table = Table(title=f"cloud-monitoring, {len(everything)} series with labels: mean average precision")
    table.add_column("kind")
    table.add_column("AP")
    for kind, values in precisions.items():
        table.add_row(f"{kind} ({len(values)})", f"{np.mean(values):.3f}")
    table.add_row("Paramedic, all", f"{np.mean(everything):.3f}")
    for name, value in (("first study: novelty + seasonal + forest", 0.522), ("seasonal robust z-score", 0.508),
                        ("plain isolation forest", 0.403)):  # fmt: skip
        table.add_row(name, f"{value:.3f}")
    console.print(table)
    console.print(
        f"own is_anomaly: {caught} of {episodes} labelled stretches caught, "
        f"{1e4 * false_rows / rows:.1f} false alarms in 10,000 rows"
    )
    return points, seconds


def runs(label: npt.NDArray[Any]) -> list[tuple[int, int]]:
    """Inclusive [first, last] of every stretch of non-zero labels."""
    edges = np.diff(np.concatenate([[0], (label > 0).astype(int), [0]]))
    return list(zip(np.nonzero(edges == 1)[0].tolist(), (np.nonzero(edges == -1)[0] - 1).tolist(), strict=True))


def best_f1(score: FloatArray, label: IntArray) -> float:
    """F1 per row at the best threshold in hindsight; no point adjustment."""
    order = np.argsort(-score, kind="stable")
    last = np.append(score[order][1:] != score[order][:-1], True)
    f1 = 2.0 * np.cumsum(label[order]) / (np.arange(1, len(label) + 1) + label.sum())
    return float(f1[last].max())


def f1_of(flag: BoolArray, label: IntArray) -> float:
    """F1 per row of given detections."""
    return float(2.0 * (flag & (label > 0)).sum() / max(1, flag.sum() + label.sum()))


def vus_pr(score: FloatArray, label: IntArray, widest: int = 100) -> float:
    """Volume under the precision-recall surface over label buffers of 0 to `widest` rows."""
    rows = len(label)
    order = np.argsort(-score, kind="stable")
    descending = score[order]
    thresholds = descending[np.linspace(0, rows - 1, 250).astype(int)]
    predicted = np.searchsorted(-descending, -thresholds, side="right")
    areas = []
    for buffer in range(widest + 1):
        soft = label.astype(np.float64)
        for first, last in runs(label):
            after, before = (
                np.arange(last, min(last + buffer // 2, rows)),
                np.arange(max(first - buffer // 2, 0), first),
            )
            soft[after] += np.sqrt(1.0 - (after - last) / max(buffer, 1))
            soft[before] += np.sqrt(1.0 - (first - before) / max(buffer, 1))
        soft = np.minimum(soft, 1.0)
        hits = np.cumsum(soft[order])[predicted - 1]
        peaks = np.array([score[first : last + 1].max() for first, last in runs(soft)])
        found = (peaks[None, :] >= thresholds[:, None]).mean(axis=1)
        recall = np.minimum(hits / ((label.sum() + soft.sum()) / 2.0), 1.0) * found
        areas.append(float(np.diff(recall, prepend=0.0) @ (hits / predicted)))
    return float(np.mean(areas))


def report_smd(console: Console, folder: Path, scratch: Path) -> tuple[int, float]:
    """Print best F1, VUS-PR and the F1 of the product's own alarms; (metric values scored, seconds)."""
    table = Table(title="SMD, per row, no point adjustment")
    for heading in ("machine", "best F1", "VUS-PR", "AP", "F1 at own is_anomaly", "own, no history"):
        table.add_column(heading)
    figures, chance, points, seconds = [], [], 0, 0.0
    rng = np.random.default_rng(0)
    for test in sorted(folder.glob("*_test.csv.gz")):
        machine = test.name.removesuffix("_test.csv.gz")
        with gzip.open(folder / f"{machine}_test_label.csv.gz", "rt") as file:
            label = np.loadtxt(file, dtype=np.int64)
        scored = run_product(test, scratch, train=folder / f"{machine}_train.csv.gz")
        cold = run_product(test, scratch)
        points, seconds = points + 38 * len(label), seconds + scored.seconds
        figures.append(
            (best_f1(scored.score, label), vus_pr(scored.score, label), average_precision(scored.score, label),
             f1_of(scored.flag, label), f1_of(cold.flag, label))
        )  # fmt: skip
        noise = rng.random(len(label))
        chance.append((best_f1(noise, label), vus_pr(noise, label), average_precision(noise, label)))
        table.add_row(machine, *(f"{value:.3f}" for value in figures[-1]))
    table.add_row("Paramedic, mean", *(f"{value:.3f}" for value in np.mean(figures, axis=0)))
    table.add_row("random scores, here", *(f"{value:.3f}" for value in np.mean(chance, axis=0)))
    table.add_row("first study: PCA + box", "0.635", "0.638", "", "0.42", "")
    table.add_row("first study: isolation forest", "0.406", "0.297", "", "", "")
    table.add_row("first study: random", "0.120", "0.094", "", "", "")
    console.print(table)
    return points, seconds


def main() -> int:
    """Print every table; 1 when the data is not there."""
    project = Path(__file__).resolve().parents[2]
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    default = os.environ.get("PARAMEDIC_BENCH_DATA", str(project.parent / "shared" / "bench"))
    parser.add_argument("--data", type=Path, default=Path(default), help=f"bench data (default: {default})")
    folder = parser.parse_args().data / "detection"
    console = Console(width=110)
    if not folder.is_dir():
        console.print(f"no labelled data at {folder}: pass --data FOLDER or set PARAMEDIC_BENCH_DATA", style="red")
        return 1
    started = perf_counter()
    with tempfile.TemporaryDirectory() as scratch_name:
        scratch = Path(scratch_name)
        run_product(folder / "open/data/artificialNoAnomaly/art_noisy.csv", scratch)  # compiles, outside the timing
        files = load_nab(folder / "open", scratch)
        report_nab(console, files)
        nab_points = sum(len(read_csv_series(folder / "open/data" / file.name).values) for file in files)
        work = [("NAB", nab_points, sum(file.scored.seconds for file in files))]
        work.append(("cloud-monitoring", *report_cloud(console, folder / "cloud-monitoring", scratch)))
        work.append(("SMD", *report_smd(console, folder / "smd", scratch)))
    for name, points, seconds in work:
        console.print(f"{name}: {points:,} points scored in {seconds:.2f} s ({points / seconds:,.0f} points/s)")
    console.print(f"all of it in {perf_counter() - started:.0f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
