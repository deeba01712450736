"""How far telemetry has come and gone: the watermark, the horizons of retention, and who has sent something."""

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

from libs.stores.elastic_guarded import GuardedIndex, Stored

_ID: Final = "telemetry/progress"
_LONG_FACTOR: Final = 10  # changes and edges are kept ten times as long (the port's promise)


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """One moment of it; unix nanoseconds.

    Attributes:
        watermark_ns: Greatest event time of metrics, logs and spans.
        horizon_ns: Telemetry before it is forgotten.
        long_horizon_ns: Changes and calls before it are forgotten.
        services: First and last event time per service.
    """

    watermark_ns: int = 0
    horizon_ns: int = 0
    long_horizon_ns: int = 0
    services: Mapping[str, tuple[int, int]] = field(default_factory=dict)

    def seen(self, extents: Mapping[str, tuple[int, int]]) -> "Progress":
        """With telemetry of some services."""
        services = dict(self.services)
        for name, (first, last) in extents.items():
            known = services.get(name, (first, last))
            services[name] = (min(first, known[0]), max(last, known[1]))
        latest = max((last for _, last in extents.values()), default=0)
        return replace(self, watermark_ns=max(self.watermark_ns, latest), services=services)

    def pruned(self, before_ns: int) -> "Progress":
        """With everything before a moment forgotten."""
        long_ns = self.long_horizon_ns
        if self.watermark_ns:
            long_ns = max(long_ns, self.watermark_ns - _LONG_FACTOR * max(0, self.watermark_ns - before_ns))
        horizon_ns = max(self.horizon_ns, before_ns)
        services = {name: extent for name, extent in self.services.items() if extent[1] >= horizon_ns}
        return replace(self, horizon_ns=horizon_ns, long_horizon_ns=long_ns, services=services)


class ProgressDocument:
    """The document that holds it, changed by one writer at a time.

    Args:
        documents: Where it is.
    """

    def __init__(self, documents: GuardedIndex) -> None:
        self._documents = documents
        self._lock = threading.Lock()

    def read(self) -> Progress:
        """As it is now; no refresh is needed."""
        return _decoded(self._documents.read(_ID))

    def see(self, extents: Mapping[str, tuple[int, int]]) -> None:
        """Note telemetry of services that was stored; nothing is written when it tells nothing new."""
        if extents:
            self._change(lambda progress: progress.seen(extents))

    def prune(self, before_ns: int) -> Progress:
        """Move the horizons."""
        return self._change(lambda progress: progress.pruned(before_ns))

    def _change(self, move: Callable[[Progress], Progress]) -> Progress:
        moved = [Progress()]

        def change(stored: Stored | None, _: bool) -> Mapping[str, Any] | None:
            known = _decoded(stored)
            moved[0] = move(known)
            return None if moved[0] == known else _encoded(moved[0])

        with self._lock:  # threads of this process need not race each other
            self._documents.update(_ID, change)
        return moved[0]


def _encoded(progress: Progress) -> Mapping[str, Any]:
    fields = {
        "watermark_ns": progress.watermark_ns,
        "horizon_ns": progress.horizon_ns,
        "long_horizon_ns": progress.long_horizon_ns,
        "services": [[name, first, last] for name, (first, last) in progress.services.items()],
    }
    return {"kind": "progress", "progress": fields}


def _decoded(stored: Stored | None) -> Progress:
    if stored is None:
        return Progress()
    fields = stored.source["progress"]
    return Progress(
        watermark_ns=fields["watermark_ns"],
        horizon_ns=fields["horizon_ns"],
        long_horizon_ns=fields["long_horizon_ns"],
        services={name: (first, last) for name, first, last in fields["services"]},
    )
