"""The shape of a log message: its constant words, so that records of one statement count as one pattern."""

import re
from functools import lru_cache
from typing import Final

# What varies between two records of one statement: quoted or bracketed values, anything with a digit, long hex.
_VARIABLE: Final = re.compile(r"\"[^\"]*\"|'[^']*'|\{.*\}|\(.*\)|\S*\d\S*|\b[0-9a-fA-F]{8,}\b")
# A logger that names the line of code (Class#31, file.py:31) is the statement itself.
_CODE_LINE: Final = re.compile(r"[#:]\d+$")
_WORD: Final = re.compile(r"[^\W\d_]{2,}")
_MOST_WORDS: Final = 8
_MOST_READ: Final = 240


@lru_cache(maxsize=65_536)
def message_shape(body: str) -> str:
    """At most eight constant words of a message; the same for every record of one statement, whatever its values."""
    text = _VARIABLE.sub(" ", body[:_MOST_READ])
    words = _WORD.findall(text)
    return " ".join(words[:_MOST_WORDS]) or "(no words)"


def statement(logger: str, body: str) -> str:
    """What tells one logging statement of a logger from another: nothing where the logger names a line of code."""
    return "" if _CODE_LINE.search(logger) else message_shape(body)
