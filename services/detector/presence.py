"""When each service was last heard of, and how often it usually speaks."""

from collections.abc import Iterable, Sequence, Set
from dataclasses import dataclass, field
from typing import Final

from services.detector.detectors.silence import LEAST_SILENCE_S, Presence, longest_silence_s

_SMOOTHING: Final = 0.1
_MAX_SERVICES: Final = 10_000
_FORGET_NS: Final = 6 * 3600 * 1_000_000_000  # a service that is gone for six hours was taken out of service
_BREAK_FACTOR: Final = 3.0  # three times the longest allowed silence: what comes then is a new beginning


@dataclass(slots=True)
class Heard:
    """What was heard of one service.

    Attributes:
        since_ns: Since when it has spoken without a long gap.
        last_ns: Greatest event time.
        interval_s: Smoothed time between messages.
        items: Spans or points since `since_ns`.
        messages: Messages with newer event time since `since_ns`.
        paused_ns: When it had fallen silent before `since_ns`; 0 when it is new.
    """

    since_ns: int
    last_ns: int
    interval_s: float = 0.0
    items: int = 0
    messages: int = 0
    paused_ns: int = 0


@dataclass(slots=True)
class PresenceLog:
    """Presence of the services of one partition.

    Attributes:
        services: What was heard of each.
    """

    services: dict[str, Heard] = field(default_factory=dict)

    def hear(self, service: str, newest_ns: int, items: int, *, counts_items: bool) -> None:
        """Take note of a batch whose greatest event time is trusted."""
        known = self.services.get(service)
        if known is None:
            if len(self.services) < _MAX_SERVICES:
                self.services[service] = Heard(since_ns=newest_ns, last_ns=newest_ns, items=items, messages=1)
            return
        gap_s = (newest_ns - known.last_ns) / 1e9
        if gap_s <= 0:
            known.items += items
            return
        longest_s = longest_silence_s(_presence(service, "", known, 0, 0, counts_items=counts_items))
        if known.interval_s and gap_s > _BREAK_FACTOR * longest_s:
            known.paused_ns = known.last_ns
            known.since_ns, known.items, known.messages, gap_s = newest_ns, 0, 0, known.interval_s
        known.interval_s += (gap_s - known.interval_s) * (_SMOOTHING if known.interval_s else 1.0)
        known.last_ns = newest_ns
        known.items += items
        known.messages += 1


def silences(
    mine: PresenceLog, topic: str, everybody: Iterable[tuple[str, Heard]], *, counts_items: bool
) -> list[Presence]:
    """Presence of the services of one partition, measured against everybody that was heard all the while.

    Args:
        mine: The partition.
        topic: metrics or spans.
        everybody: What was heard of all services, on every partition of the topic.
        counts_items: Whether single items count (spans come at random) or only messages (metrics at an interval).
    """
    others = list(everybody)
    newest_ns = max((heard.last_ns for _, heard in others), default=0)
    fallen = {
        name for name, other in others if newest_ns - other.last_ns >= _allowed_ns(other, counts_items=counts_items)
    }
    found = []
    for service, heard in sorted(mine.services.items()):
        silent_ns = newest_ns - heard.last_ns
        went_on: list[int] = []
        if service in fallen and silent_ns <= _FORGET_NS:
            went_on = _witnesses(service, heard, others, fallen, _allowed_ns(heard, counts_items=counts_items))
        reached_ns = max(went_on, default=0)
        found.append(_presence(service, topic, heard, reached_ns, len(went_on), counts_items=counts_items))
        if silent_ns > _FORGET_NS:
            del mine.services[service]
    return found


def _witnesses(
    service: str, heard: Heard, others: Sequence[tuple[str, Heard]], fallen: Set[str], allowed_ns: int
) -> list[int]:
    """Event times that services reached which spoke when this one fell silent and went on.

    None where they are fewer than those that fell silent with it: then the cause is what they have in common (the
    pipeline, a recording with samples of traces, the load), and not one of them.
    """
    earliest_ns = heard.last_ns - int(_BREAK_FACTOR * allowed_ns)
    went_on: list[int] = []
    fell_with_it = 1
    for name, other in others:
        is_back = other.since_ns > heard.last_ns  # it began to speak later: for the first time, or after a silence
        until_ns = other.paused_ns if is_back else other.last_ns
        if name == service or until_ns < earliest_ns:
            continue
        if until_ns - heard.last_ns < allowed_ns:
            fell_with_it += is_back or name in fallen
        elif not is_back:
            went_on.append(until_ns)
    return went_on if len(went_on) >= fell_with_it else []


def _allowed_ns(heard: Heard, *, counts_items: bool) -> int:
    return int(longest_silence_s(_presence("", "", heard, 0, 0, counts_items=counts_items)) * 1e9)


def _presence(service: str, topic: str, heard: Heard, others_ns: int, others: int, *, counts_items: bool) -> Presence:
    spoke_s = (heard.last_ns - heard.since_ns) / 1e9
    return Presence(
        service=service,
        topic=topic,
        alive_since_ns=heard.since_ns,
        last_ns=heard.last_ns,
        others_ns=others_ns,
        others=others,
        interval_s=max(heard.interval_s, LEAST_SILENCE_S / 1e3),
        rate_per_s=heard.items / spoke_s if counts_items and spoke_s > 0 else 0.0,
        messages=heard.messages,
    )
