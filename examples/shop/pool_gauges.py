"""Report the pools of one process: saturation shows here before latency does."""

from collections.abc import Iterable
from dataclasses import dataclass

from opentelemetry import metrics
from opentelemetry.metrics import CallbackOptions, Observation

from examples.shop.occupancy import MeanSinceLastRead, Occupancy


@dataclass(frozen=True, slots=True)
class _Watched:
    name: str
    occupancy: Occupancy
    for_use: MeanSinceLastRead
    for_queue: MeanSinceLastRead
    for_share: MeanSinceLastRead


def _watched(name: str, occupancy: Occupancy) -> _Watched:
    return _Watched(
        name,
        occupancy,
        MeanSinceLastRead(occupancy),
        MeanSinceLastRead(occupancy),
        MeanSinceLastRead(occupancy),
    )


class PoolGauges:
    """`worker_pool.*` for every pool and `db.client.connection.*` for those of database connections.

    In use, queue depth and utilisation are means over the export interval.
    """

    def __init__(self) -> None:
        self._workers: list[_Watched] = []
        self._connections: list[_Watched] = []
        meter = metrics.get_meter("shop.pools")
        meter.create_observable_gauge("worker_pool.size", [self._size], unit="{worker}")
        meter.create_observable_gauge("worker_pool.in_use", [self._in_use], unit="{worker}")
        meter.create_observable_gauge("worker_pool.queue_depth", [self._queue_depth], unit="{request}")
        meter.create_observable_gauge("worker_pool.utilization", [self._utilization], unit="1")
        meter.create_observable_up_down_counter("db.client.connection.count", [self._count], unit="{connection}")
        meter.create_observable_up_down_counter("db.client.connection.max", [self._max], unit="{connection}")
        meter.create_observable_up_down_counter(
            "db.client.connection.pending_requests", [self._pending], unit="{request}"
        )

    def add(self, name: str, occupancy: Occupancy, *, connections: bool = False) -> None:
        """Report one more pool, by its name; `connections` when each worker holds a database connection."""
        self._workers.append(_watched(name, occupancy))
        if connections:
            self._connections.append(_watched(name, occupancy))

    def _size(self, _: CallbackOptions) -> Iterable[Observation]:
        return [Observation(pool.occupancy.size, _label(pool)) for pool in self._workers]

    def _in_use(self, _: CallbackOptions) -> Iterable[Observation]:
        return [Observation(pool.for_use.read()[0], _label(pool)) for pool in self._workers]

    def _queue_depth(self, _: CallbackOptions) -> Iterable[Observation]:
        return [Observation(pool.for_queue.read()[1], _label(pool)) for pool in self._workers]

    def _utilization(self, _: CallbackOptions) -> Iterable[Observation]:
        return [Observation(pool.for_share.read()[0] / pool.occupancy.size, _label(pool)) for pool in self._workers]

    def _count(self, _: CallbackOptions) -> Iterable[Observation]:
        for pool in self._connections:
            used = pool.for_use.read()[0]
            label = {"db.client.connection.pool.name": pool.name}
            yield Observation(used, {**label, "db.client.connection.state": "used"})
            yield Observation(pool.occupancy.size - used, {**label, "db.client.connection.state": "idle"})

    def _max(self, _: CallbackOptions) -> Iterable[Observation]:
        return [
            Observation(pool.occupancy.size, {"db.client.connection.pool.name": pool.name})
            for pool in self._connections
        ]

    def _pending(self, _: CallbackOptions) -> Iterable[Observation]:
        return [
            Observation(pool.for_queue.read()[1], {"db.client.connection.pool.name": pool.name})
            for pool in self._connections
        ]


def _label(pool: _Watched) -> dict[str, str]:
    return {"worker_pool.name": pool.name}
