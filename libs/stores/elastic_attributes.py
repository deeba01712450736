"""Attributes of telemetry as ECS labels, and as they were where labels cannot hold them."""

from collections.abc import Mapping
from typing import Any, Final

_LONGEST_KEY: Final = 512


def label_fields(attributes: Mapping[str, str]) -> dict[str, Any]:
    """Fields `labels`, and `attributes` when a name had to be changed for the index."""
    if not attributes:
        return {}
    if all(0 < len(name) <= _LONGEST_KEY and "\0" not in name for name in attributes):
        return {"labels": attributes}
    cleaned = {name.replace("\0", "\ufffd")[:_LONGEST_KEY] or "_": value for name, value in attributes.items()}
    return {"labels": cleaned, "attributes": attributes}


def attributes_of(source: Mapping[str, Any]) -> Mapping[str, str]:
    """The attributes as they were."""
    own = source["paramedic"].get("attributes")
    found: Mapping[str, str] = own if own is not None else source.get("labels", {})
    return found
