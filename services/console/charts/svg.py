"""Build SVG that is safe by construction: every attribute and text is escaped, and no style attribute is written."""

from collections.abc import Iterable

from markupsafe import Markup, escape


def element(name: str, *children: str, **attributes: str | float | None) -> Markup:
    """One element; text children are escaped, Markup ones are taken as they are.

    Args:
        attributes: None leaves one out; a trailing underscore goes (`class_`), others become hyphens (`stroke_width`).
    """
    written = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{escape(_text(value))}"'
        for key, value in attributes.items()
        if value is not None
    )
    return Markup(f"<{name}{written}>{''.join(map(escape, children))}</{name}>")  # escaped above


def join(parts: Iterable[str]) -> Markup:
    """Several elements in a row."""
    return Markup("").join(parts)


def drawing(width: float, height: float, label: str, *children: str, kind: str) -> Markup:
    """A whole picture with a label for those who do not see it.

    Args:
        width: In units of the picture; the page scales it.
        height: Likewise.
        label: What the picture says, in words.
        kind: Class that the stylesheet knows.
    """
    return element(
        "svg",
        element("title", label),
        *children,
        xmlns="http://www.w3.org/2000/svg",
        viewBox=f"0 0 {width:g} {height:g}",
        class_=f"drawing {kind}",
        role="img",
    )


def shorten(text: str, characters: int) -> str:
    """At most so many characters, with an ellipsis where something is left out."""
    return text if len(text) <= characters else text[: max(characters - 1, 0)] + "…"


def _text(value: str | float) -> str:
    return value if isinstance(value, str) else f"{value:.2f}".rstrip("0").rstrip(".")
