"""SLOs and thresholds in TOML: read with defaults, refused with the place that is wrong."""

from datetime import timedelta
from pathlib import Path

import pytest

from libs.contracts.anomaly import AnomalyDetected, Severity
from libs.contracts.topics import TELEMETRY_METRICS
from libs.errors import ConfigurationError
from services.detector.objectives import DEFAULT_OBJECTIVE, load_objectives, objective_of
from services.detector.thresholds import load_thresholds
from tests.unit.services.detector.new_handler import new_handler
from tests.unit.services.detector.simulated_shop import BEGIN, Fault, Shop, play, second_of
from tests.unit.services.detector.test_handler import event, gauge


def written(folder: Path, text: str) -> Path:
    path = folder / "file.toml"
    path.write_text(text)
    return path


def test_without_a_file_every_service_owes_three_nines() -> None:
    assert objective_of(load_objectives(None), "cart") == DEFAULT_OBJECTIVE
    assert DEFAULT_OBJECTIVE.objective == 0.999


def test_a_service_has_its_own_objective_before_the_one_for_all(tmp_path: Path) -> None:
    text = '[[slo]]\nobjective = 0.99\n[[slo]]\nservice = "cart"\nobjective = 0.9\nlatency_s = 0.5\n'
    objectives = load_objectives(written(tmp_path, text))
    cart, other = objective_of(objectives, "cart"), objective_of(objectives, "other")
    assert cart is not None
    assert other is not None
    assert (cart.objective, cart.latency_s, other.objective) == (0.9, 0.5, 0.99)


def test_a_file_without_a_star_leaves_other_services_alone(tmp_path: Path) -> None:
    objectives = load_objectives(written(tmp_path, '[[slo]]\nservice = "cart"\nobjective = 0.9\n'))
    assert objective_of(objectives, "catalog") is None


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("[[slo]]\nobjective = 1.5\n", "slo 1: objective"),
        ("[[slo]]\nobjektive = 0.9\n", "slo 1: objektive"),
        ("[[objective]]\n", "unknown table 'objective'"),
        ("[slo]\nobjective = 0.9\n", r"write \[\[slo\]\]"),
        ("not toml", "file.toml"),
    ],
)
def test_a_wrong_objective_names_its_place(tmp_path: Path, text: str, reason: str) -> None:
    with pytest.raises(ConfigurationError, match=reason):
        load_objectives(written(tmp_path, text))


def test_a_missing_file_is_said(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="No such file"):
        load_thresholds(tmp_path / "absent.toml")


@pytest.mark.parametrize("limits", ["", "above = 1.0\nbelow = 2.0\n"])
def test_a_threshold_is_either_above_or_below(tmp_path: Path, limits: str) -> None:
    with pytest.raises(ConfigurationError, match="either above or below"):
        load_thresholds(written(tmp_path, f'[[threshold]]\nmetric = "m"\n{limits}'))


@pytest.mark.parametrize(("limit", "value"), [("above = 100", 101.0), ("below = 10", 9.0)])
def test_a_crossed_threshold_is_an_anomaly_of_its_severity(tmp_path: Path, limit: str, value: float) -> None:
    text = f'[[threshold]]\nmetric = "orders.open"\n{limit}\nfor_points = 3\nseverity = "high"\n'
    handler = new_handler(thresholds_file=written(tmp_path, text))
    found = []
    for number in range(30):
        reading = gauge(5.0 * number, value if number >= 20 else 50.0, name="orders.open")
        found += [e.record for e in handler.handle([event(reading, number, TELEMETRY_METRICS)])]
    (anomaly,) = [record for record in found if isinstance(record, AnomalyDetected)]
    assert (anomaly.detector, anomaly.severity, anomaly.observed) == ("static_threshold", Severity.HIGH, value)
    assert anomaly.detected_at == BEGIN + timedelta(seconds=110)


def test_an_outage_spends_the_budget_within_two_minutes_and_the_alert_ends_with_it() -> None:
    fault = Fault("throw", "catalog", 80, 200, 0.9)
    played = play(new_handler(), Shop(seed=2, seconds=260, metric_series=11, faults=(fault,)).arrivals())
    changes = [a for a in played.anomalies if a.detector == "burn_rate" and a.service == "catalog"]
    assert [a.state.value for a in (changes[0], changes[-1])] == ["opened", "closed"]
    assert second_of(changes[0].detected_at) <= 80 + 120
    assert changes[-1].closed_at is not None
    assert second_of(changes[-1].closed_at) <= 200 + 45


def test_latency_can_be_part_of_an_objective(tmp_path: Path) -> None:
    path = written(tmp_path, '[[slo]]\nservice = "catalog"\nobjective = 0.999\nlatency_s = 0.1\nleast_events = 50\n')
    shop = Shop(seed=2, seconds=200, metric_series=11, faults=(Fault("slow", "catalog", 80, 200, 12.0),))
    found = [a for a in play(new_handler(slo_file=path), shop.arrivals()).anomalies if a.detector == "burn_rate"]
    assert {a.service for a in found} == {"catalog"}
