"""Callees in trouble: what counts as harm of their own below a target, and what does not."""

import pytest

from libs.contracts.anomaly import AnomalyDetected, Severity, Signal
from libs.stores.telemetry import Edge
from services.remediation.callees import ailing_callees, below
from tests.unit.libs.runbooks.made import an_anomaly, an_incident, closed


def calls(*pairs: tuple[str, str]) -> list[Edge]:
    return [
        Edge(caller=caller, callee=callee, calls=9, errors=0, first_seen_ns=1, last_seen_ns=2)
        for caller, callee in pairs
    ]


SHOP = calls(("gateway", "checkout"), ("checkout", "payments"), ("payments", "bank"), ("gateway", "catalog"))


def ailing(*anomalies: AnomalyDetected, target: str = "checkout") -> set[str]:
    return {anomaly.id for anomaly in ailing_callees(target, SHOP, [an_incident(*anomalies)])}


def test_below_is_what_is_reached_by_calls_even_in_a_circle() -> None:
    assert below("checkout", SHOP) == {"payments", "bank"}
    assert below("a", calls(("a", "b"), ("b", "a"), ("b", "c"))) == {"b", "c"}
    assert below("nobody", SHOP) == frozenset()


def test_a_slow_service_and_a_failing_call_below_are_trouble() -> None:
    slow = an_anomaly("payments", id="slow")
    call = an_anomaly("payments", peer="bank", id="call", signal=Signal.ERRORS)
    own_call = an_anomaly("checkout", peer="payments", id="own call")
    assert ailing(slow, call, own_call) == {"slow", "call", "own call"}


def test_trouble_below_counts_whichever_ticket_it_is_in() -> None:
    other = an_incident(an_anomaly("bank", id="elsewhere"), id="incident-2", number="INC-000002")
    found = ailing_callees("checkout", SHOP, [an_incident(an_anomaly("checkout")), other])
    assert [anomaly.id for anomaly in found] == ["elsewhere"]


@pytest.mark.parametrize(
    "anomaly",
    [
        an_anomaly("checkout"),
        an_anomaly("gateway"),
        an_anomaly("catalog"),
        an_anomaly("gateway", peer="checkout"),
        an_anomaly("payments", severity=Severity.LOW),
        an_anomaly("payments", signal=Signal.TRAFFIC),
        an_anomaly("payments", signal=Signal.SATURATION),
        an_anomaly("mobile", peer="payments"),
        closed(an_anomaly("payments"), 60),
    ],
    ids=[
        "the target itself", "its caller", "beside it", "calls to it", "a trifle", "only busier", "only full",
        "seen by an outsider alone", "over",
    ],
)  # fmt: skip
def test_what_is_no_harm_below(anomaly: AnomalyDetected) -> None:
    assert ailing(anomaly) == set()


def test_a_callee_that_recovered_objects_no_more() -> None:
    slow = an_anomaly("payments")
    assert ailing(slow)
    assert not ailing(closed(slow, 60))
