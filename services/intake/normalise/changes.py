"""Change events: what a deployment system posts, validated, with an id derived from what defines the change."""

import uuid
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Annotated, Any, Final

from pydantic import AwareDatetime, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from libs.contracts.codec import ns_from_utc, utc_from_ns
from libs.contracts.telemetry import ChangeEvent, ChangeKind
from libs.errors import InvalidMessage
from services.intake.normalise.attributes import ATTRIBUTES_MAX, VALUE_MAX_BYTES, cut

CHANGE_EVENT: Final = "paramedic.change"  # event name of a change inside OTLP logs
CHANGES_MAX: Final = 1_000  # per request: one change is one message
_NAMESPACE: Final = uuid.UUID("5f0e5b7c-6f0b-5d7e-9c51-3c1f7c0c7a11")


def _as_text(value: object) -> object:
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value) if isinstance(value, int | float) else value


_Value = Annotated[str, BeforeValidator(_as_text)]
_Name = Annotated[str, Field(min_length=1, max_length=512)]


class PostedChange(BaseModel):
    """A change as its sender posts it; unknown fields are refused so that a misspelt one is noticed."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    id: Annotated[str, Field(min_length=1, max_length=200)] | None = None
    kind: ChangeKind
    service: _Name
    timestamp: AwareDatetime | None = None
    version: Annotated[_Value, Field(max_length=1_024)] | None = None
    previous_version: Annotated[_Value, Field(max_length=1_024)] | None = None
    summary: Annotated[str, Field(max_length=16_384)] = ""
    actor: Annotated[str, Field(max_length=1_024)] = ""
    attributes: Annotated[dict[_Name, _Value], Field(max_length=ATTRIBUTES_MAX)] = {}


def posted_changes(body: Any) -> list[PostedChange]:
    """The changes of a request body: one object, or a list of them; `InvalidMessage` names what is wrong."""
    entries: Sequence[Any] = body if isinstance(body, list) else [body]
    if not entries:
        raise InvalidMessage("the list of changes is empty")
    if len(entries) > CHANGES_MAX:
        raise InvalidMessage(f"{len(entries)} changes; at most {CHANGES_MAX} fit into a request")
    return [_posted(entry) for entry in entries]


def posted_change(body: Any, service: str, time_ns: int) -> PostedChange:
    """A change inside OTLP logs: the body holds its fields, the record its service and time."""
    if not isinstance(body, dict):
        raise InvalidMessage("the body of a change is not a map of its fields")
    return _posted({**body, "service": service, "timestamp": utc_from_ns(time_ns)})


def _posted(entry: Any) -> PostedChange:
    try:
        return PostedChange.model_validate(entry)
    except ValidationError as error:
        problems = (f"{'.'.join(map(str, p['loc'])) or 'change'}: {p['msg']}" for p in error.errors()[:5])
        raise InvalidMessage(f"change: {'; '.join(problems)}"[:1_000]) from error


def change_of(posted: PostedChange, observed_at: datetime) -> ChangeEvent:
    """The change event; without a timestamp it happened when it was received."""
    try:
        timestamp = (posted.timestamp or observed_at).astimezone(UTC)
    except OverflowError as error:
        raise InvalidMessage(f"change: timestamp: {error}") from error
    attributes = {key: cut(value, VALUE_MAX_BYTES) for key, value in posted.attributes.items()}
    return ChangeEvent(
        id=posted.id or _derived_id(posted, timestamp),
        kind=posted.kind,
        service=posted.service,
        timestamp=timestamp,
        version=posted.version,
        previous_version=posted.previous_version,
        summary=posted.summary,
        actor=posted.actor,
        attributes=attributes,
    )


def _derived_id(posted: PostedChange, timestamp: datetime) -> str:
    parts = [posted.kind.value, posted.service, str(ns_from_utc(timestamp))]
    parts += [posted.version or "", posted.previous_version or "", posted.summary]
    parts += [f"{key}={value}" for key, value in sorted(posted.attributes.items())]
    return str(uuid.uuid5(_NAMESPACE, "\x1f".join(parts)))
