"""The reading half of the incident API."""

from collections.abc import Iterator
from typing import Annotated, Any, Final

from fastapi import APIRouter, Query
from fastapi.responses import Response
from pydantic import AwareDatetime

from libs.contracts.codec import from_json, to_json, utc_from_ns
from libs.contracts.document import IncidentDocument, Section
from libs.contracts.incident import OPEN_STATES, IncidentState, Priority
from libs.contracts.recommendation import CodeChangeRecommended
from libs.contracts.remediation import RemediationChanged, RunState
from libs.errors import InvalidMessage, NotFound
from libs.runbooks.scorecard import Scorecard, scorecard
from libs.stores.incidents import IncidentQuery, IncidentStore
from libs.stores.telemetry import TelemetryReader
from services.ticketing.api_models import IncidentList, RecommendationList, RunList, ServiceList, ServiceView
from services.ticketing.decisions import RECOMMENDATION_PREFIX
from services.ticketing.graph import call_graph

MOST_RESULTS: Final = 200
MOST_OFFSET: Final = 100_000


def json_of(value: Any, status: int = 200) -> Response:
    """A value of the contract as JSON, exactly as it is stored."""
    return Response(to_json(value), status_code=status, media_type="application/json")


def add_routes(router: APIRouter, incidents: IncidentStore, telemetry: TelemetryReader) -> None:
    """Reading routes over two stores."""
    _incident_routes(router, incidents)
    _run_routes(router, incidents)
    _recommendation_routes(router, incidents)

    @router.get(
        "/services", summary="Known services, their calls and open incidents", response_model=ServiceList,
        tags=["services"],
    )  # fmt: skip
    def services() -> Response:
        return json_of(ServiceList(services=tuple(_services(incidents, telemetry))))


def _incident_routes(router: APIRouter, incidents: IncidentStore) -> None:
    @router.get("/incidents", summary="List and search incidents", response_model=IncidentList, tags=["incidents"])
    def list_incidents(
        # FastAPI reads these lists once and hands every request a copy: None would make the schema nullable
        state: Annotated[list[IncidentState], Query(description="Any of these states.")] = [],  # noqa: B006
        priority: Annotated[list[Priority], Query(description="Any of these priorities.")] = [],  # noqa: B006
        service: Annotated[list[str], Query(description="Touches any of these services.", max_length=50)] = [],  # noqa: B006
        text: Annotated[str, Query(max_length=500, description="Words anywhere in the ticket.")] = "",
        opened_from: Annotated[AwareDatetime | None, Query(alias="from", description="Opened at or after.")] = None,
        opened_to: Annotated[AwareDatetime | None, Query(alias="to", description="Opened before.")] = None,
        limit: Annotated[int, Query(ge=1, le=MOST_RESULTS)] = 50,
        offset: Annotated[int, Query(ge=0, le=MOST_OFFSET)] = 0,
    ) -> Response:
        if opened_from and opened_to and opened_from >= opened_to:
            raise InvalidMessage("`from` must be before `to`")
        query = IncidentQuery(
            text=text,
            states=tuple(state),
            priorities=tuple(priority),
            services=tuple(service),
            opened_from=opened_from,
            opened_to=opened_to,
            limit=limit,
            offset=offset,
        )
        page = incidents.search(query)
        return json_of(IncidentList(incidents=page.incidents, total=page.total, limit=limit, offset=offset))

    @router.get(
        "/incidents/{reference}",
        summary="The whole incident document by id or number",
        response_model=IncidentDocument,
        tags=["incidents"],
    )
    def read_incident(reference: str) -> Response:
        document = incidents.get(reference)
        if document is None:
            raise NotFound(
                f"no incident {reference!r}; give an id or a number like INC-000042, GET /api/v1/incidents lists them"
            )
        return json_of(document)


def _run_routes(router: APIRouter, incidents: IncidentStore) -> None:
    @router.get(
        "/remediations",
        summary="Remediation runs, newest first",
        response_model=RunList,
        tags=["remediations"],
    )
    def list_runs(
        state: Annotated[list[RunState], Query(description="Any of these states.")] = [],  # noqa: B006
        limit: Annotated[int, Query(ge=1, le=MOST_RESULTS)] = 50,
        offset: Annotated[int, Query(ge=0, le=MOST_OFFSET)] = 0,
    ) -> Response:
        runs = [run for run in all_runs(incidents) if not state or run.state in state]
        runs.sort(key=lambda run: (run.requested_at, run.id), reverse=True)
        return json_of(RunList(runs=tuple(runs[offset : offset + limit]), total=len(runs)))

    @router.get(
        "/scorecard",
        summary="How often fixes worked, per pattern, with its confidence interval",
        response_model=Scorecard,
        tags=["remediations"],
    )
    def read_scorecard() -> Response:
        return json_of(scorecard(all_runs(incidents)))


def _recommendation_routes(router: APIRouter, incidents: IncidentStore) -> None:
    @router.get(
        "/recommendations",
        summary="Recommended code changes with evidence, benefit and diff, newest first",
        response_model=RecommendationList,
        tags=["recommendations"],
    )
    def list_recommendations(
        state: Annotated[list[str], Query(description="Any of open, accepted, dismissed, superseded.")] = [],  # noqa: B006
        service: Annotated[list[str], Query(description="Any of these services.", max_length=50)] = [],  # noqa: B006
        limit: Annotated[int, Query(ge=1, le=MOST_RESULTS)] = 50,
        offset: Annotated[int, Query(ge=0, le=MOST_OFFSET)] = 0,
    ) -> Response:
        stored = incidents.states(RECOMMENDATION_PREFIX).values()
        found = [from_json(one.value, CodeChangeRecommended) for one in stored]
        found = [one for one in found if (not state or one.state in state) and (not service or one.service in service)]
        found.sort(key=lambda one: (one.recommended_at, one.id), reverse=True)
        page = RecommendationList(recommendations=tuple(found[offset : offset + limit]), total=len(found))
        return json_of(page)

    @router.get(
        "/recommendations/{identity}",
        summary="One recommended code change by id",
        response_model=CodeChangeRecommended,
        tags=["recommendations"],
    )
    def read_recommendation(identity: str) -> Response:
        stored = incidents.state(RECOMMENDATION_PREFIX + identity)
        if stored is None:
            raise NotFound(f"no recommendation {identity!r}; GET /api/v1/recommendations lists them")
        return json_of(from_json(stored.value, CodeChangeRecommended))


def all_runs(incidents: IncidentStore) -> Iterator[RemediationChanged]:
    """Every remediation run of every incident, by incident, newest incident first."""
    for _, found in incidents.sections(Section.REMEDIATION):
        yield from found


def _services(incidents: IncidentStore, telemetry: TelemetryReader) -> Iterator[ServiceView]:
    graph = call_graph(telemetry.edges())
    seen = {one.service: one for one in telemetry.services()}
    touched: dict[str, list[str]] = {}
    page = incidents.search(IncidentQuery(states=tuple(sorted(OPEN_STATES)), limit=1_000))
    for core in page.incidents:
        for service in core.services:
            touched.setdefault(service, []).append(core.number)
    for name in sorted({*seen, *graph.callers, *graph.callees}):
        one = seen.get(name)
        yield ServiceView(
            service=name,
            reports=one is not None,
            first_seen=utc_from_ns(one.first_seen_ns).isoformat() if one else "",
            last_seen=utc_from_ns(one.last_seen_ns).isoformat() if one else "",
            callers=tuple(sorted(graph.callers.get(name, ()))),
            callees=tuple(sorted(graph.callees.get(name, ()))),
            open_incidents=tuple(sorted(touched.get(name, ()))),
        )
