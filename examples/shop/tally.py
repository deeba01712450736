"""What the users of the shop saw: statuses and latencies of the last minutes."""

import math
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

_KEPT = 50_000  # 15 requests/s for nearly an hour

NO_ANSWER = 0  # in place of a status: the connection broke or nothing came in time


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """One request as its user saw it.

    Attributes:
        at_s: When it was answered, on the generator's clock.
        step: What the user did: list, search, product, add, cart, checkout, import.
        user_id: Who.
        status: HTTP status; 0 for no answer.
        latency_s: From the moment the user wanted it.
    """

    at_s: float
    step: str
    user_id: str
    status: int
    latency_s: float

    @property
    def failed(self) -> bool:
        """Whether the shop, not the user, is to blame."""
        return self.status == NO_ANSWER or self.status >= 500


@dataclass(frozen=True, slots=True, kw_only=True)
class StepStats:
    """Requests of one kind in a window; latencies in seconds, 0 when there were none."""

    requests: int
    failed: int
    refused: int
    p50_s: float
    p95_s: float
    p99_s: float

    @property
    def failed_ratio(self) -> float:
        """Failed requests over all, 0 when there were none."""
        return self.failed / self.requests if self.requests else 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadStats:
    """What users saw in the last `window_s` seconds.

    Attributes:
        window_s: Length of the window.
        total: All steps together.
        by_step: Each kind of step.
        users_affected: Ids of users who met a failure.
        in_flight: Sessions under way now.
        sessions: Sessions begun since the start.
        shed: Sessions that were not begun because too many were under way.
    """

    window_s: float
    total: StepStats
    by_step: dict[str, StepStats]
    users_affected: tuple[str, ...]
    in_flight: int
    sessions: int
    shed: int


class Tally:
    """Keeps the newest fifty thousand requests."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._seen: deque[Seen] = deque(maxlen=_KEPT)
        self.in_flight = 0
        self.sessions = 0
        self.shed = 0

    def add(self, seen: Seen) -> None:
        """Count one request."""
        self._seen.append(seen)

    def stats(self, window_s: float) -> LoadStats:
        """Sum up the last seconds."""
        since_s = self._clock() - window_s
        recent: list[Seen] = []
        for seen in reversed(self._seen):  # answered in order, so the first one that is too old ends the search
            if seen.at_s < since_s:
                break
            recent.append(seen)
        by_step = {
            step: summarise([one for one in recent if one.step == step]) for step in sorted({s.step for s in recent})
        }
        return LoadStats(
            window_s=window_s,
            total=summarise(recent),
            by_step=by_step,
            users_affected=tuple(sorted({seen.user_id for seen in recent if seen.failed})),
            in_flight=self.in_flight,
            sessions=self.sessions,
            shed=self.shed,
        )


def summarise(seen: Sequence[Seen]) -> StepStats:
    """Statistics of some requests."""
    latencies = sorted(one.latency_s for one in seen)
    return StepStats(
        requests=len(seen),
        failed=sum(one.failed for one in seen),
        refused=sum(400 <= one.status < 500 for one in seen),
        p50_s=_quantile(latencies, 0.5),
        p95_s=_quantile(latencies, 0.95),
        p99_s=_quantile(latencies, 0.99),
    )


def _quantile(ordered: Sequence[float], share: float) -> float:
    """The smallest value that at least `share` of the values do not exceed; 0 of nothing."""
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)] if ordered else 0.0
