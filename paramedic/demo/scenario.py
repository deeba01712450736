"""What each fault of the shop should lead to; only the judge of the demo knows this, never a service."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from libs.contracts.investigation import CauseKind


class Ending(StrEnum):
    """How an incident should end."""

    HEALED = "healed"
    APPROVED = "healed after a human approved"
    HUMAN = "a human fixes it: no known pattern"
    QUIET = "no ticket"


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """One fault and what is expected of Paramedic.

    Attributes:
        name: Name of the fault in the shop.
        title: For people.
        services: Service or dependency that the first hypothesis should name; any of these is right.
        kinds: Kind of cause that it should name; any of these is right.
        ending: How it should end.
        action: Action that should be applied, "" for none.
        outlasts_fix: Whether the fault itself goes on after the fix (a sale does) and the world ends it afterwards.
    """

    name: str
    title: str
    services: tuple[str, ...] = ()
    kinds: tuple[CauseKind, ...] = ()
    ending: Ending
    action: str = ""
    outlasts_fix: bool = False


SCENARIOS: Final = (
    Scenario(
        name="slow-query",
        title="a deploy of catalog whose query lost its index",
        services=("catalog",),
        kinds=(CauseKind.DEPLOY,),
        ending=Ending.HEALED,
        action="rollback_deploy",
    ),
    Scenario(
        name="bad-flag",
        title="a flag that breaks a path of cart",
        services=("cart",),
        kinds=(CauseKind.FLAG,),
        ending=Ending.APPROVED,
        action="disable_flag",
    ),
    Scenario(
        name="memory-leak",
        title="cart keeps every payload in memory",
        services=("cart",),
        kinds=(CauseKind.MEMORY_LEAK,),
        ending=Ending.HEALED,
        action="restart_instance",
    ),
    Scenario(
        name="hung-dependency",
        title="the external bank stops answering payments",
        services=("bank",),
        kinds=(CauseKind.DEPENDENCY,),
        ending=Ending.HUMAN,
    ),
    Scenario(
        name="throwing-deploy",
        title="a deploy of checkout that throws for some users",
        services=("checkout",),
        kinds=(CauseKind.DEPLOY,),
        ending=Ending.HEALED,
        action="rollback_deploy",
    ),
    Scenario(
        name="traffic-surge",
        title="a sale brings four times the orders, more than one checkout can take",
        services=("checkout", "catalog"),
        kinds=(CauseKind.TRAFFIC_SURGE, CauseKind.SATURATION),
        ending=Ending.HEALED,
        action="scale_out",
        outlasts_fix=True,
    ),
)
REPEATED: Final = "slow-query"  # once more at the end: the second ticket knows what the first one taught
DEFAULT: Final = ("slow-query", "bad-flag", "memory-leak", "hung-dependency", REPEATED)
QUIET: Final = Scenario(name="quiet", title="five minutes under load, nothing broken", ending=Ending.QUIET)
QUIET_S: Final = 300.0
WEAK: Final = frozenset(
    {"cart", "checkout"}
)  # the others have no known weakness in their healthy version (docs/shop.md)
