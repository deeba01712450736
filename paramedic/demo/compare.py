"""Whether a replay of the demo's own recording opens the same tickets with the same first hypotheses."""

from dataclasses import dataclass

from libs.contracts.document import IncidentDocument
from libs.service.settings import Settings
from libs.stores.incidents import IncidentQuery
from libs.stores.open import open_incident_store
from paramedic.commands.replay import recording_files
from paramedic.demo.run import DemoResult
from paramedic.replay import replay


@dataclass(frozen=True, slots=True, kw_only=True)
class Ticket:
    """What must be the same.

    Attributes:
        services: Services on the ticket, sorted.
        hypothesis: First hypothesis: service and kind.
    """

    services: tuple[str, ...]
    hypothesis: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """Live and replayed tickets, in order of opening.

    Attributes:
        same: Whether they are equal.
        text: For people.
        live: As they were live.
        replayed: As the replay opened them.
        wall_s: Seconds that the replay took.
    """

    same: bool
    text: str
    live: tuple[Ticket, ...]
    replayed: tuple[Ticket, ...]
    wall_s: float


def compare(result: DemoResult) -> Comparison:
    """Replay the recording and compare."""
    live = tuple(ticket(document) for document in _live_documents(result.settings))
    played = replay(recording_files([result.recording]), result.settings)
    replayed = tuple(ticket(document) for document in played.documents)
    same = live == replayed
    if same:
        text = f"same {len(live)} tickets and first hypotheses in {played.counts.wall_s:.1f} s"
    else:
        text = f"differs: live {_words(live)}; replayed {_words(replayed)}"
    return Comparison(same=same, text=text, live=live, replayed=replayed, wall_s=round(played.counts.wall_s, 2))


def ticket(document: IncidentDocument) -> Ticket:
    """What must be the same of one incident."""
    investigation = document.investigation
    first = investigation.hypotheses[0] if investigation and investigation.hypotheses else None
    return Ticket(
        services=tuple(sorted(document.incident.services)),
        hypothesis=f"{first.service}: {first.kind}" if first else "",
    )


def _live_documents(settings: Settings) -> list[IncidentDocument]:
    store = open_incident_store(settings.incident_store, settings.data_dir, settings.elastic)
    try:
        page = store.search(IncidentQuery(limit=1000))
        documents = [store.get(incident.id) for incident in page.incidents]
    finally:
        store.close()
    found = [document for document in documents if document is not None]
    return sorted(found, key=lambda document: (document.incident.opened_at, document.incident.number))


def _words(tickets: tuple[Ticket, ...]) -> str:
    return "; ".join(f"[{', '.join(t.services)}] {t.hypothesis or 'no hypothesis'}" for t in tickets) or "none"
