"""The executor for an HTTP control API such as the demo shop's: JSON over HTTP, dry runs, idempotency keys.

A rollback asks for the version by name instead of for "the one before": asked twice, that changes nothing, whatever the
server remembers of the first time.
"""

import re
from collections.abc import Mapping
from functools import cache
from ssl import SSLContext
from typing import Any, Final, TypeVar
from urllib.parse import quote

import httpx
from pydantic import BaseModel, ConfigDict, ValidationError

from libs.errors import ConfigurationError
from libs.runbooks.actions import ActionCall, TargetNow
from services.remediation.executors.port import ExecutorAway, ExecutorPlan, ExecutorRefused, Report, register

M = TypeVar("M", bound=BaseModel)
ACTOR: Final = "paramedic"
LOOK_S: Final = 5.0
# The control API answers when the change is live, at the latest after 45 s.
APPLY_S: Final = 60.0
# Busy (another change is under way), too early, too many: nothing was done, ask again.
_BUSY: Final = frozenset({409, 425, 429})
_LARGEST_BYTES: Final = 1_048_576
_TOKEN: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:@-]*[A-Za-z0-9]|[A-Za-z0-9]")
_TEXT_CHARACTERS: Final = 400
_VERSIONED: Final = frozenset({"rollback_deploy", "redeploy"})
_SCALED: Final = frozenset({"scale_out", "scale_back"})


class _Tolerant(BaseModel):
    model_config = ConfigDict(extra="ignore", strict=True)


class _Instance(_Tolerant):
    id: str


class _State(_Tolerant):
    """A service, or a flag."""

    name: str
    version: str | None = None
    previous_version: str | None = None
    versions: list[str] = []
    replicas: int = 0
    instances: list[_Instance] = []
    ready: bool = True
    service: str | None = None
    enabled: bool | None = None

    def target(self) -> TargetNow:
        return TargetNow(
            version=self.version or "", previous_version=self.previous_version or "", replicas=self.replicas
        )


class _Answer(_Tolerant):
    changed: bool
    dry_run: bool
    plan: list[str]
    state: _State


@cache
def _trust() -> SSLContext:
    """Certificate authorities, read once in a process: reading them takes 50 ms."""
    return httpx.create_ssl_context(trust_env=False)


@register("shop_control")
class ShopControl:
    """One control API.

    Args:
        address: http(s)://host:port.
        transport: Transport of the HTTP client; the network by default.
    """

    def __init__(self, address: str, transport: httpx.BaseTransport | None = None) -> None:
        if not re.fullmatch(r"https?://[^/\s]+/?", address):
            raise ConfigurationError(f"PARAMEDIC_EXECUTOR_URL={address!r} is not http(s)://host:port")
        self._client = httpx.Client(
            base_url=address,
            headers={"X-Actor": ACTOR},
            timeout=LOOK_S,
            trust_env=False,
            verify=_trust(),
            transport=transport,
        )

    @property
    def why_observe(self) -> str:
        """It can apply."""
        return ""

    def look(self, service: str) -> TargetNow:
        """The service as it is."""
        return self._state(f"/services/{quote(service, safe='')}").target()

    def plan(self, call: ActionCall) -> ExecutorPlan:
        """Dry run: what would be done; changes nothing."""
        path, body = request_of(call)
        answer = self._answer(path, body, params={"dry_run": "true"}, timeout_s=LOOK_S, key="")
        if not answer.dry_run:
            raise ExecutorRefused("it does not say that its dry run was one")
        before = self.look(call.service) if answer.state.enabled is not None else answer.state.target()
        text = "; ".join(answer.plan) if answer.changed else f"it is so already: {_said(answer.state)}"
        planned = planned_call(call, answer.plan, answer.state) if answer.changed else call
        return ExecutorPlan(call=planned, changes=answer.changed, text=text[:_TEXT_CHARACTERS], before=before)

    def apply(self, call: ActionCall, key: str) -> Report:
        """Do it; again with the same key does nothing more."""
        path, body = request_of(call)
        answer = self._answer(path, body, params={}, timeout_s=APPLY_S, key=key)
        return _report(call, answer.state)

    def check(self, call: ActionCall) -> Report:
        """Whether an applied action is live."""
        if "flag" not in call.parameters:
            return _report(call, self._state(f"/services/{quote(call.service, safe='')}"))
        flags = self._send("GET", "/flags", timeout_s=LOOK_S)
        for flag in flags.get("flags", []) if isinstance(flags.get("flags"), list) else []:
            state = _parsed(_State, flag)
            if state.name == call.parameters["flag"]:
                return _report(call, state)
        raise ExecutorRefused(f"there is no flag {call.parameters['flag']}")

    def close(self) -> None:
        """Let go of connections."""
        self._client.close()

    def _state(self, path: str) -> _State:
        return _parsed(_State, self._send("GET", path, timeout_s=LOOK_S))

    def _answer(
        self, path: str, body: Mapping[str, Any], *, params: Mapping[str, str], timeout_s: float, key: str
    ) -> _Answer:
        headers = {"Idempotency-Key": key} if key else {}
        sent = self._send("POST", path, timeout_s=timeout_s, json=dict(body), params=dict(params), headers=headers)
        return _parsed(_Answer, sent)

    def _send(self, method: str, path: str, *, timeout_s: float, **options: Any) -> dict[str, Any]:
        try:
            response = self._client.request(method, path, timeout=timeout_s, **options)
        except (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout) as error:
            raise ExecutorAway(f"{type(error).__name__}: {error}", carried_out=False) from error
        except (httpx.TransportError, httpx.DecodingError, httpx.TooManyRedirects) as error:
            raise ExecutorAway(f"{type(error).__name__}: {error}", carried_out=True) from error
        reason = f"{response.status_code} {_reason(response)}"
        if response.status_code in _BUSY:
            raise ExecutorAway(reason, carried_out=False)
        if response.is_client_error:
            raise ExecutorRefused(reason)
        if not response.is_success:
            raise ExecutorAway(reason, carried_out=True)
        fields = _json(response)
        if not isinstance(fields, dict):
            raise ExecutorAway(f"{method} {path}: the answer is no JSON object", carried_out=True)
        return fields


def request_of(call: ActionCall) -> tuple[str, dict[str, Any]]:
    """Path and body of an action."""
    service, given = quote(call.service, safe=""), call.parameters
    if call.action in _VERSIONED:
        return f"/services/{service}/deploy", {"version": given["to_version"]}
    if call.action == "restart_instance":
        return f"/services/{service}/restart", {"instance": given["instance"] or None}
    if call.action in _SCALED:
        return f"/services/{service}/scale", {"replicas": int(given["replicas"])}
    if call.action in ("disable_flag", "enable_flag"):
        return f"/flags/{quote(given['flag'], safe='')}", {"enabled": call.action == "enable_flag"}
    raise ExecutorRefused(f"this executor cannot {call.action}")


def planned_call(call: ActionCall, plan: list[str], state: _State) -> ActionCall:
    """The action that a plan describes: what its lines name, not what was asked for."""
    named = {token for line in plan for token in _TOKEN.findall(line)}
    if call.action in ("disable_flag", "enable_flag"):
        action = "disable_flag" if state.enabled else "enable_flag"
        return ActionCall(action=action, service=state.service or "", parameters={"flag": state.name})
    if call.action in _VERSIONED:
        versions = sorted(named & set(state.versions) - {state.version})
        return ActionCall(action=call.action, service=state.name, parameters={"to_version": ",".join(versions)})
    if call.action in _SCALED:
        counts = sorted({token for token in named if token.isdigit()} - {str(state.replicas)})
        return ActionCall(action=call.action, service=state.name, parameters={"replicas": ",".join(counts)})
    known = {instance.id for instance in state.instances}
    touched = named & known
    instance = "" if touched == known and not call.parameters["instance"] else ",".join(sorted(touched))
    return ActionCall(action=call.action, service=state.name, parameters={"instance": instance})


def _report(call: ActionCall, state: _State) -> Report:
    given = call.parameters
    as_asked = {
        "to_version": lambda: state.version == given["to_version"],
        "replicas": lambda: state.replicas == int(given["replicas"]),
        "flag": lambda: state.enabled is (call.action == "enable_flag"),
        "instance": lambda: given["instance"] not in {instance.id for instance in state.instances},
    }
    live = state.ready and all(as_asked[name]() for name in given)
    return Report(live=live, text=_said(state))


def _said(state: _State) -> str:
    if state.enabled is not None:
        return f"flag {state.name} is {'on' if state.enabled else 'off'}"
    instances = ", ".join(instance.id for instance in state.instances)
    ready = "ready" if state.ready else "not ready yet"
    return f"{state.name} {state.version or ''} runs {state.replicas} instance(s) ({instances}), {ready}"


def _parsed(model: type[M], fields: object) -> M:
    try:
        return model.model_validate(fields)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise ExecutorAway(f"the answer cannot be read: {where}: {first['msg']}", carried_out=True) from error


def _json(response: httpx.Response) -> object:
    if len(response.content) > _LARGEST_BYTES:
        return None
    try:
        return response.json()
    except (ValueError, RecursionError):
        return None


def _reason(response: httpx.Response) -> str:
    fields = _json(response)
    error = fields.get("error") or fields.get("detail") if isinstance(fields, dict) else None
    return str(error or response.reason_phrase)[:_TEXT_CHARACTERS]
