"""Texts that others wrote, made visible: characters that do not show are written as escapes."""

from typing import Final

_LINE_BREAKS: Final = "\n\t"


def visible(text: str) -> str:
    """A text with every character that does not show written as its escape.

    Zero-width, bidirectional and tag characters hide instructions from the people who read along with a model.
    """
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or c in _LINE_BREAKS else _escaped(c) for c in text)


def cut_text(text: str, most: int) -> str:
    """At most `most` characters; the end says how many there were."""
    shown = visible(text[: most + 1])
    if len(shown) <= most and len(text) <= most:
        return shown
    mark = f"… [cut, {len(text)} characters]"
    return shown[: most - len(mark)] + mark


def _escaped(character: str) -> str:
    code = ord(character)
    return f"\\x{code:02x}" if code < 128 else character.encode("ascii", "backslashreplace").decode()
