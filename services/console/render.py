"""Templates and static files, read once at start."""

import hashlib
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Final

from jinja2 import Environment, FileSystemLoader, StrictUndefined

_HERE: Final = Path(__file__).parent
_TYPES: Final = {".css": "text/css; charset=utf-8", ".js": "text/javascript; charset=utf-8", ".svg": "image/svg+xml"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Asset:
    """One static file.

    Attributes:
        content: Its bytes.
        media_type: Its type.
        address: With a digest of the content, so that browsers may keep it for ever.
    """

    content: bytes
    media_type: str
    address: str


def read_assets() -> dict[str, Asset]:
    """Every static file by name."""
    found = {}
    for path in sorted((_HERE / "static").iterdir()):
        if path.suffix in _TYPES:
            content = path.read_bytes()
            digest = hashlib.sha256(content).hexdigest()[:12]
            found[path.name] = Asset(
                content=content, media_type=_TYPES[path.suffix], address=f"/static/{path.name}?v={digest}"
            )
    return found


class Templates:
    """Renders pages; everything that is not built by `charts` is escaped.

    Args:
        assets: Static files.
    """

    def __init__(self, assets: dict[str, Asset]) -> None:
        self._assets = assets

    def render(self, name: str, **shown: Any) -> str:
        """A page as HTML."""
        return _environment().get_template(name).render(asset=lambda file: self._assets[file].address, **shown)


@cache
def _environment() -> Environment:
    """Compiled templates; compiling takes longer than a page may."""
    return Environment(
        loader=FileSystemLoader(_HERE / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
    )
