"""The columns of spans in Elasticsearch, read for a window, each span once."""

import base64
from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np
import numpy.typing as npt

from libs.contracts.columns import Int32Array, Int64Array
from libs.stores.call_table import SpanTable
from libs.stores.elastic_connection import ElasticConnection
from libs.stores.elastic_pages import hits
from libs.stores.elastic_span_read import of_services
from libs.stores.telemetry import Window
from libs.stores.telemetry_columns import SPAN_IDS, SPAN_ROW, RecordArray

_PAGE: Final = 200  # batches; one of 600 spans takes some 60 kB

CallKey = tuple[str, str, str]  # caller, peer, span name


class SpanColumnReader:
    """Reads columns and numbers what they name; numbers hold for as long as the reader does.

    Args:
        connection: The cluster.
        index: Pattern of the indices with columns.
        calls: Numbers of calls that are known already, from 1; others get the next ones.
    """

    def __init__(self, connection: ElasticConnection, index: str, calls: Mapping[CallKey, int] | None = None) -> None:
        self._connection = connection
        self._index = index
        self._services: dict[str, int] = {}
        self.names: dict[int, str] = {}
        self.calls: dict[CallKey, int] = dict(calls or {})

    def service(self, name: str) -> int:
        """Number of a service."""
        number = self._services.setdefault(name, len(self._services))
        self.names[number] = name
        return number

    def load(self, window: Window, services: Sequence[int] | None, *, with_ids: bool) -> SpanTable:
        """The spans that ended in a window; `ids` is always there, because by it a span counts once."""
        wanted = () if services is None else [self.names[number] for number in services]
        filters = [
            {"range": {"paramedic.max_ns": {"gte": window.start_ns}}},
            {"range": {"paramedic.min_ns": {"lt": window.end_ns}}},
            *of_services(wanted),
        ]
        asked = {"query": {"bool": {"filter": filters}}}
        rows, ids, owners = [], [], []
        for hit in hits(self._connection, self._index, asked, sort=[{"paramedic.min_ns": "asc"}], page=_PAGE):
            own, owner = hit["_source"]["paramedic"], hit["_source"]["service"]["name"]
            part = np.frombuffer(base64.b64decode(own["rows"]), SPAN_ROW).copy()
            part["call"] = self._numbered(owner, own["calls"])[part["call"]]
            rows.append(part)
            ids.append(np.frombuffer(base64.b64decode(own["ids"]), SPAN_IDS))
            owners.append(np.full(len(part), self.service(owner), np.int64))
        if not rows:
            none = np.zeros(0, np.int64)
            return SpanTable(rows=np.zeros(0, SPAN_ROW), services=none, ends=none, ids=np.zeros(0, SPAN_IDS))
        return _inside(np.concatenate(rows), np.concatenate(ids), np.concatenate(owners), window)

    def _numbered(self, caller: str, calls: Sequence[Sequence[str]]) -> Int32Array:
        """Number of each call of a batch by its place there; 0 for spans that are no calls."""
        numbers = [0]
        for peer, name in calls:
            numbers.append(self.calls.setdefault((caller, peer, name), len(self.calls) + 1))
        return np.array(numbers, np.int32)


def _inside(rows: RecordArray, ids: RecordArray, owners: Int64Array, window: Window) -> SpanTable:
    ends = rows["start"] + rows["duration"]
    inside = np.flatnonzero((ends >= window.start_ns) & (ends < window.end_ns))
    kept = inside[_firsts(ids[inside])]
    return SpanTable(rows=rows[kept], services=owners[kept], ends=ends[kept], ids=ids[kept])


def _firsts(ids: RecordArray) -> npt.NDArray[np.intp]:
    """Positions of the first of each (trace id, span id), ascending: two batches may carry the same span."""
    if not len(ids):
        return np.zeros(0, np.intp)
    words = np.frombuffer(ids.tobytes(), "<u8").reshape(-1, 4)
    order = np.lexsort((words[:, 2], words[:, 1], words[:, 0]))
    sorted_words = words[order, :3]
    begins = np.append(True, (sorted_words[1:] != sorted_words[:-1]).any(axis=1))
    return np.sort(order[begins])  # lexsort is stable: the first of equal ones comes first
