"""What would address a cause: actions of the registry with checked parameters, else advice to a human."""

from typing import Final

from libs.contracts.investigation import CauseKind, RecommendedAction
from libs.contracts.telemetry import ChangeEvent
from libs.errors import InvalidMessage
from libs.runbooks.actions import ACTIONS, ActionCall, check_call
from services.investigator.evidence import Evidence

_MORE_REPLICAS: Final = 2
_ADVICE: Final = {
    CauseKind.DEPENDENCY: "Call whoever runs it; restarting ours does not help. Consider to go on without it.",
    CauseKind.NETWORK: "Look at the network and the node of this service: interface errors, limits, placement.",
    CauseKind.RESOURCE: "Look for what shares the machine, and at the limits of this service.",
    CauseKind.CODE_ERROR: "No change explains it: look at the exception, its input and the code at the named place.",
    CauseKind.CONFIG: "Undo the configuration change.",
    CauseKind.UNKNOWN: "Look at the evidence; the mechanism is not known.",
}


def actions_for(
    evidence: Evidence, service: str, kind: CauseKind, *, change: ChangeEvent | None, instance: str | None
) -> tuple[RecommendedAction, ...]:
    """One action, or advice when the registry has none or a parameter is not known."""
    call = _call(evidence, service, kind, change, instance)
    if call is not None:
        try:
            checked = check_call(call)
        except InvalidMessage as error:
            return (_advice(service, f"{call.action} fits, but {error}."),)
        spec = ACTIONS[checked.action]
        return (
            RecommendedAction(
                action=checked.action,
                target=service,
                parameters=dict(checked.parameters),
                rationale=f"{spec.title}: {checked.text()}",
                risk=spec.risk,
            ),
        )
    return (_advice(service, _ADVICE.get(kind, _ADVICE[CauseKind.UNKNOWN])),)


def _advice(service: str, text: str) -> RecommendedAction:
    return RecommendedAction(action="", target=service, rationale=text, risk="low")


def _call(
    evidence: Evidence, service: str, kind: CauseKind, change: ChangeEvent | None, instance: str | None
) -> ActionCall | None:
    match kind:
        case CauseKind.DEPLOY if change is not None:
            return ActionCall(
                action="rollback_deploy", service=service, parameters={"to_version": change.previous_version or ""}
            )
        case CauseKind.FLAG if change is not None:
            return ActionCall(
                action="disable_flag", service=service, parameters={"flag": change.attributes.get("flag", "")}
            )
        case CauseKind.MEMORY_LEAK | CauseKind.HUNG_INSTANCE:
            return ActionCall(action="restart_instance", service=service, parameters={"instance": instance or ""})
        case CauseKind.TRAFFIC_SURGE | CauseKind.SATURATION:
            running = len({e.instance for e in evidence.traces.instances if e.service == service and e.now.requests})
            return ActionCall(
                action="scale_out", service=service, parameters={"replicas": str(max(running, 1) + _MORE_REPLICAS)}
            )
        case _:
            return None
