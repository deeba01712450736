"""Bodies and answers of the incident API; everything that comes from outside is checked here."""

import unicodedata
from dataclasses import dataclass
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from libs.contracts.incident import IncidentChanged
from libs.contracts.investigation import CauseKind
from libs.contracts.recommendation import CodeChangeRecommended
from libs.contracts.remediation import RemediationChanged
from services.ticketing.decide_command import COMMENT_CHARACTERS


def printable(text: str) -> str:
    """Text without control characters other than line breaks and tabs, and without half surrogate pairs."""
    for character in text:
        if unicodedata.category(character) in ("Cc", "Cs") and character not in "\n\r\t":
            raise ValueError(f"must not contain the control character U+{ord(character):04X}")
    return text.strip()


def one_line(text: str) -> str:
    """A single printable line."""
    if "\n" in text or "\r" in text:
        raise ValueError("must be one line")
    return printable(text)


Name = Annotated[str, Field(min_length=1, max_length=200, pattern=r"\S"), AfterValidator(one_line)]
Reason = Annotated[str, Field(max_length=2_000), AfterValidator(printable)]
Sentence = Annotated[str, Field(min_length=1, max_length=1_000, pattern=r"\S"), AfterValidator(printable)]


class Decision(BaseModel):
    """Who decided and why; both are kept in the ticket and in the audit trail."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    actor: Annotated[Name, Field(description="Who decides: a name or an address.", examples=["ada@example.com"])]
    reason: Annotated[Reason, Field(description="Why, in their words.")] = ""

    def arguments(self) -> dict[str, str]:
        """What the command carries besides actor and reason."""
        return {}


class Comment(Decision):
    """A comment on an incident."""

    text: Annotated[str, Field(min_length=1, max_length=COMMENT_CHARACTERS, pattern=r"\S"), AfterValidator(printable)]

    def arguments(self) -> dict[str, str]:
        """The text."""
        return {"text": self.text}


class RootCauseConfirmation(Decision):
    """The root cause as a person confirms it; similar incidents will quote it."""

    service: Annotated[Name, Field(description="Service in which the cause sits.")]
    kind: CauseKind
    text: Annotated[Sentence, Field(description="One line for people.")]
    fixed_by: Annotated[str, Field(max_length=1_000, description="What fixed it."), AfterValidator(printable)] = ""

    def arguments(self) -> dict[str, str]:
        """Service, kind, text and fix."""
        return {
            "service": self.service,
            "kind": self.kind.value,
            "text": self.text,
            "fixed_by": self.fixed_by,
        }


class Accepted(BaseModel):
    """The decision is written; its effect is not visible yet."""

    command_id: str
    detail: str


class Problem(BaseModel):
    """An error, RFC 9457."""

    type: str = "about:blank"
    title: str
    status: int
    detail: str
    errors: list[dict[str, str]] = []


@dataclass(frozen=True, slots=True, kw_only=True)
class IncidentList:
    """One page of incidents, newest first (best match first when there is a text).

    Attributes:
        incidents: The page.
        total: How many match in all.
        limit: Most incidents in this page.
        offset: How many were skipped.
    """

    incidents: tuple[IncidentChanged, ...]
    total: int
    limit: int
    offset: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RunList:
    """Remediation runs, newest first.

    Attributes:
        runs: The runs.
        total: How many match in all.
    """

    runs: tuple[RemediationChanged, ...]
    total: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RecommendationList:
    """Recommended code changes, newest first.

    Attributes:
        recommendations: The recommendations.
        total: How many match in all.
    """

    recommendations: tuple[CodeChangeRecommended, ...]
    total: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceView:
    """A service as the call graph and the tickets show it.

    Attributes:
        service: service.name, or an external callee.
        reports: Whether it sends telemetry itself.
        first_seen: Its first telemetry, RFC 3339; "" for an external callee.
        last_seen: Its newest telemetry.
        callers: Who calls it.
        callees: Whom it calls.
        open_incidents: Numbers of open incidents that touch it.
    """

    service: str
    reports: bool
    first_seen: str
    last_seen: str
    callers: tuple[str, ...]
    callees: tuple[str, ...]
    open_incidents: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceList:
    """Every known service.

    Attributes:
        services: By name.
    """

    services: tuple[ServiceView, ...]
