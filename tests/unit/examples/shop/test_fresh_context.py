"""A request never becomes part of the trace of the one before it on the same connection."""

import asyncio

from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from starlette.types import Receive, Scope, Send

from examples.shop.web import FreshContext


def test_a_span_left_over_from_another_request_is_not_current() -> None:
    seen: list[trace.Span] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        seen.append(trace.get_current_span())

    async def receive() -> dict[str, str]:
        return {}

    async def send(message: object) -> None:
        pass

    async def request() -> None:
        with TracerProvider().get_tracer("test").start_as_current_span("left over"):
            await FreshContext(app)({"type": "http"}, receive, send)
            seen.append(trace.get_current_span())

    asyncio.run(request())
    assert not seen[0].get_span_context().is_valid
    assert seen[1].get_span_context().is_valid
