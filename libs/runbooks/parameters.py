"""Fill the parameters of a runbook: a closed list of named fields of what was found, never code.

`{change.previous_version}` is replaced by text; there are no expressions, no attribute access, no nesting.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from libs.contracts.incident import IncidentChanged
from libs.contracts.investigation import Hypothesis
from libs.contracts.telemetry import ChangeEvent
from libs.errors import InvalidMessage, NotFound
from libs.runbooks.actions import TargetNow

_FIELD: Final = re.compile(r"\{([^{}]*)\}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What a template may name.

    Attributes:
        hypothesis: The leading hypothesis.
        incident: The incident.
        change: The change that the hypothesis blames, when it is known.
        target: The target as the executor sees it, when it was asked.
    """

    hypothesis: Hypothesis
    incident: IncidentChanged
    change: ChangeEvent | None = None
    target: TargetNow | None = None


def _previous_version(facts: Facts) -> str | None:
    """As the change names it; else as the executor knows it, if the blamed version is the one that runs."""
    change, target = facts.change, facts.target
    if change is None or change.previous_version or target is None or target.version != change.version:
        return change.previous_version if change is not None else None
    return target.previous_version


def _replicas(facts: Facts, *, factor: int = 1, more: int = 0) -> str | None:
    if facts.target is None or facts.target.replicas < 1:
        return None
    return str(facts.target.replicas * factor + more)


FIELDS: Final[Mapping[str, Callable[[Facts], str | None]]] = MappingProxyType(
    {
        "hypothesis.service": lambda facts: facts.hypothesis.service,
        "hypothesis.instance": lambda facts: facts.hypothesis.instance or "",
        "hypothesis.kind": lambda facts: facts.hypothesis.kind.value,
        "hypothesis.change_id": lambda facts: facts.hypothesis.change_id,
        "incident.id": lambda facts: facts.incident.id,
        "incident.number": lambda facts: facts.incident.number,
        "incident.service": lambda facts: facts.incident.services[0] if facts.incident.services else None,
        "change.version": lambda facts: facts.change.version if facts.change else None,
        "change.previous_version": _previous_version,
        "change.flag": lambda facts: facts.change.attributes.get("flag") if facts.change else None,
        "target.version": lambda facts: facts.target.version if facts.target else None,
        "target.previous_version": lambda facts: facts.target.previous_version if facts.target else None,
        "target.replicas": _replicas,
        "target.replicas_plus_1": lambda facts: _replicas(facts, more=1),
        "target.replicas_plus_2": lambda facts: _replicas(facts, more=2),
        "target.replicas_doubled": lambda facts: _replicas(facts, factor=2),
    }
)
# Fields whose emptiness means something: no instance stands for every instance.
_MAY_BE_EMPTY: Final = frozenset({"hypothesis.instance"})


def check_template(template: str) -> None:
    """Refuse a template that names an unknown field or has stray braces; `InvalidMessage` says which."""
    unknown = [name for name in _FIELD.findall(template) if name not in FIELDS]
    if unknown:
        raise InvalidMessage(f"no field {{{unknown[0]}}}; there are {', '.join(FIELDS)}")
    if re.search(r"[{}]", _FIELD.sub("", template)):
        raise InvalidMessage(f"stray brace in {template!r}")


def fill(template: str, facts: Facts) -> str:
    """Replace each named field; `NotFound` when what was found does not hold one of them."""

    def value(found: re.Match[str]) -> str:
        name = found[1]
        text = FIELDS[name](facts) if name in FIELDS else None
        if text is None or (text == "" and name not in _MAY_BE_EMPTY):
            raise NotFound(f"{{{name}}} is not known for this incident")
        return text

    return _FIELD.sub(value, template)


def fill_all(templates: Mapping[str, str], facts: Facts) -> dict[str, str]:
    """Fill every template of a mapping; `NotFound` as for `fill`."""
    return {name: fill(template, facts) for name, template in templates.items()}
