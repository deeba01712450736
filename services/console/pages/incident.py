"""The page of one incident: what happened, why, what to do, and everything that was gathered around it."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from markupsafe import Markup

from libs.contracts.anomaly import AnomalyDetected, EpisodeState
from libs.contracts.command import CommandKind
from libs.contracts.document import IncidentDocument, RootCause
from libs.contracts.incident import OPEN_STATES, IncidentChanged, IncidentState
from libs.contracts.investigation import CauseKind
from libs.errors import Unavailable
from libs.stores.telemetry import TelemetryReader
from services.console.charts.graph import Call, GraphDrawing, draw_graph
from services.console.charts.metric import draw_metric
from services.console.charts.waterfall import Bar, draw_waterfall
from services.console.pages import evidence
from services.console.pages.now import IncidentRow, incident_row
from services.console.pages.runs_view import RunView, run_views
from services.console.pages.telemetry_view import bars_of, metric_label, read_metric
from services.console.wording import band, clock_time, day_and_time, plain, quantity

_ANY: Final = frozenset(IncidentState)
# As the incident API has it (docs/incidents.md); ticketing refuses what slips through.
ALLOWED: Final = {
    CommandKind.ACKNOWLEDGE: OPEN_STATES,
    CommandKind.COMMENT: _ANY,
    CommandKind.HOLD: frozenset({IncidentState.NEW, IncidentState.IN_PROGRESS}),
    CommandKind.RESOLVE: OPEN_STATES,
    CommandKind.CANCEL: OPEN_STATES,
    CommandKind.CONFIRM_ROOT_CAUSE: _ANY - {IncidentState.CANCELED},
    CommandKind.INVESTIGATE: OPEN_STATES,
}
_MOST_TRACES: Final = 10
_TRIED: Final = 3  # exemplars that were sampled away are passed over
_MOST_LINES: Final = 300


@dataclass(frozen=True, slots=True, kw_only=True)
class TimelineLine:
    """One line of the history.

    Attributes:
        at: Time of day.
        exact: Date and time.
        actor: Service or person.
        kind: Kind of entry.
        text: What happened.
    """

    at: str
    exact: str
    actor: str
    kind: str
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class AnomalyLine:
    """One anomaly.

    Attributes:
        id: Episode id.
        label: Where and what.
        explanation: One sentence.
        severity: critical, high, medium or low.
        open: Whether it lasts.
        observed: The worst value.
        expected: The band.
        since: Time of day of its begin.
        chosen: Whether its metric is drawn.
    """

    id: str
    label: str
    explanation: str
    severity: str
    open: bool
    observed: str
    expected: str
    since: str
    chosen: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class TraceChoice:
    """A trace that can be drawn.

    Attributes:
        trace_id: Hex.
        text: Root, duration and failures in words.
        reason: Why it was kept.
        chosen: Whether it is drawn.
    """

    trace_id: str
    text: str
    reason: str
    chosen: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class RootCauseForm:
    """What the form of a root cause begins with.

    Attributes:
        service: Service of the leading hypothesis.
        kind: Its kind.
        text: Its text.
        fixed_by: What was applied last.
        kinds: Every kind.
    """

    service: str
    kind: str
    text: str
    fixed_by: str
    kinds: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Chosen:
    """What a person wants to see drawn.

    Attributes:
        anomaly: Episode id, "" for the first.
        trace: Trace id, "" for the first exemplar.
    """

    anomaly: str = ""
    trace: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pictures:
    """What was drawn, and why something was not.

    Attributes:
        metric: The triggering metric, None when there is none.
        metric_note: What to know about it.
        trace: The waterfall.
        trace_id: Of which trace.
        trace_note: Why there is none.
    """

    metric: Markup | None = None
    metric_note: str = ""
    trace: Markup | None = None
    trace_id: str = ""
    trace_note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class IncidentPage:
    """The page.

    Attributes:
        row: Number, title, state and what is being done.
        core: Facts of the head, label and text.
        users_sample: Some affected users.
        seen: Version of the incident.
        allowed: Decisions that its state allows.
        runs: Remediation runs, the newest first.
        found: Hypotheses, actions, gaps, steps.
        root_cause: Confirmed root cause.
        cause_form: What its form begins with.
        anomalies: Every anomaly.
        pictures: Metric and trace.
        graph: The slice of the service graph, None when nothing is known of it.
        traces: Traces to choose from.
        surroundings: Logs, changes, similar incidents.
        timeline: History, the newest first.
        timeline_left_out: Older lines that are not shown.
        tickets: Other systems: name, key and address.
    """

    row: IncidentRow
    core: tuple[tuple[str, str], ...]
    users_sample: tuple[str, ...]
    seen: str
    allowed: frozenset[str]
    runs: tuple[RunView, ...]
    found: evidence.Found
    root_cause: RootCause | None
    cause_form: RootCauseForm
    anomalies: tuple[AnomalyLine, ...]
    pictures: Pictures
    graph: Markup | None
    traces: tuple[TraceChoice, ...]
    surroundings: evidence.Surroundings
    timeline: tuple[TimelineLine, ...]
    timeline_left_out: int
    tickets: tuple[tuple[str, str, str], ...]


def incident_page(document: IncidentDocument, pictures: Pictures, chosen: Chosen, now: datetime) -> IncidentPage:
    """The page from a document and its pictures."""
    core = document.incident
    drawn = chosen_anomaly(core, chosen.anomaly)
    return IncidentPage(
        row=incident_row(core, document.investigation, document.remediation, now),
        core=_facts(core),
        users_sample=core.affected_users.sample if core.affected_users else (),
        seen=str(core.version),
        allowed=frozenset(kind.value for kind, states in ALLOWED.items() if core.state in states),
        runs=run_views(document.remediation, core.number, now),
        found=evidence.found(document.investigation),
        root_cause=document.root_cause,
        cause_form=_cause_form(document),
        anomalies=tuple(_anomaly_line(one, drawn) for one in core.anomalies),
        pictures=pictures,
        graph=graph_of(document),
        traces=_traces(document, pictures.trace_id),
        surroundings=evidence.surroundings(document, now),
        timeline=tuple(
            TimelineLine(
                at=clock_time(line.at), exact=day_and_time(line.at), actor=line.actor, kind=line.kind, text=line.text
            )
            for line in list(reversed(document.timeline))[:_MOST_LINES]
        ),
        timeline_left_out=max(len(document.timeline) - _MOST_LINES, 0),
        tickets=tuple((one.system, one.key, one.url if _is_web(one.url) else "") for one in document.tickets),
    )


def draw_pictures(document: IncidentDocument, telemetry: TelemetryReader, chosen: Chosen) -> Pictures:
    """Ask the telemetry store and draw; the page comes without pictures while the store is down."""
    suspect = suspect_of(document)
    metric, note = None, ""
    trace, trace_id, trace_note = None, "", ""
    try:
        anomaly = chosen_anomaly(document.incident, chosen.anomaly)
        if anomaly is not None:
            figures = read_metric(telemetry, anomaly, document.context.changes)
            metric = draw_metric(figures)
            note = "" if figures.lines else "No points of it are kept: only the band and the worst value are drawn."
        trace_id, bars = _first_trace(document, telemetry, chosen.trace)
        if bars:
            trace = draw_waterfall(bars, suspect)
        else:
            trace_note = "No trace of this incident is kept." if not trace_id else "This trace is not kept any more."
    except Unavailable as error:
        note = trace_note = f"The telemetry store does not answer: {error}"
    return Pictures(metric=metric, metric_note=note, trace=trace, trace_id=trace_id, trace_note=trace_note)


def chosen_anomaly(core: IncidentChanged, wanted: str) -> AnomalyDetected | None:
    """The anomaly whose metric is drawn: the one asked for, else the one that opened the incident."""
    named = [one for one in core.anomalies if one.id == wanted]
    first = sorted(core.anomalies, key=lambda one: one.detected_at)
    return next(iter(named or first), None)


def suspect_of(document: IncidentDocument) -> str:
    """Service of the confirmed cause, else of the leading hypothesis; "" for none."""
    if document.root_cause is not None:
        return document.root_cause.service
    found = document.investigation
    return found.hypotheses[0].service if found and found.hypotheses else ""


def graph_of(document: IncidentDocument) -> Markup | None:
    """The slice of the service graph."""
    suspect = suspect_of(document)
    edges = document.context.topology
    if not edges and not suspect:
        return None
    return draw_graph(
        GraphDrawing(
            calls=tuple(Call(caller=e.caller, callee=e.callee, calls=e.calls, errors=e.errors) for e in edges),
            affected=frozenset(document.incident.services),
            suspect=suspect,
            confirmed=document.root_cause is not None,
        )
    )


def _first_trace(document: IncidentDocument, telemetry: TelemetryReader, wanted: str) -> tuple[str, list[Bar]]:
    candidates = [wanted] if wanted else list(dict.fromkeys(_trace_ids(document)))[:_TRIED]
    for trace_id in candidates:
        spans = telemetry.trace(trace_id)
        if spans:
            return trace_id, bars_of(spans)
    return (candidates[0] if candidates else ""), []


def _trace_ids(document: IncidentDocument) -> Sequence[str]:
    kept = [trace.trace_id for trace in document.context.traces]
    return kept + [trace_id for anomaly in document.incident.anomalies for trace_id in anomaly.trace_ids]


def _traces(document: IncidentDocument, drawn: str) -> tuple[TraceChoice, ...]:
    return tuple(
        TraceChoice(
            trace_id=trace.trace_id,
            text=f"{trace.root_service} {trace.root_name}, {quantity(trace.duration_s, 's')}, {trace.errors} of "
            f"{trace.spans} spans failed",
            reason=trace.reason,
            chosen=trace.trace_id == drawn,
        )
        for trace in document.context.traces[:_MOST_TRACES]
    )


def _facts(core: IncidentChanged) -> tuple[tuple[str, str], ...]:
    facts = [
        ("Deviating since", day_and_time(core.started_at)),
        ("Opened", day_and_time(core.opened_at)),
        ("Acknowledged", day_and_time(core.acknowledged_at) if core.acknowledged_at else "not yet"),
        ("Impact and urgency", f"{core.impact.value}, {core.urgency.value}"),
        ("Services", ", ".join(core.services)),
    ]
    if core.resolved_at:
        facts.append(("Resolved", f"{day_and_time(core.resolved_at)} by {core.resolved_by or 'nobody'}"))
    return tuple(facts)


def _cause_form(document: IncidentDocument) -> RootCauseForm:
    found = document.investigation
    leader = found.hypotheses[0] if found and found.hypotheses else None
    applied = [run for run in document.remediation if run.applied_at is not None]
    return RootCauseForm(
        service=leader.service if leader else (document.incident.services or ("",))[0],
        kind=leader.kind.value if leader else CauseKind.UNKNOWN.value,
        text=leader.cause if leader else "",
        fixed_by=applied[-1].fix if applied else "",
        kinds=tuple(kind.value for kind in CauseKind),
    )


def _anomaly_line(one: AnomalyDetected, drawn: AnomalyDetected | None) -> AnomalyLine:
    return AnomalyLine(
        id=one.id,
        label=metric_label(one),
        explanation=one.explanation or f"{plain(one.signal.value)} of {one.service}",
        severity=one.severity.value,
        open=one.state is not EpisodeState.CLOSED,
        observed=quantity(one.observed, one.unit),
        expected=band(one.expected_lower, one.expected_upper, one.unit),
        since=clock_time(one.started_at),
        chosen=drawn is not None and one.id == drawn.id,
    )


def _is_web(url: str) -> bool:
    """Whether an address may become a link: a ticket system could answer with javascript: or worse."""
    return url.startswith(("https://", "http://"))
