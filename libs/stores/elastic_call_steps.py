"""What calls five minutes of spans tell of: a pure function of columns, so it may be computed anew at any time."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from libs.contracts.columns import Int64Array
from libs.stores.call_table import SpanTable, join_keys
from libs.stores.elastic_span_columns import CallKey
from libs.stores.telemetry import Window
from libs.stores.telemetry_columns import SERVER_KINDS

Tally = tuple[int, int, int, int]  # calls, errors, first and last event time


@dataclass(slots=True)
class CallTallies:
    """Calls counted, and the services that answered them.

    Attributes:
        calls: By caller, peer and span name; peer and name are "" for parents that are no calls.
        callees: By call and answering service.
    """

    calls: dict[CallKey, Tally] = field(default_factory=dict)
    callees: dict[tuple[CallKey, str], Tally] = field(default_factory=dict)

    def add(self, other: "CallTallies") -> None:
        """Add what was counted elsewhere."""
        for call, tally in other.calls.items():
            self.calls[call] = sum_of(self.calls.get(call), tally)
        for answered, tally in other.callees.items():
            self.callees[answered] = sum_of(self.callees.get(answered), tally)


def sum_of(known: Tally | None, more: Tally) -> Tally:
    """Two tallies as one."""
    if known is None:
        return more
    return (known[0] + more[0], known[1] + more[1], min(known[2], more[2]), max(known[3], more[3]))


def count_calls(
    table: SpanTable, window: Window, names: Mapping[int, str], calls: Mapping[CallKey, int]
) -> CallTallies:
    """Count the calls that ended in a window, and join the answers that did with their calls.

    Args:
        table: Spans of the window and of some time around it.
        window: What is counted.
        names: Services by number.
        calls: Calls with their numbers.
    """
    keys = {number: key for key, number in calls.items()}
    inside = (table.ends >= window.start_ns) & (table.ends < window.end_ns)
    failed = table.rows["status"] == 2
    tallies = CallTallies()
    calling = np.flatnonzero(inside & (table.rows["call"] > 0))
    numbers = table.rows["call"][calling].astype(np.int64)
    for (number,), tally in _tallies([numbers], table.ends[calling], failed[calling]):
        tallies.calls[keys[number]] = tally
    answers = np.flatnonzero(inside & np.isin(table.rows["kind"], SERVER_KINDS))
    parents = _parents(table, answers)
    met = parents >= 0
    _join(tallies, table, answers[met], parents[met], names, keys)
    return tallies


def _join(
    tallies: CallTallies,
    table: SpanTable,
    answers: npt.NDArray[np.intp],
    parents: npt.NDArray[np.intp],
    names: Mapping[int, str],
    keys: Mapping[int, CallKey],
) -> None:
    """Note who answered which call; a parent that is no call counts as one when it is another service's."""
    failed = table.rows["status"] == 2
    calls = table.rows["call"][parents].astype(np.int64)
    callers, callees, ends = table.services[parents], table.services[answers], table.ends[answers]
    called = calls > 0
    groups = [calls[called], callees[called]]
    for (number, callee), tally in _tallies(groups, ends[called], failed[parents][called]):
        _note(tallies, keys[number], names[callee], tally)
    direct = ~called & (callers != callees)
    groups = [callers[direct], callees[direct]]
    for (caller, callee), tally in _tallies(groups, ends[direct], failed[answers][direct]):
        call = (names[caller], "", "")
        _note(tallies, call, names[callee], tally)
        tallies.calls[call] = sum_of(tallies.calls.get(call), (0, 0, tally[2], tally[3]))


def _note(tallies: CallTallies, call: CallKey, callee: str, tally: Tally) -> None:
    tallies.callees[call, callee] = sum_of(tallies.callees.get((call, callee)), tally)


def _parents(table: SpanTable, answers: npt.NDArray[np.intp]) -> npt.NDArray[np.intp]:
    """Position of the parent of each answer, -1 where it is not in the table."""
    if not len(table.ids) or not len(answers):
        return np.full(len(answers), -1, np.intp)
    own = join_keys(table.ids, "span")
    order = np.argsort(own, kind="stable")
    wanted = join_keys(table.ids[answers], "parent")
    places = np.minimum(np.searchsorted(own[order], wanted), len(order) - 1)
    found: npt.NDArray[np.intp] = np.where(own[order][places] == wanted, order[places], -1)
    return found


def _tallies(
    groups: list[Int64Array], ends: Int64Array, failed: npt.NDArray[np.bool_]
) -> Iterable[tuple[tuple[int, ...], Tally]]:
    """Tally of each combination of the groups' numbers."""
    if not len(ends):
        return
    order = np.lexsort(groups)
    columns = np.stack([group[order] for group in groups])
    begins = np.flatnonzero(np.append(True, (columns[:, 1:] != columns[:, :-1]).any(axis=0)))
    counts = np.diff(np.append(begins, len(order)))
    errors = np.add.reduceat(failed[order].astype(np.int64), begins)
    first, last = np.minimum.reduceat(ends[order], begins), np.maximum.reduceat(ends[order], begins)
    for place, numbers in enumerate(columns[:, begins].T.tolist()):
        yield tuple(numbers), (int(counts[place]), int(errors[place]), int(first[place]), int(last[place]))
