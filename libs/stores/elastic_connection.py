"""The door to Elasticsearch: one client with TLS and credentials, retries, and errors told by what to do about them.

Only this module imports the client library. The client's major is pinned (pyproject.toml) and the server's is asserted
when a store is opened: REST API compatibility lets a client talk to servers of its own major and of the next one.

Source: https://www.elastic.co/guide/en/elasticsearch/reference/8.19/rest-api-compatibility.html
"""

import logging
import random
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

import msgspec
from elastic_transport import ConnectionTimeout as TimedOut
from elastic_transport import JsonSerializer, SerializationError, TlsError, TransportError
from elasticsearch import VERSION, ApiError, Elasticsearch

from libs.errors import ConfigurationError, InvalidMessage, Unavailable
from libs.stores.elastic_options import CREDENTIALS, ElasticOptions

CLIENT_MAJOR: Final = VERSION[0]
SERVER_MAJORS: Final = (CLIENT_MAJOR, CLIENT_MAJOR + 1)
_REQUEST_S: Final = 10.0
_OVERLOADED: Final = frozenset({429, 500, 502, 503, 504})
_REJECTED_CREDENTIALS: Final = frozenset({401, 403})
# 0.1 + 0.2 + 0.4 s rides out a full queue; whoever waits for longer is the service that holds its input.
_ATTEMPTS: Final = 4
_BACKOFF_FIRST_S: Final = 0.1
_JSON: Final = {"accept": "application/json", "content-type": "application/json"}
_LINES: Final = {"accept": "application/json", "content-type": "application/x-ndjson"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """What the cluster is.

    Attributes:
        version: The oldest node's version.
        modules: Modules that every node has.
    """

    version: str
    modules: frozenset[str]

    @property
    def has_ilm(self) -> bool:
        """Whether index lifecycle management is there; the vendor's stripped test distribution has none."""
        return "x-pack-ilm" in self.modules


class GuardFailed(Exception):
    """A create-only or sequence-number guard did not hold.

    Attributes:
        ambiguous: An earlier attempt broke off: the writer that got in between may have been this one.
    """

    def __init__(self, *, ambiguous: bool) -> None:
        super().__init__("guard failed")
        self.ambiguous = ambiguous


class ElasticConnection:
    """Requests to one cluster; safe for threads.

    No request is sent before `prepare` has succeeded once, so a store opened during an outage is usable after it.

    Args:
        options: How to reach it.
        prepare: Puts templates and indices in place.
    Raises:
        ConfigurationError: an address, a file or the credentials are wrong, or the server's version is not supported.
            A cluster that cannot be reached is no error here: requests raise `Unavailable` until it can.
    """

    def __init__(self, options: ElasticOptions, prepare: Callable[["ElasticConnection", Server], None]) -> None:
        self.options = options
        self._prepare = prepare
        self._lock = threading.Lock()
        self._ready = False
        self._closed = False
        self._client = _client(options)
        try:
            self._ensure_ready()
        except Unavailable:
            pass
        except InvalidMessage as error:
            self._client.close()
            raise ConfigurationError(f"{error}; names with this prefix may be taken by something else") from error
        except BaseException:
            self._client.close()
            raise

    def request(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        missing_ok: bool = False,
        params: Mapping[str, Any] | None = None,
    ) -> Any:
        """Send a request and return the decoded answer; None for a 404 where `missing_ok`.

        Args:
            path: Already quoted (`segment`).
            body: Anything msgspec encodes, JSON bytes, or None.
            params: Query parameters.
        Raises:
            GuardFailed: 409.
            InvalidMessage: any other refusal of the request itself.
            Unavailable: the cluster cannot be reached, is overloaded, or the store is closed.
        """
        self._require_ready()
        return self._send(method, path, body, missing_ok=missing_ok, headers=_JSON, params=params or {})

    def lines(self, path: str, body: bytes, *, request_s: float, filter_path: str) -> Any:
        """Send newline-delimited JSON; as `request`."""
        self._require_ready()
        return self._send("POST", path, body, headers=_LINES, params={"filter_path": filter_path}, request_s=request_s)

    def raw(self, method: str, path: str, body: Any = None, *, missing_ok: bool = False) -> Any:
        """As `request`, without waiting for `prepare`; for `prepare` itself."""
        return self._send(method, path, body, missing_ok=missing_ok, headers=_JSON, params={})

    def server(self) -> Server:
        """What the cluster is, from the nodes API: GET / is absent on some builds."""
        answer = self.raw("GET", "/_nodes?filter_path=nodes.*.version,nodes.*.modules.name")
        nodes = list((answer or {}).get("nodes", {}).values())
        if not nodes:
            raise Unavailable(f"{self.where}: no node answers yet")
        versions = sorted((_numbers(node["version"]), node["version"]) for node in nodes)
        modules = [frozenset(module["name"] for module in node.get("modules", ())) for node in nodes]
        return Server(version=versions[0][1], modules=frozenset.intersection(*modules))

    @property
    def where(self) -> str:
        """The addresses, for error texts."""
        return ", ".join(self.options.addresses)

    def close(self) -> None:
        """Close the connections; later requests raise `Unavailable`."""
        with self._lock:
            if not self._closed:
                self._closed = True
                self._client.close()

    def _require_ready(self) -> None:
        """As `_ensure_ready`; what is wrong with the cluster now holds the input, it is no fault of a message."""
        try:
            self._ensure_ready()
        except (ConfigurationError, InvalidMessage) as error:
            raise Unavailable(str(error)) from error

    def _ensure_ready(self) -> None:
        if self._ready and not self._closed:
            return
        with self._lock:
            if self._closed:
                raise Unavailable(f"{self.where}: closed")
            if self._ready:
                return
            server = self.server()
            _require_supported(server, self.where)
            self._prepare(self, server)
            self._ready = True

    def _send(
        self,
        method: str,
        path: str,
        body: Any,
        *,
        headers: Mapping[str, str],
        params: Mapping[str, Any],
        missing_ok: bool = False,
        request_s: float = _REQUEST_S,
    ) -> Any:
        client = self._client.options(request_timeout=request_s)
        ambiguous, delay_s = False, _BACKOFF_FIRST_S
        for attempt in range(1, _ATTEMPTS + 1):
            try:
                return client.perform_request(method, path, params=params, headers=headers, body=body).body
            except ApiError as error:
                if error.status_code == 404 and missing_ok:
                    return None
                if error.status_code == 409:
                    raise GuardFailed(ambiguous=ambiguous) from error
                if error.status_code not in _OVERLOADED:
                    raise self._refusal(method, path, error) from error
                failure: Exception = error
            except (TransportError, SerializationError) as error:
                failure = error
                if isinstance(error, TlsError):
                    raise self._tls_failure(error) from error
            # The answer is lost, the effect may not be.
            ambiguous = True
            if attempt == _ATTEMPTS or (isinstance(failure, TimedOut) and attempt > 1):
                break
            self.options.sleep(delay_s * random.uniform(0.5, 1.5))
            delay_s *= 2
        raise Unavailable(f"{self.where}: {method} {path}: {told(failure)}") from failure

    def _refusal(self, method: str, path: str, error: ApiError) -> Exception:
        text = f"{self.where}: {method} {path}: {told(error)}"
        if error.status_code in _REJECTED_CREDENTIALS:
            advice = f"{text}; check {CREDENTIALS} and what it may do (docs/stores.md)"
            return Unavailable(advice) if self._ready else ConfigurationError(advice)
        if error.status_code == 404:
            self._ready = False  # an index or a point in time is gone: what should be there is put in place again
            return Unavailable(text)
        return InvalidMessage(text)

    def _tls_failure(self, error: TlsError) -> Exception:
        text = f"{self.where}: TLS: {told(error)}; set PARAMEDIC_ELASTICSEARCH_CA_FILE to the cluster's CA certificate"
        return Unavailable(text) if self._ready else ConfigurationError(text)


def segment(text: str) -> str:
    """Text as one segment of a path; half of a surrogate pair, which no stored text has, becomes a question mark."""
    quoted = quote(encodable(text), safe="")
    return quoted.replace(".", "%2E") if quoted in (".", "..") else quoted  # else a step up in the path


def encodable(text: str) -> str:
    """Text that UTF-8 can hold."""
    return text.encode("utf-8", "replace").decode("utf-8")


def told(error: Exception) -> str:
    """What the server or the network said, in one line."""
    if isinstance(error, ApiError):
        body = error.body if isinstance(error.body, Mapping) else {}
        cause = body.get("error", {})
        root: Mapping[str, Any] = {}
        if isinstance(cause, Mapping):
            root = next(iter(cause.get("root_cause") or [cause]), {})
        reason = root.get("reason") or str(cause)[:300]
        return f"{error.status_code} {root.get('type', '')} {reason}".strip()
    return f"{type(error).__name__}: {getattr(error, 'message', error)}"


class _Json(JsonSerializer):
    """JSON by msgspec: a page of 50 incidents decodes in a third of the time of the standard library."""

    def json_dumps(self, data: Any) -> bytes:
        return msgspec.json.encode(data)

    def json_loads(self, data: bytes) -> Any:
        return msgspec.json.decode(data)


class _CompatibleJson(_Json):
    mimetype = "application/vnd.elasticsearch+json"


def _client(options: ElasticOptions) -> Elasticsearch:
    if options.api_key and options.user:
        raise ConfigurationError(f"set {CREDENTIALS}, not both")
    more: dict[str, Any] = {}
    if options.api_key:
        more["api_key"] = options.api_key
    if options.user:
        more["basic_auth"] = (options.user, options.password)
    if any(address.startswith("https:") for address in options.addresses):
        more.update(verify_certs=options.verify, ssl_show_warn=False)
        if options.ca_file and not Path(options.ca_file).is_file():
            raise ConfigurationError(f"PARAMEDIC_ELASTICSEARCH_CA_FILE={options.ca_file}: there is no such file")
        if options.ca_file:
            more["ca_certs"] = options.ca_file
    if options.node_class is not None:
        more["node_class"] = options.node_class
    # Failures are raised and logged by whoever holds; the client's own lines would land on stderr beside the log.
    logging.getLogger("elastic_transport").addHandler(logging.NullHandler())
    try:
        return Elasticsearch(
            list(options.addresses),
            request_timeout=_REQUEST_S,
            max_retries=0,  # retried here, with a pause between the attempts
            retry_on_timeout=False,
            serializers={"application/json": _Json(), "application/vnd.elasticsearch+json": _CompatibleJson()},
            **more,
        )
    except (OSError, ValueError) as error:
        raise ConfigurationError(f"PARAMEDIC_ELASTICSEARCH_*: {error}") from error


def _require_supported(server: Server, where: str) -> None:
    if _numbers(server.version)[0] not in SERVER_MAJORS:
        majors = " or ".join(f"{major}.x" for major in SERVER_MAJORS)
        raise ConfigurationError(
            f"{where}: Elasticsearch {server.version} is not supported: the installed client elasticsearch "
            f"{'.'.join(map(str, VERSION))} talks to {majors}; upgrade the cluster, or install the extra `elastic` "
            "of the release of Paramedic that names its major"
        )


def _numbers(version: str) -> Sequence[int]:
    return tuple(int(part) if part.isdigit() else 0 for part in version.split("-")[0].split("."))
