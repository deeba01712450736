"""Words as a search engine compares them: without case and accents, cut at everything that is no letter or digit.

Elasticsearch's folding filters are a module that not every distribution has; folding here makes every server agree,
with the SQLite adapter too (FTS5 `unicode61 remove_diacritics 2` does the same).
"""

import re
import unicodedata
from typing import Final

_WORD: Final = re.compile(r"[^\W_]+")
_LONGEST: Final = 255  # the whitespace tokenizer cuts there


def words(text: str) -> list[str]:
    """Folded words of a text, in order."""
    if not text.isascii():
        decomposed = unicodedata.normalize("NFKD", text.encode("utf-8", "replace").decode("utf-8"))
        text = "".join(character for character in decomposed if not unicodedata.combining(character))
    return [word[:_LONGEST] for word in _WORD.findall(text.casefold())]


def folded(text: str) -> str:
    """Folded words of a text with blanks between them."""
    return " ".join(words(text))
