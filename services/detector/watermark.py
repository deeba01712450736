"""How far event time has come in one partition, and what may move it.

A window is closed when the watermark (greatest event time minus the lateness) passes its end. One service whose clock
runs ahead would close everybody's windows early and make all that follows late; so a batch that lies more than ten
minutes ahead of everybody, or of the moment it was received, does not move the watermark until another service, or
eight batches in a row of the only one that still speaks, confirm that time has really moved (a recording has gaps).
"""

from dataclasses import dataclass
from typing import Final

AHEAD_NS: Final = 10 * 60 * 1_000_000_000
_CONFIRMATIONS: Final = 8


@dataclass(slots=True)
class Watermark:
    """Greatest trusted event time of a partition.

    Attributes:
        newest_ns: Greatest event time, 0 before the first batch.
        ahead_ns: Event time of a jump that nobody has confirmed yet.
        ahead_service: Who jumped.
        ahead_batches: Batches in a row that are ahead.
        jumps_held: How many batches were ahead and did not move the watermark.
    """

    newest_ns: int = 0
    ahead_ns: int = 0
    ahead_service: str = ""
    ahead_batches: int = 0
    jumps_held: int = 0

    def advance(self, service: str, batch_newest_ns: int, observed_ns: int) -> bool:
        """Move on by one batch.

        Returns:
            Whether the batch lies within what is trusted; False for a batch from the future, which moved nothing.
        """
        if batch_newest_ns > observed_ns + AHEAD_NS:
            self.jumps_held += 1
            return False
        if self.newest_ns and batch_newest_ns > self.newest_ns + AHEAD_NS:
            if not self._confirmed(service, batch_newest_ns):
                self.jumps_held += 1
                return False
        elif service != self.ahead_service:
            self.ahead_batches = 0  # somebody still lives in the old time
        self.newest_ns = max(self.newest_ns, batch_newest_ns)
        return True

    def _confirmed(self, service: str, batch_newest_ns: int) -> bool:
        agrees = abs(batch_newest_ns - self.ahead_ns) <= AHEAD_NS
        if agrees and service != self.ahead_service:
            self.ahead_batches = 0
            return True
        self.ahead_batches = self.ahead_batches + 1 if agrees else 1
        self.ahead_ns, self.ahead_service = batch_newest_ns, service
        return self.ahead_batches >= _CONFIRMATIONS

    def closed_until_ns(self, lateness_ns: int) -> int:
        """Windows that end at or before this are complete."""
        return self.newest_ns - lateness_ns
