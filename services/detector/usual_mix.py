"""Requests of each kind in their usual number: a sale that brings more of the slow kind makes nobody slower.

Where customers suddenly do more of what takes long (in a sale 28 % of the requests are checkouts instead of 12 %), the
mean of the example shop's gateway nearly triples although every kind of request is about as fast as ever, and its
latency would not close before the sale ends. So a kind beyond its usual number counts as if that number had come, with
the durations that it has now. Nothing is counted up: few requests of a kind say little, however usual many are.
"""

import math
from dataclasses import dataclass, field, replace
from typing import Final

import numpy as np

from services.detector.duration_buckets import BUCKETS, quantile_s
from services.detector.request_window import Kind, RequestWindow

_LEAST_WINDOWS: Final = 6
_RATE: Final = 0.02  # of the mean, after the first 50 windows: it follows the hour, not the minute
_SIGMAS: Final = 3.0  # of a Poisson number: what comes by chance is left as it is
_LEAST_USUAL: Final = 1.0


@dataclass(slots=True)
class UsualMix:
    """Usual number of requests of each kind in a window.

    Attributes:
        usual: By kind.
        windows: Normal windows that were learned.
    """

    usual: dict[str, float] = field(default_factory=dict)
    windows: int = 0

    def learn(self, seen: RequestWindow) -> None:
        """Add a normal window."""
        if not seen.kinds:
            return
        self.windows += 1
        rate = max(_RATE, 1.0 / self.windows)
        for name in self.usual.keys() | seen.kinds.keys():
            count = seen.kinds[name].requests if name in seen.kinds else 0
            usual = self.usual.get(name, 0.0)
            self.usual[name] = usual + rate * (count - usual)
        if len(self.usual) > len(seen.kinds) and self.windows % 100 == 0:
            self.usual = {name: usual for name, usual in self.usual.items() if usual > 1e-3}

    def of(self, seen: RequestWindow) -> RequestWindow:
        """The window with the latency and the mean of at most the usual number of requests of each kind.

        How many requests there are, and how many of them are slow, stays: it says how sure one can be.
        """
        weights = {name: self._weight(name, kind) for name, kind in seen.kinds.items()}
        if self.windows < _LEAST_WINDOWS or all(weight == 1.0 for weight in weights.values()):
            return seen
        histogram, duration_sum_s = np.zeros(BUCKETS), 0.0
        for name, kind in seen.kinds.items():
            histogram += weights[name] * kind.histogram
            duration_sum_s += weights[name] * kind.duration_sum_s
        requests = float(histogram.sum())
        mean = duration_sum_s / requests if requests else math.nan
        return replace(seen, latency=quantile_s(histogram, 0.95), mean=mean)

    def _weight(self, name: str, kind: Kind) -> float:
        usual = self.usual.get(name, 0.0)
        if usual <= 0.0:
            return 1.0  # a kind that has never come: nobody knows how many are many
        usual = max(usual, _LEAST_USUAL)
        return usual / kind.requests if kind.requests > usual + _SIGMAS * math.sqrt(usual) else 1.0
