"""Import the saved objects of deploy/kibana into Kibana; importing again replaces them.

Source: https://www.elastic.co/docs/api/doc/kibana/v8/operation/operation-importsavedobjectsdefault
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from ssl import SSLContext, SSLError, create_default_context
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from libs.errors import ConfigurationError, InvalidMessage, Unavailable
from libs.service.settings import Settings
from libs.stores.elastic_options import ElasticOptions

if TYPE_CHECKING:
    import httpx

_SHIPPED_PREFIX: Final = ElasticOptions().prefix
_DATA_VIEW: Final = "index-pattern"
_ANSWER_S: Final = 60.0  # thirty objects in one request to a server that may have just started
_STARTING: Final = frozenset({429, 500, 502, 503, 504})
_CREDENTIALS: Final = "PARAMEDIC_KIBANA_API_KEY, or PARAMEDIC_KIBANA_USER and _PASSWORD"


@dataclass(frozen=True, slots=True, kw_only=True)
class KibanaAccess:
    """How to reach a space of Kibana.

    Attributes:
        url: http(s)://host:port with the base path, if there is one.
        space: Space, "" for the default one.
        api_key: Encoded API key, "" for none.
        user: User of basic authentication, "" for none.
        password: Its password.
        ca_file: PEM file of the certificate authority, "" for the system's.
    """

    url: str
    space: str = ""
    api_key: str = field(default="", repr=False)
    user: str = ""
    password: str = field(default="", repr=False)
    ca_file: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Imported:
    """An object that Kibana took.

    Attributes:
        type: Type.
        id: Its fixed id.
        title: Its title.
        destination: Id that it has in the space: another one where its own is taken in another space.
        replaced: Whether it was there.
    """

    type: str
    id: str
    title: str
    destination: str
    replaced: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Rejected:
    """An object that Kibana did not take.

    Attributes:
        type: Type.
        id: Its id.
        title: Its title.
        reason: Why, in words.
    """

    type: str
    id: str
    title: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportResult:
    """What became of each object.

    Attributes:
        imported: Those that were taken.
        rejected: Those that were not.
    """

    imported: tuple[Imported, ...] = ()
    rejected: tuple[Rejected, ...] = ()


def kibana_access(settings: Settings, url: str = "") -> KibanaAccess:
    """How to reach Kibana; `ConfigurationError` when no address is known or it is none.

    Args:
        settings: All settings.
        url: Address instead of that of the settings.
    """
    address = (url or settings.kibana_url).rstrip("/")
    if not address:
        raise ConfigurationError("say where Kibana is: --url http://host:5601, or PARAMEDIC_KIBANA_URL")
    try:
        parts = urlsplit(address)
        parts.port  # noqa: B018 - raises when it is no number
    except ValueError:
        raise ConfigurationError("the address of Kibana is no URL; use http(s)://host:port") from None
    if parts.username is not None or parts.password is not None:
        raise ConfigurationError(f"leave user and password out of the address of Kibana; set {_CREDENTIALS}")
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment:
        raise ConfigurationError(f"{address} is no address of Kibana; use http(s)://host:port")
    key, password = settings.kibana_api_key, settings.kibana_password
    if key and settings.kibana_user:
        raise ConfigurationError(f"set {_CREDENTIALS}, not both")
    return KibanaAccess(
        url=address,
        space=settings.kibana_space,
        api_key=key.get_secret_value() if key else "",
        user=settings.kibana_user,
        password=password.get_secret_value() if password else "",
        ca_file=settings.kibana_ca_file,
    )


def saved_objects(prefix: str) -> bytes:
    """The shipped objects as newline-delimited JSON, their data views over the indices of a prefix."""
    lines = []
    for line in (resources.files("deploy.kibana") / "paramedic.ndjson").read_text(encoding="utf-8").splitlines():
        found = json.loads(line)
        if found["type"] == _DATA_VIEW:
            titles = found["attributes"]["title"].split(",")
            found["attributes"]["title"] = ",".join(prefix + title.removeprefix(_SHIPPED_PREFIX) for title in titles)
        lines.append(json.dumps(found, ensure_ascii=False))
    return ("\n".join(lines) + "\n").encode()


def import_objects(access: KibanaAccess, objects: bytes) -> ImportResult:
    """Import objects into a space, replacing those that are there.

    Raises:
        ConfigurationError: Address, credentials or certificate are wrong, or httpx is not installed.
        InvalidMessage: Kibana refuses the file as a whole.
        Unavailable: It cannot be reached or is still starting.
    """
    space = f"/s/{access.space}" if access.space else ""
    address = f"{access.url}{space}/api/saved_objects/_import"
    with _client(access) as client:
        answer = _post(client, address, objects)
    return _result(answer, address)


def _client(access: KibanaAccess) -> "httpx.Client":
    try:
        import httpx
    except ModuleNotFoundError as error:
        raise ConfigurationError('Kibana needs an HTTP client: pip install "paramedic[kibana]"') from error
    headers = {"kbn-xsrf": "paramedic"}
    if access.api_key:
        headers["Authorization"] = f"ApiKey {access.api_key}"
    login = (access.user, access.password) if access.user else None
    return httpx.Client(headers=headers, auth=login, verify=_trust(access.ca_file), timeout=_ANSWER_S)


def _trust(ca_file: str) -> SSLContext:
    if ca_file and not Path(ca_file).is_file():
        raise ConfigurationError(f"PARAMEDIC_KIBANA_CA_FILE={ca_file}: there is no such file")
    try:
        return create_default_context(cafile=ca_file or None)
    except SSLError as error:
        raise ConfigurationError(f"PARAMEDIC_KIBANA_CA_FILE={ca_file}: no PEM file of certificates: {error}") from error


def _post(client: "httpx.Client", address: str, objects: bytes) -> "httpx.Response":
    import httpx

    files = {"file": ("paramedic.ndjson", objects, "application/ndjson")}
    try:
        return client.post(address, params={"overwrite": "true"}, files=files)
    except httpx.ConnectError as error:
        if "CERTIFICATE_VERIFY_FAILED" in str(error):
            text = f"{address}: {error}; set PARAMEDIC_KIBANA_CA_FILE to the CA certificate of Kibana"
            raise ConfigurationError(text) from error
        raise Unavailable(f"{address}: {error}") from error
    except httpx.TransportError as error:
        raise Unavailable(f"{address}: {type(error).__name__} {error}".strip()) from error


def _result(answer: "httpx.Response", address: str) -> ImportResult:
    if answer.status_code in _STARTING:
        raise Unavailable(f"{address}: {answer.status_code} {_told(answer)}")
    if answer.status_code in (401, 403):
        text = f"{answer.status_code} {_told(answer)}; set {_CREDENTIALS} to one that may manage saved objects"
        raise ConfigurationError(f"{address}: {text}")
    if answer.status_code == 404 or answer.is_redirect:
        raise ConfigurationError(
            f"{address}: {answer.status_code}, not found; check host, base path (server.basePath) and space"
        )
    if answer.status_code != 200:
        raise InvalidMessage(f"{address}: {answer.status_code} {_told(answer)}")
    try:
        return _outcome(answer.json())
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ConfigurationError(f"{address}: what answers there is no Kibana: {answer.text[:80]!r}") from error


def _outcome(fields: Mapping[str, Any]) -> ImportResult:
    taken: Sequence[Mapping[str, Any]] = fields.get("successResults", [])
    refused: Sequence[Mapping[str, Any]] = fields.get("errors", [])
    if fields["successCount"] != len(taken) or bool(fields["success"]) is bool(refused):
        raise ValueError("the counts do not agree")
    return ImportResult(
        imported=tuple(
            Imported(
                type=found["type"],
                id=found["id"],
                title=_title(found),
                destination=found.get("destinationId", found["id"]),
                replaced=bool(found.get("overwrite", False)),
            )
            for found in taken
        ),
        rejected=tuple(
            Rejected(type=found["type"], id=found["id"], title=_title(found), reason=_reason(found["error"]))
            for found in refused
        ),
    )


def _title(found: Mapping[str, Any]) -> str:
    return str(found.get("meta", {}).get("title") or found.get("title") or found["id"])


def _reason(error: Mapping[str, Any]) -> str:
    match error["type"]:
        case "missing_references":
            missing = ", ".join(f"{link['type']} {link['id']}" for link in error.get("references", []))
            return f"refers to what is not there: {missing}"
        case "unsupported_type":
            return "this Kibana does not know the type"
        case "conflict" | "ambiguous_conflict":
            return "another object has its id; delete that one, or import into a space of its own"
        case kind:
            return str(error.get("message") or kind)


def _told(answer: "httpx.Response") -> str:
    """What Kibana said, in one line."""
    try:
        fields = answer.json()
        return str(fields.get("message") or fields.get("error") or fields)[:300]
    except (ValueError, AttributeError):
        return " ".join(answer.text.split())[:120]
