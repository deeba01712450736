"""The incident store in Elasticsearch: for more than one machine, and for people who look with Kibana."""

import uuid
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from libs.contracts.document import IncidentDocument, Section
from libs.stores.elastic_backfill import has_lacking
from libs.stores.elastic_connection import ElasticConnection, encodable
from libs.stores.elastic_guarded import GuardedIndex, Stored
from libs.stores.elastic_incident_document import fields_of, read_document, read_section, versions_of, with_section
from libs.stores.elastic_incident_query import BEST_FIRST, NEWEST_FIRST, holding, incident_query, phrases
from libs.stores.elastic_numbers import Numbers
from libs.stores.elastic_options import ElasticOptions
from libs.stores.elastic_pages import hits, page_of, refresh, search
from libs.stores.elastic_similar import ranked_similar
from libs.stores.elastic_templates import INCIDENTS, STATE, alias, prepare_incidents
from libs.stores.incidents import IncidentPage, IncidentQuery, SimilarHit, VersionedState
from libs.stores.section_rules import next_version, require_type

_MOST_RESULTS: Final = 1000
_SECTIONS_PAGE: Final = 1_000  # a remediation section is some kilobytes
_STATE: Final = "state/"
_STATE_PAGE: Final = 500  # a journal or a run is some kilobytes


class ElasticIncidentStore:
    """Incident documents in one index, one document an incident; safe for threads and processes.

    Sections are written by different services: each write replaces the document under its sequence number and is tried
    anew when another section got in between, so no section is lost. `get` reads the newest state; searches refresh the
    index first and so see all that was acknowledged before they began.

    Args:
        options: How to reach the cluster.
    Raises:
        ConfigurationError: address, credentials or server version are wrong.
        Unavailable: from every method: the cluster cannot be reached, is overloaded, or the store is closed.
    """

    def __init__(self, options: ElasticOptions) -> None:
        self._connection = ElasticConnection(options, prepare_incidents)
        self._alias = alias(options.prefix, INCIDENTS)
        self._state_alias = alias(options.prefix, STATE)
        self._incidents = GuardedIndex(self._connection, self._alias)
        self._states = GuardedIndex(self._connection, self._state_alias)
        self._numbers = Numbers(self._states)
        self._is_complete = False  # whether `search.all` is known to hold every incident; once so, it stays so

    def get(self, incident_id: str) -> IncidentDocument | None:
        """The whole document by incident id or number, or None."""
        found = self._incidents.read(incident_id)
        document = read_document(found.source) if found else None
        if document is not None:
            return document
        refresh(self._connection, self._alias)
        numbered = {"query": {"term": {"search.number": encodable(incident_id).upper()}}, "size": 1}
        return next(
            (read_document(hit["_source"]) for hit in search(self._connection, self._alias, numbered)["hits"]["hits"]),
            None,
        )

    def put(self, incident_id: str, section: Section, value: Any, *, expected_version: int | None = None) -> int:
        """Write one section and return its new version; `Conflict` when the version is not the expected one."""
        require_type(incident_id, section, value)
        written, mark = [0], uuid.uuid4().hex

        def change(stored: Stored | None, ambiguous: bool) -> Mapping[str, Any] | None:
            source = stored.source if stored else {}
            marks = source.get("marks", {})
            if ambiguous and marks.get(section.value) == mark:
                return None  # an earlier attempt was stored although its answer was lost
            version = versions_of(source).get(section.value, 0)
            written[0] = next_version(version, expected_version, f"{incident_id}: section {section.value}")
            changed = with_section(source, section, value, written[0])
            changed["marks"] = {**marks, section.value: mark}
            return changed

        self._incidents.update(incident_id, change)
        return written[0]

    def section(self, incident_id: str, section: Section) -> tuple[Any, int] | None:
        """A section's value and version by incident id, or None."""
        found = self._incidents.read(incident_id)
        version = versions_of(found.source).get(section.value) if found else None
        return None if found is None or version is None else (read_section(found.source, section), version)

    def sections(self, section: Section, incident_ids: Sequence[str] | None = None) -> Iterator[tuple[str, Any]]:
        """One section of many incidents, read page by page: (incident id, value), newest `opened_at` first."""
        if incident_ids is not None and not incident_ids:
            return
        refresh(self._connection, self._alias)
        body = {"query": holding(section, incident_ids), "_source": fields_of(section)}
        limit = None if incident_ids is None else len(set(incident_ids))
        found = hits(self._connection, self._alias, body, sort=NEWEST_FIRST, limit=limit, page=_SECTIONS_PAGE)
        for hit in found:
            yield hit["_id"], read_section(hit["_source"], section)

    def number(self, incident_id: str) -> str:
        """The incident's number, given out once and the same for the same id ever after."""
        return f"INC-{self._numbers.number(incident_id):06d}"

    def search(self, query: IncidentQuery) -> IncidentPage:
        """Find incidents: best match first with a text, else the newest first."""
        terms = phrases(query.text)
        if not terms and query.text.strip():
            return IncidentPage(incidents=(), total=0)  # nothing in it can match: no letter, no digit
        refresh(self._connection, self._alias)
        body = {
            "query": incident_query(query, terms, by_column=bool(terms) and self._lacks()),
            "size": min(max(query.limit, 1), _MOST_RESULTS),
            "_source": fields_of(Section.INCIDENT),
        }
        order = BEST_FIRST if terms else NEWEST_FIRST
        found, total = page_of(self._connection, self._alias, body, sort=order, offset=max(query.offset, 0))
        cores = tuple(read_section(hit["_source"], Section.INCIDENT) for hit in found)
        return IncidentPage(incidents=cores, total=total)

    def _lacks(self) -> bool:
        """Whether an incident of an earlier release is still to be written again (`paramedic setup` does)."""
        self._is_complete = self._is_complete or not has_lacking(self._connection, self._alias)
        return not self._is_complete

    def similar(
        self, fingerprint: Sequence[str], text: str, *, before: datetime, exclude: str, limit: int = 5
    ) -> list[SimilarHit]:
        """Past incidents opened before a moment, most similar first: fingerprint overlap fused with text rank."""
        refresh(self._connection, self._alias)
        ranked = ranked_similar(self._connection, self._alias, fingerprint, text, before, exclude)
        found = []
        for incident_id, similarity in ranked[: max(limit, 0)]:
            stored = self._incidents.read(incident_id)
            document = read_document(stored.source) if stored else None
            if document is not None:
                found.append(SimilarHit(document=document, similarity=similarity))
        return found

    def state(self, key: str) -> VersionedState | None:
        """A small piece of shared state, or None."""
        found = self._states.read(_STATE + key)
        return VersionedState(value=found.source["value"], version=found.source["version"]) if found else None

    def put_state(self, key: str, value: str, *, expected_version: int | None = None) -> int:
        """Write it and return the new version; `Conflict` as for `put`."""
        written, mark = [0], uuid.uuid4().hex

        def change(stored: Stored | None, ambiguous: bool) -> Mapping[str, Any] | None:
            if ambiguous and stored is not None and stored.source["mark"] == mark:
                return None
            version = stored.source["version"] if stored else 0
            written[0] = next_version(version, expected_version, f"state {key}")
            return {"kind": "state", "key": key, "version": written[0], "value": value, "mark": mark}

        self._states.update(_STATE + key, change)
        return written[0]

    def states(self, prefix: str) -> dict[str, VersionedState]:
        """Every piece of shared state whose key starts with a prefix, by key."""
        refresh(self._connection, self._state_alias)
        asked = {"filter": [{"term": {"kind": "state"}}, {"prefix": {"key": encodable(prefix)}}]}
        found = hits(
            self._connection, self._state_alias, {"query": {"bool": asked}}, sort=[{"key": "asc"}], page=_STATE_PAGE
        )
        return {
            hit["_source"]["key"]: VersionedState(value=hit["_source"]["value"], version=hit["_source"]["version"])
            for hit in found
        }

    def close(self) -> None:
        """Let go of the connections."""
        self._connection.close()
