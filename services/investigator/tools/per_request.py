"""In how many requests of each kind something happens, before against now; requests are the independent trials.

A statement that every request reached and none reaches any more is certain after ten requests, whatever its counts; one
that some requests reach a hundred times in a loop says little. So requests are counted, endpoint by endpoint.

Source: Woolf, "The log likelihood ratio test (the G-test)", Annals of Human Genetics 1957.
"""

import math
from collections import defaultdict
from collections.abc import Mapping, Set

from services.investigator.tools.span_set import SpanSet

Trials = Mapping[str, Set[str]]
_NONE: frozenset[str] = frozenset()


def traces_by_endpoint(spans: SpanSet) -> dict[str, dict[str, set[str]]]:
    """Trace ids by service and endpoint; of traces that use one endpoint of the service only, to tell them apart."""
    found: dict[str, dict[str, set[str]]] = defaultdict(lambda: defaultdict(set))
    for (trace_id, service), endpoints in spans.endpoints.items():
        if len(set(endpoints)) == 1:
            found[service][endpoints[0]].add(trace_id)
    return found


def distance(done_before: Trials, done_now: Trials, asked_before: Trials, asked_now: Trials) -> float:
    """Signed root of the G statistic over endpoints, about normal; above 0 it happens in more of the requests.

    Args:
        done_before: Requests in which it happened before, by endpoint.
        done_now: The same now.
        asked_before: All requests before, by endpoint.
        asked_now: The same now.
    """
    statistic = direction = 0.0
    for endpoint, requests_now in asked_now.items():
        requests_before = asked_before.get(endpoint, _NONE)
        hits_before = len(done_before.get(endpoint, _NONE) & requests_before)
        hits_now = len(done_now.get(endpoint, _NONE) & requests_now)
        if not requests_before or not requests_now or not hits_before + hits_now:
            continue
        shift = hits_now / len(requests_now) - hits_before / len(requests_before)
        part = _g(hits_before, len(requests_before), hits_now, len(requests_now))
        statistic += part
        direction += math.copysign(part, shift)
    return math.copysign(math.sqrt(statistic), direction) if statistic else 0.0


def _g(hits_before: int, before: int, hits_now: int, now: int) -> float:
    """G of a two by two table, half a trial added to each cell so that one request is no proof."""
    cells = (hits_before + 0.5, before - hits_before + 0.5, hits_now + 0.5, now - hits_now + 0.5)
    whole = sum(cells)
    rows = (cells[0] + cells[1], cells[0] + cells[1], cells[2] + cells[3], cells[2] + cells[3])
    columns = (cells[0] + cells[2], cells[1] + cells[3]) * 2
    return max(2.0 * sum(c * math.log(c * whole / (r * k)) for c, r, k in zip(cells, rows, columns, strict=True)), 0.0)
