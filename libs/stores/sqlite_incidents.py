"""The incident store in one SQLite file: the embedded default, for one machine."""

import json
import sqlite3
from collections.abc import Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from libs.contracts.codec import from_json, ns_from_utc, to_json
from libs.contracts.document import SECTION_TYPES, IncidentDocument, RootCause, Section
from libs.contracts.incident import IncidentChanged
from libs.stores.incidents import IncidentPage, IncidentQuery, SimilarHit, VersionedState
from libs.stores.search_text import TEXT_COLUMNS, search_terms, section_text
from libs.stores.section_rules import VERIFIED_FIX, next_version, require_type
from libs.stores.sqlite_file import SqliteFile, SqliteKind, read_migrations
from libs.stores.sqlite_similar import SimilarSearch

KIND: Final = SqliteKind(
    name="incident store",
    application_id=0x50494E43,
    migrations=read_migrations("sqlite_incidents"),
    # An acknowledged incident must survive a power cut: its event is committed right after.
    synchronous="FULL",
)
# A word in the title says more than the same word in one of fifty log lines (bm25 weights in TEXT_COLUMNS order).
_RANKED: Final = "bm25(incident_text, 8.0, 6.0, 4.0, 6.0, 1.0, 2.0)"
_MOST_RESULTS: Final = 1000
_LAST_US: Final = 2**63 - 1
_SECTIONS_PAGE: Final = 500  # some megabytes at most are held while the caller looks at them


class SqliteIncidentStore:
    """Incident documents in one file; safe for threads and for several processes at once.

    Args:
        path: The file; created when missing.
    Raises:
        ConfigurationError: the file is something else, or was written by a newer release.
        Unavailable: the file cannot be opened; from every method: locked for too long, disk full, closed.
    """

    def __init__(self, path: Path | str) -> None:
        self._file = SqliteFile(Path(path), KIND)

    def get(self, incident_id: str) -> IncidentDocument | None:
        """The whole document by incident id or number, or None."""
        with self._file.read() as connection:
            found = connection.execute(
                "SELECT id FROM incidents WHERE id = ?1 AND state IS NOT NULL UNION ALL "
                "SELECT id FROM incidents WHERE number = ?2 AND state IS NOT NULL LIMIT 1",
                (bindable(incident_id), bindable(incident_id).upper()),
            ).fetchone()
            return read_document(connection, found[0]) if found else None

    def put(self, incident_id: str, section: Section, value: Any, *, expected_version: int | None = None) -> int:
        """Write one section and return its new version; `Conflict` when the version is not the expected one."""
        require_type(incident_id, section, value)
        encoded = to_json(value).decode()
        with self._file.write() as connection:
            row = connection.execute(
                "SELECT version FROM sections WHERE incident_id = ? AND section = ?", (incident_id, section.value)
            ).fetchone()
            version = next_version(row[0] if row else 0, expected_version, f"{incident_id}: section {section.value}")
            connection.execute(
                "INSERT INTO sections (incident_id, section, version, value) VALUES (?, ?, ?, ?) "
                "ON CONFLICT DO UPDATE SET version = excluded.version, value = excluded.value",
                (incident_id, section.value, version, encoded),
            )
            _index(connection, incident_id, section, value)
        return version

    def section(self, incident_id: str, section: Section) -> tuple[Any, int] | None:
        """A section's value and version by incident id, or None."""
        with self._file.read() as connection:
            row = connection.execute(
                "SELECT value, version FROM sections WHERE incident_id = ? AND section = ?",
                (bindable(incident_id), section.value),
            ).fetchone()
        return (from_json(row[0], SECTION_TYPES[section]), int(row[1])) if row else None

    def sections(self, section: Section, incident_ids: Sequence[str] | None = None) -> Iterator[tuple[str, Any]]:
        """One section of many incidents, read page by page: (incident id, value), newest `opened_at` first."""
        chosen = "" if incident_ids is None else "AND i.id IN (SELECT value FROM json_each(:ids)) "
        ids = json.dumps([bindable(one) for one in incident_ids or ()])
        after = {"opened": _LAST_US, "row": 0}
        while True:
            with self._file.read() as connection:
                rows = connection.execute(
                    "SELECT i.opened_us, i.row, i.id, s.value FROM incidents AS i "
                    "JOIN sections AS s ON s.incident_id = i.id AND s.section = :section "
                    f"WHERE i.state IS NOT NULL AND (i.opened_us, i.row) < (:opened, :row) {chosen}"
                    "ORDER BY i.opened_us DESC, i.row DESC LIMIT :limit",
                    {"section": section.value, "ids": ids, "limit": _SECTIONS_PAGE, **after},
                ).fetchall()
            for _, _, incident_id, value in rows:
                yield incident_id, from_json(value, SECTION_TYPES[section])
            if len(rows) < _SECTIONS_PAGE:
                return
            after = {"opened": rows[-1][0], "row": rows[-1][1]}

    def number(self, incident_id: str) -> str:
        """The incident's number, given out once and the same for the same id ever after."""
        query = "SELECT number FROM numbers WHERE incident_id = ?"
        with self._file.read() as connection:
            row = connection.execute(query, (incident_id,)).fetchone()
        if row is None:
            with self._file.write() as connection:
                row = connection.execute(query, (incident_id,)).fetchone()
                if row is None:
                    cursor = connection.execute("INSERT INTO numbers (incident_id) VALUES (?)", (incident_id,))
                    row = (cursor.lastrowid,)
        return f"INC-{row[0]:06d}"

    def search(self, query: IncidentQuery) -> IncidentPage:
        """Find incidents: best match first with a text, else the newest first."""
        match = _match_expression(query.text)
        if match is None and query.text.strip():
            return IncidentPage(incidents=(), total=0)  # nothing in it can match: no letter, no digit
        conditions, values = _conditions(query)
        source, order = "incidents AS i", "i.opened_us DESC, i.row DESC"
        if match is not None:
            source += " JOIN incident_text ON incident_text.rowid = i.row"
            conditions.append("incident_text MATCH ?")
            values.append(match)
            order = f"{_RANKED}, {order}"
        where = " AND ".join(conditions)
        limit = min(max(query.limit, 1), _MOST_RESULTS)
        with self._file.read() as connection:
            total = connection.execute(f"SELECT count(*) FROM {source} WHERE {where}", values).fetchone()[0]
            rows = connection.execute(
                "SELECT s.value FROM (SELECT i.id AS id, row_number() OVER () AS place FROM "
                f"(SELECT i.id FROM {source} WHERE {where} ORDER BY {order} LIMIT ? OFFSET ?) AS i) AS page "
                "JOIN sections AS s ON s.incident_id = page.id AND s.section = 'incident' ORDER BY page.place",
                (*values, limit, max(query.offset, 0)),
            ).fetchall()
        return IncidentPage(incidents=tuple(from_json(row[0], IncidentChanged) for row in rows), total=total)

    def similar(
        self, fingerprint: Sequence[str], text: str, *, before: datetime, exclude: str, limit: int = 5
    ) -> list[SimilarHit]:
        """Past incidents opened before a moment, most similar first: fingerprint overlap fused with text rank."""
        terms = search_terms(text)
        with self._file.read() as connection:
            search = SimilarSearch(connection=connection, before_us=_microseconds(before), exclude=exclude)
            hits = []
            for incident_id, similarity in search.ranked(
                frozenset(fingerprint), " OR ".join(map(_quoted, terms)), max(limit, 0)
            ):
                document = read_document(connection, incident_id)
                if document is not None:
                    hits.append(SimilarHit(document=document, similarity=similarity))
            return hits

    def state(self, key: str) -> VersionedState | None:
        """A small piece of shared state, or None."""
        with self._file.read() as connection:
            row = connection.execute("SELECT value, version FROM states WHERE key = ?", (key,)).fetchone()
        return VersionedState(value=row[0], version=row[1]) if row else None

    def put_state(self, key: str, value: str, *, expected_version: int | None = None) -> int:
        """Write it and return the new version; `Conflict` as for `put`."""
        with self._file.write() as connection:
            row = connection.execute("SELECT version FROM states WHERE key = ?", (key,)).fetchone()
            version = next_version(row[0] if row else 0, expected_version, f"state {key}")
            connection.execute(
                "INSERT INTO states (key, version, value) VALUES (?, ?, ?) "
                "ON CONFLICT DO UPDATE SET version = excluded.version, value = excluded.value",
                (key, version, value),
            )
        return version

    def states(self, prefix: str) -> dict[str, VersionedState]:
        """Every piece of shared state whose key starts with a prefix, by key."""
        with self._file.read() as connection:
            rows = connection.execute(
                "SELECT key, value, version FROM states WHERE key >= ?1 AND substr(key, 1, length(?1)) = ?1 "
                "ORDER BY key",
                (prefix,),
            ).fetchall()
        return {key: VersionedState(value=value, version=version) for key, value, version in rows}

    def close(self) -> None:
        """Let go of the connections."""
        self._file.close()


def bindable(text: str) -> str:
    """Text that SQLite can take: half of a surrogate pair, which no stored text has, becomes a question mark."""
    return text.encode("utf-8", "replace").decode("utf-8")


def read_document(connection: sqlite3.Connection, incident_id: str) -> IncidentDocument | None:
    """Assemble a document from its sections; None without the core."""
    rows = connection.execute("SELECT section, value FROM sections WHERE incident_id = ?", (incident_id,)).fetchall()
    values = {name: from_json(value, SECTION_TYPES[Section(name)]) for name, value in rows}
    return IncidentDocument(**values) if Section.INCIDENT.value in values else None


def _index(connection: sqlite3.Connection, incident_id: str, section: Section, value: Any) -> None:
    """Bring the search columns up to date with a section."""
    connection.execute("INSERT OR IGNORE INTO incidents (id) VALUES (?)", (incident_id,))
    row = int(connection.execute("SELECT row FROM incidents WHERE id = ?", (incident_id,)).fetchone()[0])
    if isinstance(value, IncidentChanged):
        _index_core(connection, row, value)
    if isinstance(value, RootCause):
        confirmed = 1 if value.confirmed_by == VERIFIED_FIX else 2 if value.confirmed_by else 0
        connection.execute("UPDATE incidents SET confirmed = ? WHERE row = ?", (confirmed, row))
    columns = section_text(section, value)
    if not columns:
        return
    known = connection.execute(
        f"SELECT {', '.join(TEXT_COLUMNS)} FROM incident_text WHERE rowid = ?", (row,)
    ).fetchone()
    texts = dict(zip(TEXT_COLUMNS, known or [""] * len(TEXT_COLUMNS), strict=True))
    merged = {**texts, **columns}
    if known is not None and merged == texts:
        return
    connection.execute(
        f"INSERT OR REPLACE INTO incident_text (rowid, {', '.join(TEXT_COLUMNS)}) VALUES (?, ?, ?, ?, ?, ?, ?)",
        (row, *merged.values()),
    )


def _index_core(connection: sqlite3.Connection, row: int, incident: IncidentChanged) -> None:
    connection.execute(
        "UPDATE incidents SET number = ?, state = ?, priority = ?, opened_us = ? WHERE row = ?",
        (
            incident.number.upper(),
            incident.state.value,
            incident.priority.value,
            _microseconds(incident.opened_at),
            row,
        ),
    )
    for table, column, values in (
        ("incident_services", "service", incident.services),
        ("fingerprints", "token", incident.fingerprint),
    ):
        connection.execute(f"DELETE FROM {table} WHERE incident = ?", (row,))
        connection.executemany(
            f"INSERT OR IGNORE INTO {table} ({column}, incident) VALUES (?, ?)", [(value, row) for value in values]
        )


def _conditions(query: IncidentQuery) -> tuple[list[str], list[Any]]:
    conditions, values = ["i.state IS NOT NULL"], list[Any]()
    for column, wanted in (("state", query.states), ("priority", query.priorities)):
        if wanted:
            conditions.append(f"i.{column} IN ({_marks(wanted)})")
            values.extend(entry.value for entry in wanted)
    if query.services:
        conditions.append(
            f"i.row IN (SELECT incident FROM incident_services WHERE service IN ({_marks(query.services)}))"
        )
        values.extend(map(bindable, query.services))
    if query.opened_from is not None:
        conditions.append("i.opened_us >= ?")
        values.append(_microseconds(query.opened_from))
    if query.opened_to is not None:
        conditions.append("i.opened_us < ?")
        values.append(_microseconds(query.opened_to))
    return conditions, values


def _match_expression(text: str) -> str | None:
    """All words, the last one as a prefix; None when there is no word. User text is never FTS syntax."""
    terms = search_terms(text)
    return " AND ".join(map(_quoted, terms)) + " *" if terms else None


def _quoted(term: str) -> str:
    return '"' + term.replace('"', '""') + '"'


def _marks(values: Sequence[object]) -> str:
    return ", ".join("?" * len(values))


def _microseconds(moment: datetime) -> int:
    return ns_from_utc(moment) // 1000
