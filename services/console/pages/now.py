"""The page Now: open incidents by priority with what is being done, approvals that wait, and a search over history."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final
from urllib.parse import urlencode

from libs.contracts.document import Section
from libs.contracts.incident import OPEN_STATES, IncidentChanged, IncidentState, Priority
from libs.contracts.investigation import InvestigationCompleted
from libs.contracts.remediation import RemediationChanged, RunState
from libs.stores.incidents import IncidentQuery, IncidentStore
from services.console.pages.doing import Doing, doing
from services.console.wording import ago, count, day_and_time, lasting, plain, share

MOST_OPEN: Final = 50  # more open incidents than anybody reads; the count above the list says how many there are
HISTORY: Final = 25
LAST_PAGE: Final = 400  # 10,000 incidents


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What a person asks of the history.

    Attributes:
        text: Words.
        state: ITIL state, None for any.
        priority: Priority, None for any.
        service: service.name, "" for any.
        page: From 1.
    """

    text: str = ""
    state: IncidentState | None = None
    priority: Priority | None = None
    service: str = ""
    page: int = 1

    @property
    def filters(self) -> bool:
        """Whether anything was asked for."""
        return bool(self.text or self.state or self.priority or self.service)

    def address(self, page: int) -> str:
        """Address of another page of the same results."""
        fields = {
            "q": self.text,
            "state": self.state.value if self.state else "",
            "priority": self.priority.value if self.priority else "",
            "service": self.service,
            "page": str(page) if page > 1 else "",
        }
        given = {name: value for name, value in fields.items() if value}
        return f"/?{urlencode(given)}#history" if given else "/#history"


@dataclass(frozen=True, slots=True, kw_only=True)
class IncidentRow:
    """One incident of a list.

    Attributes:
        id: Incident id.
        number: INC-000042.
        href: Its page.
        title: One line.
        priority: P1 to P5.
        state: ITIL state.
        state_words: The same, for people.
        services: Affected services.
        users: Affected users in words, "" when unknown.
        users_basis: How they were counted.
        hypothesis: Leading hypothesis, "" for none.
        confidence: Its confidence in words.
        doing: What is being done.
        opened: When, in words.
        opened_exact: Likewise, exact.
        lasting: How long it lasts, or lasted.
    """

    id: str
    number: str
    href: str
    title: str
    priority: str
    state: str
    state_words: str
    services: tuple[str, ...]
    users: str
    users_basis: str
    hypothesis: str
    confidence: str
    doing: Doing
    opened: str
    opened_exact: str
    lasting: str


@dataclass(frozen=True, slots=True, kw_only=True)
class WaitingApproval:
    """A fix that waits for a person.

    Attributes:
        number: Incident number.
        href: Where to decide.
        what: Action and target.
        since: How long it waits, in words.
    """

    number: str
    href: str
    what: str
    since: str


@dataclass(frozen=True, slots=True, kw_only=True)
class NowPage:
    """The page.

    Attributes:
        open: Open incidents, P1 first, the newest first within a priority.
        open_total: How many are open.
        counts: Priority and number of open incidents with it.
        approvals: Fixes that wait for a person.
        asked: What was asked of the history.
        history: Results.
        history_total: How many match.
        earlier: Address of the page before, "" for none.
        later: Address of the page after.
    """

    open: tuple[IncidentRow, ...]
    open_total: int
    counts: tuple[tuple[str, int], ...]
    approvals: tuple[WaitingApproval, ...]
    asked: Asked
    history: tuple[IncidentRow, ...]
    history_total: int
    earlier: str = ""
    later: str = ""


def read_now(incidents: IncidentStore, asked: Asked, now: datetime) -> NowPage:
    """Read the page from the store: open ones by priority, so that P1 is shown however many P5 there are."""
    cores: list[IncidentChanged] = []
    counts: list[tuple[str, int]] = []
    for priority in Priority:
        room = MOST_OPEN - len(cores)
        page = incidents.search(
            IncidentQuery(states=tuple(sorted(OPEN_STATES)), priorities=(priority,), limit=max(room, 1))
        )
        counts.append((priority.value, page.total))
        cores.extend(page.incidents[: max(room, 0)])
    rows: list[IncidentRow] = []
    approvals: list[WaitingApproval] = []
    for core in cores:
        investigation, runs = _sections(incidents, core.id)
        rows.append(incident_row(core, investigation, runs, now))
        approvals.extend(waiting_approvals(core, runs, now))
    ended = tuple(sorted(set(IncidentState) - OPEN_STATES))
    found = incidents.search(
        IncidentQuery(
            text=asked.text,
            states=(asked.state,) if asked.state else () if asked.filters else ended,
            priorities=(asked.priority,) if asked.priority else (),
            services=(asked.service,) if asked.service else (),
            limit=HISTORY,
            offset=(asked.page - 1) * HISTORY,
        )
    )
    history = tuple(incident_row(core, *_sections(incidents, core.id), now) for core in found.incidents)
    return NowPage(
        open=tuple(rows),
        open_total=sum(number for _, number in counts),
        counts=tuple(counts),
        approvals=tuple(approvals),
        asked=asked,
        history=history,
        history_total=found.total,
        earlier=asked.address(asked.page - 1) if asked.page > 1 else "",
        later=asked.address(asked.page + 1) if asked.page * HISTORY < found.total and asked.page < LAST_PAGE else "",
    )


def incident_row(
    core: IncidentChanged,
    investigation: InvestigationCompleted | None,
    runs: Sequence[RemediationChanged],
    now: datetime,
) -> IncidentRow:
    """One line of a list."""
    leader = investigation.hypotheses[0] if investigation and investigation.hypotheses else None
    users = core.affected_users
    ended_at = core.resolved_at or (core.updated_at if core.state not in OPEN_STATES else None)
    return IncidentRow(
        id=core.id,
        number=core.number,
        href=f"/incidents/{core.number}",
        title=core.title,
        priority=core.priority.value,
        state=core.state.value,
        state_words=plain(core.state.value),
        services=core.services,
        users=count(users.count, "user") if users else "",
        users_basis=users.basis if users else "",
        hypothesis=leader.cause if leader else "",
        confidence=share(leader.confidence) if leader else "",
        doing=doing(core, investigation, runs),
        opened=ago(core.opened_at, now),
        opened_exact=day_and_time(core.opened_at),
        lasting=lasting(((ended_at or now) - core.started_at).total_seconds()),
    )


def waiting_approvals(
    core: IncidentChanged, runs: Sequence[RemediationChanged], now: datetime
) -> list[WaitingApproval]:
    """Fixes of an incident that wait for a person."""
    return [
        WaitingApproval(
            number=core.number,
            href=f"/incidents/{core.number}#run-{run.id}",
            what=f"{plain(run.action)} on {run.target}",
            since=lasting((now - run.updated_at).total_seconds()),
        )
        for run in runs
        if run.state is RunState.AWAITING_APPROVAL
    ]


def _sections(
    incidents: IncidentStore, incident_id: str
) -> tuple[InvestigationCompleted | None, tuple[RemediationChanged, ...]]:
    investigation = incidents.section(incident_id, Section.INVESTIGATION)
    remediation = incidents.section(incident_id, Section.REMEDIATION)
    return investigation[0] if investigation else None, remediation[0] if remediation else ()
