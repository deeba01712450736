"""The HTTP face of intake: OTLP/HTTP, Prometheus remote write, change events."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from libs.errors import InvalidMessage, Unavailable
from libs.observability.log import Logger
from services.intake.counters import IntakeCounters
from services.intake.decode.formats import UnsupportedContentType
from services.intake.decode.prometheus_remote_write import SNAPPY
from services.intake.http_answers import changes_success, failure, success, written
from services.intake.http_body import Admitted, InFlight, TooLarge, UnsupportedEncoding
from services.intake.signals import Accepted, Signal
from services.intake.writer import Received, RequestWriter

_READ_S: Final = 30.0  # a client that sends slower than 16 MiB in 30 s holds a place that others wait for
_REMOTE_WRITE: Final = "/api/v1/write"


class IntakeApp:
    """Routes and answers.

    Args:
        writer: Decodes and writes.
        in_flight: Limits over all requests.
        counters: Counts items and refused requests.
        log: Told about refused requests and items.
    """

    def __init__(self, writer: RequestWriter, in_flight: InFlight, counters: IntakeCounters, log: Logger) -> None:
        self._writer = writer
        self._in_flight = in_flight
        self._counters = counters
        self._log = log

    def asgi(self) -> Starlette:
        """The ASGI application."""
        routes = [Route("/", _about, methods=["GET"])]
        routes += [Route(f"/v1/{signal}", self._endpoint(signal), methods=["POST"]) for signal in Signal]
        routes.append(Route(_REMOTE_WRITE, self._remote_write, methods=["POST"]))
        return Starlette(routes=routes)

    def _endpoint(self, signal: Signal) -> Callable[[Request], Awaitable[Response]]:
        async def endpoint(request: Request) -> Response:
            content_type = request.headers.get("content-type", "")
            media_type = content_type.partition(";")[0].strip().lower()
            encoding = request.headers.get("content-encoding", "")
            outcome = await self._outcome(request, signal, content_type, encoding, media_type)
            if isinstance(outcome, Response):
                return outcome
            return changes_success(outcome) if signal is Signal.CHANGES else success(signal, outcome, media_type)

        return endpoint

    async def _remote_write(self, request: Request) -> Response:
        if "io.prometheus.write.v2" in request.headers.get("content-type", ""):
            return self._refused(415, "remote write 2.0 is not read; set the protobuf message to 1.0", "text/plain")
        outcome = await self._outcome(request, Signal.METRICS, SNAPPY, "", "text/plain")
        return outcome if isinstance(outcome, Response) else written(outcome)

    async def _outcome(
        self, request: Request, signal: Signal, content_type: str, encoding: str, answer_type: str
    ) -> Accepted | Response:
        """What came of a request, or the answer to one that failed."""
        try:
            with self._in_flight.one() as admitted:
                body = await _body(request, admitted)
                accepted = await self._writer.write(
                    Received(signal=signal, body=body, content_type=content_type, content_encoding=encoding)
                )
        except TooLarge as error:
            return self._refused(413, str(error), answer_type)
        except (UnsupportedContentType, UnsupportedEncoding) as error:
            return self._refused(415, str(error), answer_type)
        except InvalidMessage as error:
            return self._refused(400, str(error), answer_type)
        except Unavailable as error:
            return self._refused(503, str(error), answer_type)
        except TimeoutError:
            return self._refused(408, f"the body did not arrive within {_READ_S:g} s", answer_type)
        except ClientDisconnect:
            return self._refused(400, "the client went away", answer_type)
        self._counters.count(signal, accepted)
        if accepted.rejected:
            self._log.warning("items rejected", signal=signal, count=accepted.rejected, reason=accepted.reason)
        return accepted

    def _refused(self, status: int, reason: str, answer_type: str) -> Response:
        self._counters.refused_requests.labels(str(status)).inc()
        self._log.warning("request refused", status=status, reason=reason)
        return failure(status, reason, answer_type)


async def _body(request: Request, admitted: Admitted) -> bytes:
    async with asyncio.timeout(_READ_S):
        return await admitted.read(request.stream(), request.headers.get("content-length"))


async def _about(_: Request) -> Response:
    """What this is, for people who open the address in a browser."""
    return JSONResponse(
        {
            "service": "paramedic intake",
            "post": [*(f"/v1/{signal}" for signal in Signal), _REMOTE_WRITE],
            "documentation": "docs/intake.md",
        }
    )
