"""Past incidents as precedents: how alike, what caused them and who says so, what fixed them, which guess was wrong."""

from typing import Final

from libs.contracts.document import VERIFIED_FIX, IncidentDocument, RootCause
from libs.contracts.incident import OPEN_STATES, IncidentChanged
from libs.contracts.investigation import CauseKind, Hypothesis, SimilarIncident
from libs.contracts.remediation import RunState
from libs.stores.incidents import SimilarSource
from libs.stores.similarity import WORDS_ALONE, closeness

# Fifty candidates are enough for rarity to be known, and still alike enough to tell what is rare among them; seven
# neighbours name the cause as often as five or fifteen do (past ones left out in turn: tests/bench/rca_history.py).
CANDIDATES: Final = 50
NEIGHBOURS: Final = 7
# A phrase of a thousand words costs a search index seconds; titles made of names of services are far shorter.
_MOST_TITLE: Final = 200


def precedents(store: SimilarSource, incident: IncidentChanged, *, most: int = NEIGHBOURS) -> list[SimilarIncident]:
    """Incidents opened before this one that look like it, the most similar first; never the incident itself.

    The store finds candidates by fused ranks of fingerprint and words; the fingerprints of all candidates together
    then say how much each has in common with this one. What was found by its words only stays at 0.2 or below.

    Raises:
        Unavailable: the store cannot be reached.
    """
    hits = store.similar(
        incident.fingerprint,
        incident.title[:_MOST_TITLE],
        before=incident.opened_at,
        exclude=incident.id,
        limit=CANDIDATES,
    )
    close = closeness(
        frozenset(incident.fingerprint),
        [frozenset(hit.document.incident.fingerprint) for hit in hits],
        [hit.document.root_cause.service if hit.document.root_cause else "" for hit in hits],
    )
    scored = [(near or min(hit.similarity, WORDS_ALONE), hit) for near, hit in zip(close, hits, strict=True)]
    scored.sort(key=lambda entry: (-entry[0], -entry[1].similarity))  # the store's order decides ties: newest first
    return [precedent(hit.document, similarity) for similarity, hit in scored[:most] if similarity > 0]


def precedent(document: IncidentDocument, similarity: float) -> SimilarIncident:
    """A past incident with its root cause, confirmed or only suspected, and what fixed it.

    An incident that is still open has no suspected cause: the same fault seen twice at the same time is no history.
    """
    core, confirmed = document.incident, document.root_cause
    found = document.investigation.hypotheses if document.investigation else ()
    guess = min(found, key=lambda hypothesis: hypothesis.rank, default=None)
    fixes = [run.fix or f"{run.action} on {run.target}" for run in document.remediation if _worked(run.state)]
    refuted = guess if guess is not None and confirmed is not None and _corrects(confirmed, guess) else None
    if confirmed is not None:
        service, kind, text = confirmed.service, confirmed.kind, confirmed.text
    elif guess is not None and core.state not in OPEN_STATES:
        service, kind, text = guess.service, guess.kind.value, guess.cause
    else:
        service = kind = text = ""
    return SimilarIncident(
        id=core.id,
        number=core.number,
        title=core.title,
        similarity=similarity,
        root_cause=text,
        root_cause_service=service,
        root_cause_kind=kind,
        confirmed_by=confirmed.confirmed_by if confirmed else "",
        fixed_by=(confirmed.fixed_by if confirmed else "") or (fixes[-1] if fixes else ""),
        opened_at=core.opened_at,
        refuted_service=refuted.service if refuted else "",
        refuted_kind=refuted.kind.value if refuted else "",
    )


def _worked(state: RunState) -> bool:
    return state is RunState.SUCCEEDED


def _corrects(confirmed: RootCause, guess: Hypothesis) -> bool:
    """Whether a person named another place, or another kind of cause at the same place."""
    if confirmed.confirmed_by in ("", VERIFIED_FIX):
        return False
    another_kind = confirmed.kind not in (guess.kind.value, CauseKind.UNKNOWN.value)
    return confirmed.service != guess.service or another_kind
