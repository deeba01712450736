"""Similar past incidents in the SQLite incident store: candidates by common token or word, ranked in Python."""

import json
import sqlite3
from collections.abc import Iterable, Set
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from libs.contracts.columns import FloatArray, Int64Array
from libs.stores.similarity import fuse, token_weights

_PAST: Final = "i.state IS NOT NULL AND i.state <> 'canceled' AND i.opened_us < ? AND i.id <> ?"
_MOST_TEXT_HITS: Final = 50  # beyond rank 50 reciprocal rank fusion adds less than 0.06
# Who is not found by text needs an overlap among the first few. Similarities with the same two digits, between which
# ties are broken, have overlaps up to 0.01 / 0.6 apart: fusion closes at most 0.4 of the distance to 1.
_ROUNDED_ALIKE: Final = 0.017


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

    def ranked(self, fingerprint: Set[str], match: str, most: int) -> list[tuple[str, float]]:
        """Incident ids with their similarity, best first; confirmed root causes, then the newest, win ties."""
        if most <= 0:
            return []
        by_text = self._textranks(match)
        rows, overlaps = self._overlaps(fingerprint)
        falling = np.sort(-overlaps)
        ranks = np.searchsorted(falling, -overlaps) + 1
        least = -float(falling[most - 1]) - _ROUNDED_ALIKE if most < len(falling) else 0.0
        leading = np.flatnonzero((overlaps >= least) | np.isin(rows, list(by_text)))
        by_overlap = {int(rows[at]): (float(overlaps[at]), int(ranks[at])) for at in leading}
        scored = []
        for row, tie_break in self._tie_breaks(by_overlap.keys() | by_text.keys()).items():
            overlap, rank = by_overlap.get(row, (0.0, None))
            scored.append((fuse(overlap, rank, by_text.get(row)), *tie_break))
        scored.sort(key=lambda entry: (-entry[0], -entry[1], -entry[2], entry[3]))
        return [(incident_id, similarity) for similarity, _, _, incident_id in scored[:most]]

    def _tie_breaks(self, rows: Iterable[int]) -> dict[int, tuple[int, int, str]]:
        found = self.connection.execute(
            "SELECT row, confirmed, opened_us, id FROM incidents WHERE row IN (SELECT value FROM json_each(?))",
            (json.dumps(list(rows)),),
        )
        return {row: (confirmed, opened_us, identity) for row, confirmed, opened_us, identity in found}

    def _overlaps(self, fingerprint: Set[str]) -> tuple[Int64Array, FloatArray]:
        """Rows of the past incidents that share a token, and the weighted Jaccard with each."""
        tokens, places, incidents = self._postings()
        past = self._past(int(incidents.max(initial=0)) + 1)
        kept = past[incidents]
        places, incidents = places[kept], incidents[kept]
        counts = dict(zip(tokens, np.bincount(places, minlength=len(tokens)).tolist(), strict=True))
        weights = token_weights({*tokens, *fingerprint}, counts, int(past.sum()))
        weighed = np.array([weights[token] for token in tokens])
        common = np.array([token in fingerprint for token in tokens], bool)
        whole = np.bincount(incidents, weighed[places], len(past))
        shared = np.bincount(incidents, (weighed * common)[places], len(past))
        union = sum(weights[token] for token in fingerprint) + whole - shared
        sharing = np.flatnonzero(shared)
        # Rounded, or the order of a sum would tell equal incidents apart.
        return sharing, np.round(shared[sharing] / union[sharing], 12)

    def _postings(self) -> tuple[list[str], Int64Array, Int64Array]:
        """Tokens; and for each token of each incident the token's place and the incident's row."""
        # One text for all incidents of a token: fetching 150,000 rows one by one takes longer than all the rest.
        found = self.connection.execute(
            "SELECT token, count(*), group_concat(incident) FROM fingerprints GROUP BY token"
        ).fetchall()
        incidents = np.fromstring(",".join(rows for _, _, rows in found), dtype=np.int64, sep=",")
        places = np.repeat(np.arange(len(found), dtype=np.int64), [count for _, count, _ in found])
        return [token for token, _, _ in found], places, incidents

    def _past(self, rows: int) -> npt.NDArray[np.bool_]:
        """Whether each row is an incident that counts."""
        found = self.connection.execute(
            f"SELECT i.row FROM incidents AS i WHERE {_PAST}", (self.before_us, self.exclude)
        ).fetchall()
        counts = [row for (row,) in found]
        past = np.zeros(max(rows, max(counts, default=0) + 1), bool)
        past[counts] = True
        return past

    def _textranks(self, match: str) -> dict[int, int]:
        if not match:
            return {}
        rows = self.connection.execute(
            "SELECT i.row FROM incident_text JOIN incidents AS i ON i.row = incident_text.rowid "
            f"WHERE incident_text MATCH ? AND {_PAST} ORDER BY bm25(incident_text), i.opened_us DESC LIMIT ?",
            (match, self.before_us, self.exclude, _MOST_TEXT_HITS),
        )
        return {row: rank for rank, (row,) in enumerate(rows, start=1)}
