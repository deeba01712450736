"""A code or configuration change that production data suggests; people review it, nothing merges it by itself."""

from dataclasses import dataclass
from datetime import datetime
from typing import Final

from libs.contracts.investigation import Evidence

STATE_PREFIX: Final = "recommendation/"  # key of its newest state in the incident store, before its id


@dataclass(frozen=True, slots=True, kw_only=True)
class CodeLocation:
    """Where in the code.

    Attributes:
        repository: Repository name, "" when unknown.
        path: File path inside the repository.
        line: Line number, 0 when unknown.
        function: Function name, "" when unknown.
        version: Deployed version that the location refers to.
    """

    repository: str = ""
    path: str = ""
    line: int = 0
    function: str = ""
    version: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class CodeChangeRecommended:
    """One recommended change.

    Attributes:
        id: Derived from rule, service and location.
        rule: Name of the rule that found it.
        service: service.name.
        title: One line for people.
        location: Where in the code.
        evidence: Queries, figures, exemplar traces.
        benefit: Estimated benefit in words, with its arithmetic.
        benefit_value: Estimated benefit as a number.
        benefit_unit: Unit of `benefit_value`.
        confidence: In [0, 1].
        diff: Unified diff, "" when no patch could be made.
        validation: What was checked on the patch, in words.
        state: open, accepted, dismissed or superseded.
        incident_id: Incident that led to it, if any.
        recommended_at: When.
        operation: Server span of the service that the change makes better, "" when it is none.
        before_s: Mean duration of `operation` in the evidence, seconds; 0 when the benefit is not time.
        after_s: Estimated mean duration of `operation` with the change, seconds.
        decided_by: Who accepted or dismissed it.
        reason: Why, in their words.
        branch: Branch of the local repository that holds the patch, "" for none.
    """

    id: str
    rule: str
    service: str
    title: str
    location: CodeLocation
    evidence: tuple[Evidence, ...] = ()
    benefit: str = ""
    benefit_value: float = 0.0
    benefit_unit: str = ""
    confidence: float = 0.0
    diff: str = ""
    validation: str = ""
    state: str = "open"
    incident_id: str | None = None
    recommended_at: datetime
    operation: str = ""
    before_s: float = 0.0
    after_s: float = 0.0
    decided_by: str = ""
    reason: str = ""
    branch: str = ""
