"""Talk to the incident API that ticketing serves; decisions go through it, so that they have one writer."""

import json
import os
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen

from libs.errors import ConfigurationError, NotFound, ParamedicError, Unavailable
from libs.service.settings import Settings
from paramedic.supervisor import run_file


class Refused(ParamedicError):
    """The API understood and said no; the text says why."""


def api_url(settings: Settings) -> str:
    """Address of the running API; `ConfigurationError` when it is not running."""
    url = run_file(settings, "ticketing").get("url")
    if not isinstance(url, str):
        raise ConfigurationError(f"the incident API is not running for {settings.data_dir}; start `paramedic up`")
    return url


def post(settings: Settings, path: str, body: dict[str, Any]) -> Any:
    """POST JSON and return the JSON answer.

    Raises:
        NotFound: 404.
        Refused: another 4xx.
        Unavailable: not reachable, or 5xx.
    """
    headers = {"Content-Type": "application/json"}
    if settings.api_token:
        headers["Authorization"] = f"Bearer {settings.api_token}"
    request = Request(api_url(settings) + path, data=json.dumps(body).encode(), headers=headers, method="POST")
    try:
        with urlopen(request, timeout=10.0) as answer:
            return json.loads(answer.read() or b"null")
    except HTTPError as error:
        text = _detail(error)
        if error.code == 404:
            raise NotFound(text) from error
        if error.code < 500:
            raise Refused(text) from error
        raise Unavailable(text) from error
    except (URLError, OSError) as error:
        raise Unavailable(f"{api_url(settings)}: {error}") from error


def _detail(error: HTTPError) -> str:
    try:
        fields = json.loads(error.read())
        return str(fields.get("detail") or fields.get("title") or fields)
    except (ValueError, AttributeError):
        return f"HTTP {error.code}"


def default_actor() -> str:
    """Who decides, unless --actor says otherwise: the login name."""
    return os.environ.get("USER") or os.environ.get("LOGNAME") or "operator"
