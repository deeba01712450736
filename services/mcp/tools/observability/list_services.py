"""Which services send telemetry, and which of them have fallen silent."""

from typing import Annotated, Final

from pydantic import AwareDatetime, Field

from libs.contracts.codec import utc_from_ns
from services.mcp.answer import Answer, Found, PageArguments, Row, answer, page_of
from services.mcp.bounds import Figure, Name, untrusted
from services.mcp.sources import Sources
from services.mcp.tool import Tool, register

_NS: Final = 1e9
_NOTHING: Final = "No service: no telemetry was recorded yet."


class ServiceRow(Row):
    """A service."""

    service: Annotated[Name, Field(description=untrusted("service.name"))]
    first_seen: Annotated[AwareDatetime, Field(description="Event time of its first telemetry.")]
    last_seen: Annotated[AwareDatetime, Field(description="Event time of its newest telemetry.")]
    silent_s: Annotated[Figure, Field(description="Seconds between its newest telemetry and the newest of all.")]


class ServicesAnswer(Answer[ServiceRow]):
    """Services by name."""

    newest_telemetry: Annotated[AwareDatetime | None, Field(description="What 'now' means in this store.")]


def _ask(sources: Sources, asked: PageArguments) -> ServicesAnswer:
    newest_ns = sources.telemetry.watermark_ns()
    rows = [
        ServiceRow(
            service=seen.service,
            first_seen=utc_from_ns(seen.first_seen_ns),
            last_seen=utc_from_ns(seen.last_seen_ns),
            silent_s=max(newest_ns - seen.last_seen_ns, 0) / _NS,
        )
        for seen in sources.telemetry.services()
    ]
    newest = utc_from_ns(newest_ns) if newest_ns else None
    if rows:
        text = (
            f"{len(rows)} services have sent telemetry; the newest is of {newest.isoformat() if newest else 'never'}."
        )
    else:
        text = "No service: no telemetry was recorded yet."
    found = Found(rows=page_of(rows, asked), total=len(rows), summary=text)
    return answer(ServicesAnswer, asked, found, newest_telemetry=newest)


TOOL: Final = register(
    "observability",
    Tool(
        name="list_services",
        title="Services that send telemetry",
        description="List every service that has sent metrics, logs or spans, when it was first and last heard of, and "
        "for how long it has been silent. Call this first: other tools take these names. External dependencies that "
        "send no telemetry are not here; get_topology shows them as callees.",
        arguments=PageArguments,
        result=ServicesAnswer,
        ask=_ask,
    ),
)
