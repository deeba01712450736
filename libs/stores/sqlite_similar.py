"""Similar past incidents in the SQLite incident store: candidates by common token or word, ranked in Python."""

import sqlite3
from collections import defaultdict
from collections.abc import Iterable, Set
from dataclasses import dataclass
from typing import Final

from libs.stores.similarity import fuse, ranks, token_weights, weighted_jaccard

_PAST: Final = "i.state IS NOT NULL AND i.state <> 'canceled' AND i.opened_us < ? AND i.id <> ?"
_MOST_TEXT_HITS: Final = 50  # beyond rank 50 reciprocal rank fusion adds less than 0.06
_CHUNK: Final = 500  # values of one IN (...); the limit of old SQLite builds is 999


@dataclass(frozen=True, slots=True, kw_only=True)
class SimilarSearch:
    """One question to the history.

    Attributes:
        connection: An open snapshot.
        before_us: Only incidents opened before, unix microseconds.
        exclude: Incident id that is left out.
    """

    connection: sqlite3.Connection
    before_us: int
    exclude: str

    def ranked(self, fingerprint: Set[str], match: str) -> list[tuple[str, float]]:
        """Incident ids with their similarity, best first; confirmed root causes, then the newest, win ties."""
        overlaps = self._overlaps(fingerprint)
        by_overlap = ranks(overlaps.items())
        by_text = self._textranks(match)
        candidates = list(overlaps.keys() | by_text.keys())
        scored = [
            (fuse(overlaps.get(row, 0.0), by_overlap.get(row), by_text.get(row)), *self._tie_break(row))
            for row in candidates
        ]
        scored.sort(key=lambda entry: (-entry[0], -entry[1], -entry[2], entry[3]))
        return [(incident_id, similarity) for similarity, _, _, incident_id in scored]

    def _tie_break(self, row: int) -> tuple[int, int, str]:
        found: tuple[int, int, str] = self.connection.execute(
            "SELECT confirmed, opened_us, id FROM incidents WHERE row = ?", (row,)
        ).fetchone()
        return found

    def _overlaps(self, fingerprint: Set[str]) -> dict[int, float]:
        """Weighted Jaccard with every past incident that shares a token."""
        sharing: dict[int, set[str]] = defaultdict(set)
        for token in fingerprint:
            rows = self.connection.execute(
                f"SELECT i.row FROM fingerprints AS f JOIN incidents AS i ON i.row = f.incident WHERE f.token = ? "
                f"AND {_PAST}",
                (token, self.before_us, self.exclude),
            )
            for (row,) in rows:
                sharing[row].add(token)
        tokens_of = {row: self._tokens(row) for row in sharing}
        every = set(fingerprint).union(*tokens_of.values())
        weights = token_weights(every, self._documents_with(every), self._documents())
        return {row: weighted_jaccard(fingerprint, tokens, weights) for row, tokens in tokens_of.items()}

    def _tokens(self, row: int) -> set[str]:
        return {
            token for (token,) in self.connection.execute("SELECT token FROM fingerprints WHERE incident = ?", (row,))
        }

    def _documents(self) -> int:
        counted = self.connection.execute(
            f"SELECT count(*) FROM incidents AS i WHERE {_PAST}", (self.before_us, self.exclude)
        ).fetchone()
        return int(counted[0])

    def _documents_with(self, tokens: Iterable[str]) -> dict[str, int]:
        wanted = sorted(tokens)
        counts: dict[str, int] = {}
        for start in range(0, len(wanted), _CHUNK):
            part = wanted[start : start + _CHUNK]
            counts.update(
                self.connection.execute(
                    "SELECT f.token, count(*) FROM fingerprints AS f JOIN incidents AS i ON i.row = f.incident "
                    f"WHERE f.token IN ({', '.join('?' * len(part))}) AND {_PAST} GROUP BY f.token",
                    (*part, self.before_us, self.exclude),
                ).fetchall()
            )
        return counts

    def _textranks(self, match: str) -> dict[int, int]:
        if not match:
            return {}
        rows = self.connection.execute(
            "SELECT i.row FROM incident_text JOIN incidents AS i ON i.row = incident_text.rowid "
            f"WHERE incident_text MATCH ? AND {_PAST} ORDER BY bm25(incident_text), i.opened_us DESC LIMIT ?",
            (match, self.before_us, self.exclude, _MOST_TEXT_HITS),
        )
        return {row: rank for rank, (row,) in enumerate(rows, start=1)}
