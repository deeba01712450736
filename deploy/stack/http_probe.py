"""One small HTTP call to see whether a server answers."""

import http.client
import json
from typing import Any
from urllib.error import URLError
from urllib.request import Request, urlopen


def answer(url: str, *, body: object = None, timeout_s: float = 3.0) -> Any:
    """Parsed JSON of a 2xx answer to GET, or to POST when there is a body; None when there is no such answer."""
    content = None if body is None else json.dumps(body).encode()
    request = Request(url, data=content, headers={"Content-Type": "application/json"})
    try:
        with urlopen(request, timeout=timeout_s) as got:
            return json.loads(got.read() or b"{}")
    except (URLError, OSError, ValueError, http.client.HTTPException):
        return None
