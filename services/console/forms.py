"""Forms that people send: bounded, checked field by field, refused with words that name the field."""

import unicodedata
from typing import Annotated, Final, TypeVar
from urllib.parse import parse_qsl

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError
from starlette.requests import Request

from libs.contracts.investigation import CauseKind
from libs.contracts.remediation import Mode
from libs.errors import InvalidMessage
from services.console.csrf import FIELD, Session, Signer
from services.console.security import BODY_BYTES, Forbidden, check_origin

F = TypeVar("F", bound="Form")
_MEDIA_TYPE: Final = "application/x-www-form-urlencoded"
_MOST_FIELDS: Final = 20


class TooLarge(InvalidMessage):
    """The body is larger than any form of ours."""


class NotAForm(InvalidMessage):
    """The body is not what an HTML form sends."""


def _printable(text: str) -> str:
    text = text.replace("\r\n", "\n").strip()
    for character in text:
        if unicodedata.category(character) in ("Cc", "Cs") and character not in "\n\t":
            raise ValueError(f"must not contain the control character U+{ord(character):04X}")
    return text


def _one_line(text: str) -> str:
    text = _printable(text)
    if "\n" in text:
        raise ValueError("must be one line")
    return text


Name = Annotated[str, Field(min_length=1, max_length=200, pattern=r"\S"), AfterValidator(_one_line)]
Remark = Annotated[str, Field(max_length=1_000), AfterValidator(_printable)]
Reason = Annotated[str, Field(max_length=2_000), AfterValidator(_printable)]
Needed = Annotated[str, Field(min_length=1, max_length=2_000, pattern=r"\S"), AfterValidator(_printable)]


class Form(BaseModel):
    """What every decision carries."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    actor: Name
    reason: Reason = ""
    seen: Annotated[str, Field(max_length=100)] = ""

    def arguments(self) -> dict[str, str]:
        """What the command carries besides actor and reason."""
        return {}


class ReasonedForm(Form):
    """A decision that nobody understands later without its reason."""

    reason: Needed


class CommentForm(Form):
    """A comment."""

    text: Annotated[str, Field(min_length=1, max_length=10_000, pattern=r"\S"), AfterValidator(_printable)]

    def arguments(self) -> dict[str, str]:
        """The text."""
        return {"text": self.text}


class RootCauseForm(Form):
    """The root cause as a person confirms it."""

    service: Name
    kind: CauseKind
    text: Annotated[str, Field(min_length=1, max_length=1_000, pattern=r"\S"), AfterValidator(_printable)]
    fixed_by: Remark = ""

    def arguments(self) -> dict[str, str]:
        """Service, kind, text and fix."""
        return {"service": self.service, "kind": self.kind.value, "text": self.text, "fixed_by": self.fixed_by}


class ModeForm(Form):
    """The mode of a pattern."""

    mode: Mode

    def arguments(self) -> dict[str, str]:
        """The mode."""
        return {"mode": self.mode.value}


async def read_form(request: Request, signer: Signer) -> dict[str, str]:
    """Fields of a form that a page of this console sent.

    Raises:
        Forbidden: it was sent by another page, or by one that is too old.
        InvalidMessage: it is none, too large, or names a field twice.
    """
    check_origin(request)
    media_type = request.headers.get("content-type", "").split(";")[0].strip().lower()
    if media_type != _MEDIA_TYPE:
        raise NotAForm(f"send {_MEDIA_TYPE}")
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > BODY_BYTES:
            raise TooLarge(f"a form may have {BODY_BYTES} bytes")
    fields = parse_fields(body)
    session = request.state.session
    assert isinstance(session, Session)
    if not signer.matches(session, fields.pop(FIELD, "")):
        raise Forbidden("the page is older than its session; nothing was done. Go back, reload it and decide again")
    return fields


def parse_fields(body: bytes) -> dict[str, str]:
    """Fields of a urlencoded body; `InvalidMessage` for bytes that are none, and for a field that is there twice."""
    try:
        pairs = parse_qsl(
            body.decode("ascii"),
            keep_blank_values=True,
            errors="strict",
            max_num_fields=_MOST_FIELDS,
            strict_parsing=True,
        )
    except ValueError as error:
        raise NotAForm(f"the form is malformed: {error}") from error
    fields = dict(pairs)
    if len(fields) != len(pairs):
        raise InvalidMessage("a field of the form is there twice")
    return fields


def checked(kind: type[F], fields: dict[str, str]) -> F:
    """The form with valid fields; `InvalidMessage` names each wrong one."""
    try:
        return kind.model_validate(fields)
    except ValidationError as error:
        problems = "; ".join(
            f"{'.'.join(str(part) for part in problem['loc'])}: {problem['msg']}" for problem in error.errors()
        )
        raise InvalidMessage(problems) from error
