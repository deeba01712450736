"""Metric points in Elasticsearch: one document of columns a batch, and one a list of series.

An instance exports the same list of series again and again; a batch refers to the list by its digest.
"""

import base64
import hashlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import msgspec
import numpy as np
import numpy.typing as npt

from libs.contracts.codec import ns_from_utc
from libs.contracts.columns import (
    Int32Array,
    type_float64,
    type_int32,
    type_int64,
    unpack_float64,
)
from libs.contracts.telemetry import MetricSeries
from libs.stores.elastic_bulk import BulkItem
from libs.stores.elastic_connection import ElasticConnection, encodable
from libs.stores.elastic_pages import hits, search
from libs.stores.elastic_slices import Slicing
from libs.stores.elastic_span_read import of_services
from libs.stores.series_columns import SeriesKey, series_windows
from libs.stores.telemetry import SeriesWindow, Window
from libs.stores.telemetry_columns import MetricColumns

METRICS: Final = "metrics"
_PAGE: Final = 500
_LISTS_A_SEARCH: Final = 100
_MOST_LISTS: Final = 2_000  # in memory; one of 5,000 series takes some 2 MB decoded, most are of 50
_KEY: Final = msgspec.msgpack.Encoder(order="deterministic")
_ATTRIBUTES: Final = msgspec.json.Encoder(order="deterministic")

SeriesList = tuple[tuple[str, str, str, str], ...]  # name, statistic, unit, attributes as JSON


class MetricDocuments:
    """Writes and reads metric documents; remembers which lists of series are there.

    Args:
        slicing: Names of the indices.
    """

    def __init__(self, slicing: Slicing) -> None:
        self._slicing = slicing
        self._written: set[tuple[str, str]] = set()
        self._lists: dict[str, SeriesList] = {}

    def items(self, batches: Sequence[MetricColumns]) -> Iterator[BulkItem]:
        """Documents of batches, lists before the batches that refer to them."""
        for columns in batches:
            if not len(columns.timestamps):
                continue
            batch = columns.batch
            digest = hashlib.blake2b(_KEY.encode(batch.series), digest_size=16).hexdigest()
            slices = columns.timestamps // (self._slicing.width_s * 1_000_000_000)
            for number in np.unique(slices).tolist():
                index = self._slicing.index(METRICS, number)
                if (index, digest) not in self._written:
                    fields = {
                        "kind": "list",
                        "series_list": digest,
                        "series": [_described(series) for series in batch.series],
                    }
                    yield BulkItem(index, digest, {"paramedic": fields}, create=True)
                yield self._batch(columns, slices == number, index, digest, number)

    def written(self, items: Sequence[BulkItem]) -> None:
        """Note that documents were stored; lists among them are not sent again."""
        if len(self._written) > _MOST_LISTS:
            self._written.clear()
        self._written.update(
            (item.index, item.id) for item in items if item.source.get("paramedic", {}).get("kind") == "list"
        )

    def _batch(
        self, columns: MetricColumns, mine: npt.NDArray[np.bool_], index: str, digest: str, number: int
    ) -> BulkItem:
        batch, times = columns.batch, columns.timestamps[mine]
        service: dict[str, Any] = {"name": batch.service}
        if batch.resource.get("service.instance.id"):
            service["node"] = {"name": batch.resource["service.instance.id"]}
        source = {
            "@timestamp": int(times.max()) // 1_000_000,
            "service": service,
            "metric": {"name": sorted({series.name for series in batch.series})},
            "paramedic": {
                "kind": "batch",
                "min_ns": int(times.min()),
                "max_ns": int(times.max()),
                "size": len(times),
                "received_ns": ns_from_utc(batch.observed_at),
                "series_list": digest,
                "index": _packed(columns.index[mine], type_int32),
                "timestamps": _packed(times, type_int64),
                "points": _packed(unpack_float64(batch.values, "values")[mine], type_float64),
            },
        }
        return BulkItem(index, f"{columns.digest.hex()}-{number}", source)

    def find(
        self,
        connection: ElasticConnection,
        index: str,
        window: Window,
        services: Sequence[str],
        names: Sequence[str],
        limit: int,
    ) -> list[SeriesWindow]:
        """Series with a point in the window, by service, name, statistic, attributes, instance."""
        filters: list[dict[str, Any]] = [
            {"term": {"paramedic.kind": "batch"}},
            {"range": {"paramedic.max_ns": {"gte": window.start_ns}}},
            {"range": {"paramedic.min_ns": {"lt": window.end_ns}}},
            *of_services(services),
        ]
        if names:
            filters.append({"terms": {"metric.name": [encodable(name) for name in names]}})
        asked = {"query": {"bool": {"filter": filters}}}
        order = [{"paramedic.received_ns": "asc"}, {"paramedic.max_ns": "asc"}]
        batches = [hit["_source"] for hit in hits(connection, index, asked, sort=order, page=_PAGE)]
        lists = self._read_lists(connection, index, [batch["paramedic"]["series_list"] for batch in batches])
        numbers: dict[SeriesKey, int] = {}
        places: dict[tuple[str, str, str], Int32Array] = {}
        ids, times, points = [], [], []
        wanted = frozenset(names)
        for batch in batches:
            own, service = batch["paramedic"], batch["service"]
            owner = (service["name"], service.get("node", {}).get("name", ""), own["series_list"])
            if owner not in places:
                places[owner] = _numbered(owner, lists[owner[2]], wanted, numbers)
            position = np.frombuffer(base64.b64decode(own["index"]), type_int32)
            ids.append(places[owner][position])
            times.append(np.frombuffer(base64.b64decode(own["timestamps"]), type_int64))
            points.append(np.frombuffer(base64.b64decode(own["points"]), type_float64))
        if not ids:
            return []
        described = {number: key for key, number in numbers.items()}
        return series_windows(
            np.concatenate(ids), np.concatenate(times), np.concatenate(points), described, window, limit
        )

    def _read_lists(
        self, connection: ElasticConnection, index: str, digests: Sequence[str]
    ) -> Mapping[str, SeriesList]:
        needed = dict.fromkeys(digests)
        known = {digest: self._lists[digest] for digest in needed if digest in self._lists}
        missing = [digest for digest in needed if digest not in known]
        for start in range(0, len(missing), _LISTS_A_SEARCH):
            part = missing[start : start + _LISTS_A_SEARCH]
            listed = {"filter": [{"term": {"paramedic.kind": "list"}}, {"terms": {"paramedic.series_list": part}}]}
            # The same list is in every slice: one of them will do.
            collapsed = {"field": "paramedic.series_list"}
            asked = {"query": {"bool": listed}, "collapse": collapsed, "size": len(part), "track_total_hits": False}
            for hit in search(connection, index, asked)["hits"]["hits"]:
                known[hit["_id"]] = tuple(map(tuple, hit["_source"]["paramedic"]["series"]))
        if len(self._lists) > _MOST_LISTS:
            self._lists.clear()
        self._lists.update(known)
        return known


def _described(series: MetricSeries) -> tuple[str, str, str, str]:
    return series.name, series.statistic, series.unit, _ATTRIBUTES.encode(series.attributes).decode()


def _numbered(
    owner: tuple[str, str, str], series: SeriesList, wanted: frozenset[str], numbers: dict[SeriesKey, int]
) -> Int32Array:
    """Number of each series of a list; -1 for those that are not asked for."""
    service, instance, _ = owner
    found = np.full(len(series), -1, np.int32)
    for position, (name, statistic, unit, attributes) in enumerate(series):
        if not wanted or name in wanted:
            key = SeriesKey(service, name, statistic, attributes, instance, unit)
            found[position] = numbers.setdefault(key, len(numbers))
    return found


def _packed(column: npt.NDArray[Any], dtype: np.dtype[Any]) -> str:
    return base64.b64encode(np.asarray(column, dtype).tobytes()).decode()
