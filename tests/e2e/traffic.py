"""Telemetry of a small system at any speed: OTLP JSON requests with event times of their own, posted to intake.

gateway calls catalog and cart; a deploy slows catalog down. Seeded: the same call makes the same telemetry.
"""

import json
import random
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final
from urllib.request import Request, urlopen

INTERVAL_S: Final = 5
REQUESTS_PER_INTERVAL: Final = 40
NS: Final = 1_000_000_000


@dataclass(frozen=True, slots=True)
class Exported:
    """One export interval of every service.

    Attributes:
        traces: OTLP trace request.
        change: Change event posted in this interval, if any.
    """

    traces: dict[str, Any]
    change: dict[str, Any] | None


def telemetry(start_ns: int, seconds: int, *, slow_from_s: int, slow_until_s: int, seed: int = 1) -> Iterator[Exported]:
    """Yield the intervals of a run; catalog answers ten times slower between two moments."""
    chance = random.Random(seed)
    for at_s in range(0, seconds, INTERVAL_S):
        slow = slow_from_s <= at_s < slow_until_s
        spans: dict[str, list[dict[str, Any]]] = {"gateway": [], "catalog": [], "cart": []}
        for _ in range(REQUESTS_PER_INTERVAL):
            began_ns = start_ns + int((at_s + chance.random() * (INTERVAL_S - 1)) * NS)
            _request(chance, spans, began_ns, slow=slow)
        change = None
        if at_s == slow_from_s - slow_from_s % INTERVAL_S and slow_from_s > 0:
            change = _deploy(start_ns + (slow_from_s - 2) * NS)
        yield Exported(traces=_traces(spans), change=change)


def post(url: str, path: str, body: dict[str, Any]) -> int:
    """POST JSON; returns the status and raises on anything but success."""
    headers = {"Content-Type": "application/json"}
    request = Request(url + path, data=json.dumps(body).encode(), headers=headers, method="POST")
    with urlopen(request, timeout=30) as answer:
        return int(answer.status)


def _request(chance: random.Random, spans: dict[str, list[dict[str, Any]]], began_ns: int, *, slow: bool) -> None:
    callee = chance.choice(("catalog", "cart"))
    base_ms = 20.0 if callee == "catalog" else 12.0
    if slow and callee == "catalog":
        base_ms *= 20.0
    callee_ns = int(base_ms * chance.uniform(0.8, 1.4) * 1e6)
    trace, root, client, server = (f"{chance.getrandbits(bits):0{bits // 4}x}" for bits in (128, 64, 64, 64))
    user = f"u-{chance.randrange(200):04d}"
    spans["gateway"].append(_span(trace, root, "", f"GET /{callee}", 2, began_ns, callee_ns + 4_000_000, user))
    spans["gateway"].append(
        _span(trace, client, root, "GET", 3, began_ns + 1_000_000, callee_ns + 2_000_000, user, peer=callee)
    )
    spans[callee].append(_span(trace, server, client, f"GET /{callee}", 2, began_ns + 2_000_000, callee_ns, user))


def _span(
    trace: str, span: str, parent: str, name: str, kind: int, start_ns: int, duration_ns: int, user: str, peer: str = ""
) -> dict[str, Any]:
    attributes = [_attribute("user.id", user)]
    if peer:
        attributes.append(_attribute("peer.service", peer))
    return {
        "traceId": trace,
        "spanId": span,
        "parentSpanId": parent,
        "name": name,
        "kind": kind,
        "startTimeUnixNano": str(start_ns),
        "endTimeUnixNano": str(start_ns + duration_ns),
        "attributes": attributes,
        "status": {},
    }


def _traces(spans: dict[str, list[dict[str, Any]]]) -> dict[str, Any]:
    return {
        "resourceSpans": [
            {
                "resource": {
                    "attributes": [
                        _attribute("service.name", service),
                        _attribute("service.instance.id", f"{service}-1"),
                    ]
                },
                "scopeSpans": [{"scope": {"name": "test"}, "spans": found}],
            }
            for service, found in spans.items()
        ]
    }


def _attribute(key: str, value: str) -> dict[str, Any]:
    return {"key": key, "value": {"stringValue": value}}


def _deploy(at_ns: int) -> dict[str, Any]:
    from libs.contracts.codec import utc_from_ns

    return {
        "kind": "deploy",
        "service": "catalog",
        "timestamp": utc_from_ns(at_ns).isoformat(),
        "version": "1.5.0",
        "previous_version": "1.4.2",
        "summary": "catalog 1.4.2 -> 1.5.0",
        "actor": "deploy-bot",
    }
