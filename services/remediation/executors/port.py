"""The executor port: look, plan, apply. Never a shell: an executor speaks a typed API of a deployment system."""

import importlib
import pkgutil
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Protocol

from libs.errors import ConfigurationError, ParamedicError, Unavailable
from libs.runbooks.actions import ActionCall, TargetNow

DEFAULT: Final = "shop_control"


class ExecutorRefused(ParamedicError):
    """The executor says no, and will say no again; the text is its reason."""


class ExecutorAway(Unavailable):
    """The executor did not answer, is busy or failed.

    Attributes:
        carried_out: Whether it may have done what it was asked.
    """

    def __init__(self, reason: str, *, carried_out: bool) -> None:
        super().__init__(reason)
        self.carried_out = carried_out


@dataclass(frozen=True, slots=True, kw_only=True)
class ExecutorPlan:
    """What an executor would do.

    Attributes:
        call: The action as its plan shows it, to be compared with the one that was allowed.
        changes: Whether anything would be different.
        text: The plan for people.
        before: The target as it is.
    """

    call: ActionCall
    changes: bool
    text: str
    before: TargetNow


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What an executor says after an action.

    Attributes:
        live: Whether the change is live.
        text: For people.
    """

    live: bool
    text: str


class Executor(Protocol):
    """Carries actions out. Every method raises `ExecutorRefused` or `ExecutorAway`."""

    @property
    def why_observe(self) -> str:
        """Why it can apply nothing; "" when it can."""
        ...

    def look(self, service: str) -> TargetNow:
        """The service as it is."""
        ...

    def plan(self, call: ActionCall) -> ExecutorPlan:
        """Dry run: what would be done; changes nothing."""
        ...

    def apply(self, call: ActionCall, key: str) -> Report:
        """Do it; again with the same key does nothing more."""
        ...

    def check(self, call: ActionCall) -> Report:
        """Whether an applied action is live."""
        ...

    def close(self) -> None:
        """Let go of connections."""
        ...


Opener = Callable[[str], Executor]
_OPENERS: Final[dict[str, Opener]] = {}


def register(name: str) -> Callable[[Opener], Opener]:
    """Register what opens an executor on an address."""

    def add(opener: Opener) -> Opener:
        if name in _OPENERS:
            raise ConfigurationError(f"two executors are called {name}")
        _OPENERS[name] = opener
        return opener

    return add


def openers() -> dict[str, Opener]:
    """Every executor of this package by name."""
    package = importlib.import_module("services.remediation.executors")
    for module in pkgutil.iter_modules(package.__path__):
        importlib.import_module(f"{package.__name__}.{module.name}")
    return dict(sorted(_OPENERS.items()))


def open_executor(address: str) -> Executor:
    """Open the executor of an address: "" for none, `http://...` for the default one, `name+http://...` for another."""
    known = openers()
    if not address:
        return known["none"]("")
    scheme, plus, rest = address.partition("+")
    if plus and "/" not in scheme:
        if scheme not in known:
            raise ConfigurationError(f"PARAMEDIC_EXECUTOR_URL: no executor {scheme!r}; there are {', '.join(known)}")
        return known[scheme](rest)
    return known[DEFAULT](address)
