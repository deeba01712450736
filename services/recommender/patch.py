"""What a patcher is: it looks at the code of a finding and makes one kind of change, or says why it does not."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Protocol

from libs.registry import Registry
from services.recommender.rule import Finding
from services.recommender.scene import CodePlace
from services.recommender.source import Source


@dataclass(frozen=True, slots=True, kw_only=True)
class Patch:
    """A change of source text that the code allows.

    Attributes:
        files: New text by path from the repository root.
        says: What it does and what a reviewer should look at.
        confidence: That the finding is true, now that the code was read.
        place: Where the weakness is, when the code shows it better than telemetry.
    """

    files: Mapping[str, str]
    says: str
    confidence: float
    place: CodePlace | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Declined:
    """No patch.

    Attributes:
        why: In words.
        refuted: Whether the code shows that the finding is wrong or cannot be helped.
        place: Where it is nevertheless, when the code shows it better than telemetry.
        advice: Replaces the rule's advice, "" keeps it.
        confidence: That the finding is true, None when reading the code has not changed it.
        helps_less: Whether the benefit that the rule estimated needs a patch that the code rules out.
    """

    why: str
    refuted: bool = False
    place: CodePlace | None = None
    advice: str = ""
    confidence: float | None = None
    helps_less: bool = False


class Patcher(Protocol):
    """Makes one kind of change; a pure function of the finding and the files."""

    def __call__(self, finding: Finding, source: Source) -> Patch | Declined:
        """Change the code of a finding."""
        ...


PATCHERS: Final[Registry[Patcher]] = Registry("patcher")


def load_patchers() -> Registry[Patcher]:
    """Every patcher."""
    from services.recommender import patches

    PATCHERS.load(patches)
    return PATCHERS
