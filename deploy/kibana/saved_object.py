"""A saved object as Kibana 8.19 exports it, and the versions of its types.

Sources: exports of Kibana 8.1x in github.com/elastic/integrations (packages/*/kibana), and the registration of the
types in github.com/elastic/kibana (plug-ins data_views, saved_search, lens and dashboard). Each type has the oldest
version whose shape is the one written here: a newer Kibana migrates it, an older one refuses it by name.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

CORE_VERSION: Final = "8.8.0"
TYPE_VERSIONS: Final[Mapping[str, str]] = {
    "index-pattern": "8.0.0",
    "search": "10.5.0",
    "lens": "8.9.0",
    "dashboard": "10.2.0",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Reference:
    """A link from one object to another.

    Attributes:
        type: Type of the other.
        id: Its id.
        name: Under what name the object's attributes speak of it.
    """

    type: str
    id: str
    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SavedObject:
    """One line of an export.

    Attributes:
        type: index-pattern (a data view), search, lens or dashboard.
        id: Fixed, so that an import replaces what an earlier one brought.
        attributes: As the type has them.
        references: Links to others.
    """

    type: str
    id: str
    attributes: Mapping[str, Any]
    references: Sequence[Reference] = ()

    def line(self) -> str:
        """The object as one line."""
        fields = {
            "type": self.type,
            "id": self.id,
            "attributes": self.attributes,
            "references": [{"type": link.type, "id": link.id, "name": link.name} for link in self.references],
            "managed": False,
            "coreMigrationVersion": CORE_VERSION,
            "typeMigrationVersion": TYPE_VERSIONS[self.type],
        }
        return json.dumps(fields, ensure_ascii=False)


def packed(value: object) -> str:
    """Part of an object that Kibana keeps as JSON in a string."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def search_source(kql: str, *, index_name: str = "") -> str:
    """A query as `kibanaSavedObjectMeta.searchSourceJSON`.

    Args:
        kql: Query in the Kibana Query Language.
        index_name: Name of the reference to the data view, "" for none.
    """
    source: dict[str, Any] = {"query": {"language": "kuery", "query": kql}, "filter": []}
    if index_name:
        source |= {"highlightAll": True, "version": True, "indexRefName": index_name}
    return packed(source)
