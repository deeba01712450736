"""A webhook: POST each ticket as JSON to a URL of another ticket system or a chat.

The body is the incident core with the reason of its newest change. `Idempotency-Key` derives from incident and version,
so a receiver can drop what it has. An answer {"key": ..., "url": ...} is kept as a link in the ticket.
"""

import http.client
import json
import urllib.error
import urllib.request
from typing import Any, Final
from urllib.parse import urlsplit

from libs.contracts.codec import to_fields
from libs.contracts.document import LinkedTicket
from libs.errors import ConfigurationError, InvalidMessage, Unavailable
from libs.service.settings import Settings
from services.ticketing.ticket import Change

# The service's loop waits for the answer: longer than this would eat into the second that a new ticket may take.
TIMEOUT_S: Final = 0.5
_ANSWER_BYTES: Final = 65_536
_RETRY_LATER: Final = frozenset({408, 425, 429})


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """A redirect would turn the POST into a GET somewhere else; it is answered as a refusal instead."""

    def redirect_request(self, *_: Any) -> None:
        return None


class Webhook:
    """Posts tickets to one URL.

    Args:
        url: http or https.
        timeout_s: Longest wait for each step of the connection.
    """

    def __init__(self, url: str, *, timeout_s: float = TIMEOUT_S) -> None:
        self._url = url
        self._timeout_s = timeout_s
        self._opener = urllib.request.build_opener(_NoRedirect)

    def sync(self, change: Change) -> LinkedTicket | None:
        """Post one change; `Unavailable` when it should be tried again, `InvalidMessage` when it was refused."""
        body = {"why": change.why, "actor": change.actor, "incident": to_fields(change.core)}
        request = urllib.request.Request(
            self._url,
            data=json.dumps(body, default=str).encode(),
            headers={"Content-Type": "application/json", "Idempotency-Key": change.id, "User-Agent": "paramedic"},
            method="POST",
        )
        try:
            with self._opener.open(request, timeout=self._timeout_s) as answer:
                return _link(answer.read(_ANSWER_BYTES))
        except urllib.error.HTTPError as error:
            if error.code >= 500 or error.code in _RETRY_LATER:
                raise Unavailable(f"webhook: HTTP {error.code}") from error
            raise InvalidMessage(f"webhook: HTTP {error.code} {error.reason}") from error
        except (OSError, http.client.HTTPException) as error:
            raise Unavailable(f"webhook: {error}") from error


def _link(answer: bytes) -> LinkedTicket | None:
    """The link that the other system answered with, if it did."""
    try:
        fields = json.loads(answer)
    except ValueError:
        return None
    key = fields.get("key") if isinstance(fields, dict) else None
    if not isinstance(key, str) or not key:
        return None
    url = fields.get("url", "")
    safe = isinstance(url, str) and urlsplit(url).scheme in ("http", "https")
    return LinkedTicket(system="webhook", key=key[:200], url=url[:2_000] if safe else "")


def open_backend(settings: Settings) -> Webhook | None:
    """The webhook that the settings name, or None."""
    url = settings.ticket_webhook_url
    if not url:
        return None
    if urlsplit(url).scheme not in ("http", "https") or not urlsplit(url).hostname:
        raise ConfigurationError(f"PARAMEDIC_TICKET_WEBHOOK_URL={url}: give an http:// or https:// URL")
    return Webhook(url)
