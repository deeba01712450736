"""What a rule is, and where rules are found: one file each in services/recommender/rules/.

A rule is a pure function of a scene: it sees telemetry only, never the clock, the network or the code. What the code
says about its findings is a patcher's work (patch.py).
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, ClassVar, Final, Protocol, TypeVar

from pydantic import BaseModel, ConfigDict, Field

from libs.contracts.investigation import Evidence
from libs.contracts.recommendation import CodeLocation
from libs.registry import Registry
from services.recommender.scene import CodePlace, Scene


class Thresholds(BaseModel):
    """Thresholds that every rule has."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    enabled: Annotated[bool, Field(description="Whether the rule runs.")] = True
    least_saved_ms: Annotated[
        float, Field(ge=0, description="Least mean saving per request that is worth a change, milliseconds.")
    ] = 1.0
    least_saved_share: Annotated[
        float, Field(ge=0, le=1, description="Least share of the operation's mean duration that is saved.")
    ] = 0.05


@dataclass(frozen=True, slots=True, kw_only=True)
class Benefit:
    """What a change is worth.

    Attributes:
        words: With the arithmetic.
        value: The figure that ranks recommendations of one unit.
        unit: Unit of `value`.
        before_s: Mean duration of the operation as measured; 0 when the benefit is not time.
        after_s: Estimated mean duration with the change.
        at_most: What it is worth at most, for when the code shows that the assumed change does not help.
    """

    words: str
    value: float
    unit: str
    before_s: float = 0.0
    after_s: float = 0.0
    at_most: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One weakness that telemetry shows.

    Attributes:
        rule: Name of the rule.
        service: service.name.
        version: Deployed service.version that showed it, "" when unknown.
        operation: Server span that the change makes better, "" for none.
        subject: What it is about, for the id: stable over runs and versions, without figures.
        place: Where in the code, as telemetry says.
        title: One line for people, without figures that change from run to run.
        evidence: Figures and exemplar traces.
        benefit: What the change is worth.
        confidence: In [0, 1], from telemetry alone.
        advice: What to do, for a reader who gets no patch.
        patcher: Kind of patch that would do it, "" for none.
        hints: What the patcher needs to know.
        acute: Whether failures or slowness of the moment show it, so that an incident may have led to it.
        code_decides: Whether telemetry only names the place, and the code must confirm the weakness.
    """

    rule: str
    service: str
    version: str
    operation: str
    subject: str
    place: CodePlace
    title: str
    evidence: tuple[Evidence, ...]
    benefit: Benefit
    confidence: float
    advice: str
    patcher: str = ""
    hints: dict[str, str] = field(default_factory=dict)
    acute: bool = False
    code_decides: bool = False

    def location(self, repository: str = "") -> CodeLocation:
        """The place as the contract writes it."""
        place = self.place
        return CodeLocation(
            repository=repository, path=place.path, line=place.line, function=place.function, version=self.version
        )


T_contra = TypeVar("T_contra", bound=Thresholds, contravariant=True)


class Rule(Protocol[T_contra]):
    """One weakness that telemetry can show.

    Attributes:
        name: Name in recommendations, configuration, docs and the registry; also the file's name.
        thresholds: Its thresholds with their defaults.
    """

    name: ClassVar[str]
    thresholds: ClassVar[type[Thresholds]]

    def find(self, scene: Scene, thresholds: T_contra) -> Sequence[Finding]:
        """What the scene shows, in a stable order."""
        ...


RULES: Final[Registry[type[Rule[Any]]]] = Registry("rule")


def load_rules() -> Registry[type[Rule[Any]]]:
    """Every rule."""
    from services.recommender import rules

    RULES.load(rules)
    return RULES


def saves_enough(thresholds: Thresholds, saved_s: float, mean_s: float) -> bool:
    """Whether a saving is worth a change at all."""
    return saved_s * 1e3 >= thresholds.least_saved_ms and saved_s >= thresholds.least_saved_share * mean_s


def milliseconds(seconds: float) -> str:
    """`12.3 ms`, `0.41 ms`, `1,230 ms`."""
    value = seconds * 1e3
    if value >= 10_000:
        return f"{seconds:,.0f} s"
    return f"{value:,.0f} ms" if value >= 100 else f"{value:.1f} ms" if value >= 1 else f"{value:.2f} ms"


def per_day(count: float) -> str:
    """A rate for people: two significant digits are all that minutes of telemetry can carry."""
    if count < 10:
        return f"{count:.1f}"
    magnitude = 10 ** (len(str(int(count))) - 2)
    return f"{round(count / magnitude) * magnitude:,.0f}"


def waiting_saved(saved_s: float, requests_per_day: float, how: str, before_s: float, after_s: float) -> Benefit:
    """A benefit in hours of waiting a day: time saved per request x requests per day."""
    hours = saved_s * requests_per_day / 3600
    return Benefit(
        words=(
            f"{how}; {milliseconds(saved_s)} less per request ({milliseconds(before_s)} to {milliseconds(after_s)} in "
            f"the mean) x {per_day(requests_per_day)} requests/day = {hours:.2g} h of waiting a day"
        ),
        value=round(hours, 4),
        unit="h/day",
        before_s=before_s,
        after_s=after_s,
    )
