"""Tell the telemetry endpoint what was changed, as a deployment system does; nobody waits for it."""

import asyncio
import logging
import uuid
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime

import httpx

logger = logging.getLogger("shop.changes")

_TRIES = 6
_FIRST_PAUSE_S = 0.25  # doubled: 8 s in all, then the change is given up and logged
_TIMEOUT_S = 2.0
_QUEUE = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One change of the running shop.

    Attributes:
        kind: deploy, flag, config or scale.
        service: What was changed.
        summary: For people.
        actor: Who asked.
        version: Version after it; None when it is not about versions.
        previous_version: Version before it.
        attributes: Details.
        timestamp: RFC 3339, when it was live.
        id: Unique id.
    """

    kind: str
    service: str
    summary: str
    actor: str
    version: str | None = None
    previous_version: str | None = None
    attributes: Mapping[str, str] = field(default_factory=dict)
    timestamp: str = field(default_factory=lambda: datetime.now(UTC).isoformat())
    id: str = field(default_factory=lambda: uuid.uuid4().hex)


class ChangeFeed:
    """Posts changes in order from a task of its own."""

    def __init__(self, endpoint: str, client: httpx.AsyncClient) -> None:
        self._url = endpoint.rstrip("/") + "/v1/changes"
        self._client = client
        self._waiting: asyncio.Queue[Change] = asyncio.Queue(_QUEUE)

    def announce(self, change: Change) -> None:
        """Queue a change; when two hundred wait already it is logged and left out."""
        logger.info("%s of %s: %s", change.kind, change.service, change.summary)
        try:
            self._waiting.put_nowait(change)
        except asyncio.QueueFull:
            logger.error("change %s left out: too many wait", change.id)

    async def run(self) -> None:
        """Post for ever."""
        while True:
            await self._post(await self._waiting.get())

    async def _post(self, change: Change) -> None:
        pause_s = _FIRST_PAUSE_S
        for _ in range(_TRIES):
            try:
                answer = await self._client.post(self._url, json=asdict(change), timeout=_TIMEOUT_S)
            except httpx.TransportError as error:
                outcome = type(error).__name__
            else:
                if answer.is_success:
                    return
                outcome = f"status {answer.status_code}"
                if 400 <= answer.status_code < 500 and answer.status_code != 429:
                    break  # it will not be accepted by asking again
            await asyncio.sleep(pause_s)
            pause_s *= 2
        logger.warning("change %s not delivered to %s: %s", change.id, self._url, outcome)
