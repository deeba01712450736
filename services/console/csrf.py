"""Sessions and form tokens: signed, bound to one browser, checked on every decision.

A session is `<nonce>.<issued>.<signed in>.<signature>`. The token of a form is derived from the nonce, so a page of
another site, which cannot read the cookie, cannot make one.

Source: OWASP Cross-Site Request Forgery Prevention Cheat Sheet, "Signed Double-Submit Cookie".
"""

import hashlib
import hmac
import os
import secrets
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final

from libs.errors import ConfigurationError

COOKIE: Final = "paramedic_console"
FIELD: Final = "csrf"
LASTS_S: Final = 12 * 3600.0  # one shift
_KEY_BYTES: Final = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """One browser.

    Attributes:
        nonce: Random id, hex.
        issued_s: Unix seconds.
        signed_in: Whether the token was given.
    """

    nonce: str
    issued_s: int
    signed_in: bool


class Signer:
    """Makes and checks sessions and form tokens.

    Args:
        key: Secret of this console.
        token: The access token; another one ends every session. None when none is asked for.
    """

    def __init__(self, key: bytes, token: str | None) -> None:
        self._key = hmac.digest(key, (token or "").encode(), hashlib.sha256)

    def open(self, now: datetime, *, signed_in: bool) -> tuple[Session, str]:
        """A new session and its cookie."""
        session = Session(nonce=secrets.token_hex(16), issued_s=int(now.timestamp()), signed_in=signed_in)
        text = f"{session.nonce}.{session.issued_s}.{int(signed_in)}"
        return session, f"{text}.{self._sign('session', text)}"

    def read(self, cookie: str, now: datetime) -> Session | None:
        """The session of a cookie; None when it is not ours or too old."""
        text, _, signature = cookie.rpartition(".")
        if not hmac.compare_digest(signature.encode(), self._sign("session", text).encode()):
            return None
        nonce, issued, signed_in = text.split(".")
        age_s = now.timestamp() - int(issued)
        if age_s > LASTS_S:
            return None
        return Session(nonce=nonce, issued_s=int(issued), signed_in=signed_in == "1")

    def form_token(self, session: Session) -> str:
        """The token that a form of this session carries."""
        return self._sign("form", session.nonce)

    def matches(self, session: Session, token: str) -> bool:
        """Whether a form came from a page of this session."""
        return hmac.compare_digest(token.encode(), self.form_token(session).encode())

    def _sign(self, purpose: str, text: str) -> str:
        return hmac.new(self._key, f"{purpose}:{text}".encode(), hashlib.sha256).hexdigest()


def secret_key(path: Path) -> bytes:
    """The console's secret, made once: pages that people have open survive a restart.

    Raises:
        ConfigurationError: the file can be neither read nor written.
    """
    try:
        if path.exists() and len(known := path.read_bytes()) == _KEY_BYTES:
            return known
        path.parent.mkdir(parents=True, exist_ok=True)
        key = secrets.token_bytes(_KEY_BYTES)
        temporary = path.with_suffix(f".{os.getpid()}")
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(key)
        temporary.replace(path)
    except OSError as error:
        raise ConfigurationError(f"the console's secret {path}: {error}") from error
    return key
