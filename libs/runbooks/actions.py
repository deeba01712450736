"""The registry of actions: what Paramedic may do to production, with typed parameters, and nothing else."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final

from libs.errors import InvalidMessage

# What names of services, versions, instances and flags are made of everywhere; it keeps them harmless in a URL path.
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:+@-]{0,127}")
_MOST_REPLICAS: Final = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class ParameterSpec:
    """One parameter of an action.

    Attributes:
        name: Its name.
        kind: "name" (letters, digits and ._:+@-) or "count" (whole number, 1 to 1000).
        meaning: For people.
        required: Whether "" is refused.
    """

    name: str
    kind: str
    meaning: str
    required: bool = True

    def check(self, value: str) -> str:
        """The value in its canonical form; `InvalidMessage` says what is wrong with it."""
        if not value and not self.required:
            return ""
        if self.kind == "count":
            if not re.fullmatch(r"[0-9]{1,4}", value) or not 1 <= int(value) <= _MOST_REPLICAS:
                raise InvalidMessage(f"{self.name}: {value!r} is not a whole number from 1 to {_MOST_REPLICAS}")
            return str(int(value))
        if not _NAME.fullmatch(value):
            raise InvalidMessage(f"{self.name}: {value[:80]!r} is not a name")
        return value


@dataclass(frozen=True, slots=True, kw_only=True)
class ActionSpec:
    """One declared action on a service.

    Attributes:
        name: Registered name.
        title: For people.
        parameters: Its parameters besides the service it acts on.
        risk: low, medium or high.
        inverse: Name of the action that undoes it; "" when nothing does.
    """

    name: str
    title: str
    parameters: tuple[ParameterSpec, ...]
    risk: str
    inverse: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ActionCall:
    """An action with its parameters: what policy allows, what a plan must equal and what is applied.

    Attributes:
        action: Registered name.
        service: service.name it acts on.
        parameters: Parameters as text, complete, by name.
    """

    action: str
    service: str
    parameters: Mapping[str, str] = field(default_factory=dict)

    def text(self) -> str:
        """For people: rollback_deploy(catalog, to_version=2.3.0)."""
        named = (f"{name}={value or 'all'}" for name, value in sorted(self.parameters.items()))
        return f"{self.action}({', '.join((self.service, *named))})"


_VERSION: Final = ParameterSpec(name="to_version", kind="name", meaning="version that runs afterwards")
_FLAG: Final = ParameterSpec(name="flag", kind="name", meaning="name of the feature flag")
_REPLICAS: Final = ParameterSpec(name="replicas", kind="count", meaning="instances that run afterwards")
_INSTANCE: Final = ParameterSpec(
    name="instance",
    kind="name",
    meaning="service.instance.id; empty restarts every instance in turn",
    required=False,
)


def _by_name(*specs: ActionSpec) -> Mapping[str, ActionSpec]:
    return MappingProxyType({spec.name: spec for spec in specs})


# What a runbook, a person or a model may propose.
ACTIONS: Final[Mapping[str, ActionSpec]] = _by_name(
    ActionSpec(
        name="rollback_deploy",
        title="roll the service back to an earlier version",
        parameters=(_VERSION,),
        risk="medium",
        inverse="redeploy",
    ),
    ActionSpec(
        name="restart_instance",
        title="replace an instance by a fresh one",
        parameters=(_INSTANCE,),
        risk="low",
    ),
    ActionSpec(
        name="disable_flag",
        title="turn a feature flag off",
        parameters=(_FLAG,),
        risk="medium",
        inverse="enable_flag",
    ),
    ActionSpec(
        name="scale_out",
        title="run more instances",
        parameters=(_REPLICAS,),
        risk="low",
        inverse="scale_back",
    ),
)
# What only undoes one of the above; nobody can propose these.
INVERSES: Final[Mapping[str, ActionSpec]] = _by_name(
    ActionSpec(
        name="redeploy",
        title="deploy the version that was rolled back",
        parameters=(_VERSION,),
        risk="medium",
    ),
    ActionSpec(name="enable_flag", title="turn a feature flag on again", parameters=(_FLAG,), risk="medium"),
    ActionSpec(name="scale_back", title="run as many instances as before", parameters=(_REPLICAS,), risk="medium"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class TargetNow:
    """A service as the executor sees it now.

    Attributes:
        version: Version that runs, "" when unknown.
        previous_version: Version before it, "" when unknown.
        replicas: Instances that run; 0 when unknown.
    """

    version: str = ""
    previous_version: str = ""
    replicas: int = 0


def check_call(call: ActionCall) -> ActionCall:
    """The call in its canonical form; `InvalidMessage` when the action or a parameter is not declared."""
    spec = ACTIONS.get(call.action) or INVERSES.get(call.action)
    if spec is None:
        raise InvalidMessage(f"no action {call.action!r}; there are {', '.join((*ACTIONS, *INVERSES))}")
    if not _NAME.fullmatch(call.service):
        raise InvalidMessage(f"service: {call.service[:80]!r} is not a name")
    unknown = sorted(set(call.parameters) - {parameter.name for parameter in spec.parameters})
    if unknown:
        raise InvalidMessage(f"{call.action} has no parameter {', '.join(unknown)}")
    checked = {
        parameter.name: parameter.check(call.parameters.get(parameter.name, "")) for parameter in spec.parameters
    }
    return ActionCall(action=call.action, service=call.service, parameters=checked)


def inverse_call(call: ActionCall, inverse: str, before: TargetNow) -> ActionCall | None:
    """What undoes a call, given the target before it; None when nothing does or the state before is not known."""
    parameters: Mapping[str, str]
    match inverse:
        case "redeploy":
            parameters = {"to_version": before.version}
        case "enable_flag":
            parameters = {"flag": call.parameters.get("flag", "")}
        case "scale_back":
            parameters = {"replicas": str(before.replicas)}
        case _:
            return None
    try:
        return check_call(ActionCall(action=inverse, service=call.service, parameters=parameters))
    except InvalidMessage:
        return None
