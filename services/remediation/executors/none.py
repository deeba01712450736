"""The executor of a platform that must not touch production: every run stays a proposal."""

from libs.runbooks.actions import ActionCall, TargetNow
from services.remediation.executors.port import ExecutorPlan, ExecutorRefused, Report, register

_WHY = "no executor is configured (PARAMEDIC_EXECUTOR_URL is empty)"


@register("none")
class NoExecutor:
    """Knows nothing and does nothing."""

    def __init__(self, address: str = "") -> None:
        self._address = address

    @property
    def why_observe(self) -> str:
        """Why it can apply nothing."""
        return _WHY

    def look(self, service: str) -> TargetNow:
        """Nothing is known."""
        return TargetNow()

    def plan(self, call: ActionCall) -> ExecutorPlan:
        """Always refused."""
        raise ExecutorRefused(_WHY)

    def apply(self, call: ActionCall, key: str) -> Report:
        """Always refused."""
        raise ExecutorRefused(_WHY)

    def check(self, call: ActionCall) -> Report:
        """Always refused."""
        raise ExecutorRefused(_WHY)

    def close(self) -> None:
        """Nothing to let go of."""
