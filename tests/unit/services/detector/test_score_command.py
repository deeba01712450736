"""`paramedic score`: every shape of file that people have, and a clear word about those it cannot read."""

import csv
import gzip
import json
from pathlib import Path

import numpy as np
import pytest
import typer
from typer.testing import CliRunner

from libs.errors import ConfigurationError
from services.detector.score_command import score, score_file

ROWS = 400


def values() -> list[float]:
    numbers = 20.0 + np.random.default_rng(0).normal(size=ROWS)
    numbers[300] = 60.0
    return [float(number) for number in numbers]


def stamp(row: int) -> str:
    return f"2024-03-{1 + row // 288:02d} {row % 288 // 12:02d}:{row % 12 * 5:02d}:00"


def write(path: Path, lines: list[str]) -> Path:
    path.write_text("\n".join(lines) + "\n")
    return path


def read(path: Path) -> list[dict[str, str]]:
    with path.open() as file:
        return list(csv.DictReader(file))


def plain_file(tmp_path: Path) -> Path:
    return write(tmp_path / "in.csv", ["timestamp,value", *(f"{stamp(k)},{v!r}" for k, v in enumerate(values()))])


def test_one_row_comes_out_per_row_in_input_order(tmp_path: Path) -> None:
    out = tmp_path / "out.csv"
    summary = score_file(plain_file(tmp_path), out, train=None)
    rows = read(out)
    assert list(rows[0]) == ["timestamp", "anomaly_score", "is_anomaly"]
    assert [row["timestamp"] for row in rows] == [stamp(k) for k in range(ROWS)]
    assert rows[300]["is_anomaly"] == "1"
    assert float(rows[300]["anomaly_score"]) == max(float(row["anomaly_score"]) for row in rows)
    assert {row["is_anomaly"] for row in rows} == {"0", "1"}
    assert (summary.rows, summary.value_columns, summary.malformed_cells) == (ROWS, 1, 0)
    assert summary.anomalies == sum(row["is_anomaly"] == "1" for row in rows)


@pytest.mark.parametrize("shape", ["no header", "label", "quoted", "epoch", "epoch ms", "zulu", "gzip", "bom", "crlf"])
def test_the_same_series_in_another_shape_scores_the_same(tmp_path: Path, shape: str) -> None:
    expected = tmp_path / "expected.csv"
    score_file(plain_file(tmp_path), expected, train=None)
    rows = list(enumerate(values()))
    epoch = 1_709_251_200  # 2024-03-01 00:00:00 UTC
    lines = {
        "no header": [f"{stamp(k)},{v!r}" for k, v in rows],
        "label": ["TimeStamp,Value,LABEL", *(f"{stamp(k)},{v!r},{int(k == 300)}" for k, v in rows)],
        "quoted": ['"TimeStamp","Value"', *(f'"{stamp(k)}","{v!r}"' for k, v in rows)],
        "epoch": [f"{epoch + 300 * k},{v!r}" for k, v in rows],
        "epoch ms": [f"{(epoch + 300 * k) * 1_000},{v!r}" for k, v in rows],
        "zulu": ["time,value", *(f"{stamp(k).replace(' ', 'T')}Z,{v!r}" for k, v in rows)],
    }.get(shape, ["timestamp,value", *(f"{stamp(k)},{v!r}" for k, v in rows)])
    text = ("\r\n" if shape == "crlf" else "\n").join(lines).encode("utf-8-sig" if shape == "bom" else "utf-8")
    source = tmp_path / "shape.csv"
    source.write_bytes(gzip.compress(text) if shape == "gzip" else text)
    out = tmp_path / "out.csv"
    score_file(source, out, train=None)
    assert [row["anomaly_score"] for row in read(out)] == [row["anomaly_score"] for row in read(expected)]


def test_labels_never_change_a_score(tmp_path: Path) -> None:
    for name, label in (("a", 0), ("b", 1)):
        lines = ["Value,Label", *(f"{v!r},{label}" for v in values())]
        score_file(write(tmp_path / f"{name}.csv", lines), tmp_path / f"{name}.out", train=None)
    assert (tmp_path / "a.out").read_bytes() == (tmp_path / "b.out").read_bytes()


def matrix(rows: int, seed: int) -> list[str]:
    numbers = np.random.default_rng(seed).uniform(size=(rows, 1)) * np.array([[0.5, 0.8, 0.2]]) + 0.1
    if seed == 2:
        numbers[200:230, 1] = 0.0
        numbers[200:230, 2] = 0.9
    return [",".join(f"{cell:.6f}" for cell in row) for row in numbers]


def test_many_columns_are_scored_as_one_entity_with_and_without_history(tmp_path: Path) -> None:
    train = tmp_path / "train.csv.gz"
    train.write_bytes(gzip.compress("\n".join(matrix(1_000, 1)).encode()))
    source = write(tmp_path / "test.csv", matrix(600, 2))
    for history, expected_train in ((train, 1_000), (None, 0)):
        out = tmp_path / "out.csv"
        summary = score_file(source, out, train=history)
        rows = read(out)
        assert (summary.rows, summary.value_columns, summary.train_rows) == (600, 3, expected_train)
        assert [row["timestamp"] for row in rows] == [str(k) for k in range(600)]
        if history is not None:
            assert all(row["is_anomaly"] == "1" for row in rows[203:230])
            assert all(row["is_anomaly"] == "0" for row in rows[100:200])


def test_history_lets_a_single_series_alarm_from_its_first_row(tmp_path: Path) -> None:
    train = write(tmp_path / "train.csv", ["value", *(repr(v) for v in values()[:300])])
    source = write(tmp_path / "in.csv", ["value", "20.0", "90.0", "20.5"])
    score_file(source, tmp_path / "out.csv", train=train)
    assert [row["is_anomaly"] for row in read(tmp_path / "out.csv")] == ["0", "1", "0"]


def test_malformed_cells_score_zero_and_are_reported_with_their_line(tmp_path: Path) -> None:
    lines = ["timestamp,value", *(f"{stamp(k)},{v!r}" for k, v in enumerate(values()))]
    lines[51] = f"{stamp(50)},n/a"
    lines[61] = f"{stamp(60)}"
    lines[71] = "yesterday,20.0"
    lines[81] = f"{stamp(80)},inf"
    summary = score_file(write(tmp_path / "in.csv", lines), tmp_path / "out.csv", train=None)
    rows = read(tmp_path / "out.csv")
    assert [float(rows[k]["anomaly_score"]) for k in (50, 60, 70, 80)] == [0.0] * 4
    assert (summary.malformed_cells, summary.first_malformed_line) == (4, 52)
    assert len(rows) == ROWS


@pytest.mark.parametrize(
    ("content", "word"),
    [
        (b"", "empty"),
        (b"\n\n", "empty"),
        (b"timestamp,value\n", "no rows"),
        (b"name,place\nanna,rome\n", "no numeric column"),
        (b"timestamp,label\n2024-01-01,1\n", "no numeric column"),
        (b"PK\x03\x04\x00\x00", "binary"),
        (b"\x1f\x8b\x08broken", "cannot be read"),
        (b'a,b\n1,"' + b"x" * 1_100_000, "line 2"),
    ],
)
def test_a_file_that_cannot_be_telemetry_is_refused_with_a_reason(tmp_path: Path, content: bytes, word: str) -> None:
    source = tmp_path / "in.csv"
    source.write_bytes(content)
    with pytest.raises(ConfigurationError, match=word):
        score_file(source, tmp_path / "out.csv", train=None)
    assert not (tmp_path / "out.csv").exists()


def test_wrong_paths_are_refused_with_a_reason(tmp_path: Path) -> None:
    source = plain_file(tmp_path)
    with pytest.raises(ConfigurationError, match="no such file"):
        score_file(tmp_path / "missing.csv", tmp_path / "out.csv", train=None)
    with pytest.raises(ConfigurationError, match="overwrite"):
        score_file(source, source, train=None)
    with pytest.raises(ConfigurationError, match="cannot be written"):
        score_file(source, tmp_path / "no" / "folder" / "out.csv", train=None)
    with pytest.raises(ConfigurationError, match="value columns"):
        score_file(source, tmp_path / "out.csv", train=write(tmp_path / "two.csv", ["a,b", "1,2", "3,4"]))


def test_the_command_prints_json_that_a_script_can_read(tmp_path: Path) -> None:
    app = typer.Typer()
    app.command()(score)
    out = tmp_path / "out.csv.gz"
    result = CliRunner().invoke(app, [str(plain_file(tmp_path)), "--out", str(out), "--json"])
    assert result.exit_code == 0
    assert json.loads(result.stdout)["rows"] == ROWS
    assert gzip.decompress(out.read_bytes()).startswith(b"timestamp,anomaly_score,is_anomaly\n")
