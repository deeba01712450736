"""Data views: which indices, which time, and how numbers with a unit are shown."""

from collections.abc import Mapping
from typing import Any, Final

from deploy.kibana.saved_object import SavedObject, packed
from libs.stores.elastic_logs import LOGS
from libs.stores.elastic_options import ElasticOptions
from libs.stores.elastic_span_write import SPANS
from libs.stores.elastic_templates import CHANGES, INCIDENTS, alias, patterns

# The import puts the prefix of the settings in its place (paramedic/kibana.py).
PREFIX: Final = ElasticOptions().prefix


INCIDENTS_VIEW: Final = "paramedic-incidents"
SPANS_VIEW: Final = "paramedic-spans"
LOGS_VIEW: Final = "paramedic-logs"
CHANGES_VIEW: Final = "paramedic-changes"

_PERCENT: Final = {"id": "percent", "params": {"pattern": "0%"}}
_SECONDS: Final = {
    "id": "duration",
    "params": {
        "inputFormat": "seconds",
        "outputFormat": "humanizePrecise",
        "outputPrecision": 1,
        "useShortSuffix": True,
        "includeSpaceWithSuffix": True,
    },
}


def _nanoseconds_as(unit: str) -> Mapping[str, Any]:
    params = {
        "inputFormat": "nanoseconds",
        "outputFormat": unit,
        "outputPrecision": 1,
        "showSuffix": True,
        "useShortSuffix": True,
        "includeSpaceWithSuffix": True,
    }
    return {"id": "duration", "params": params}


def data_views() -> list[SavedObject]:
    """Every data view."""
    times = ("detect", "acknowledge", "investigate", "resolve")
    return [
        _view(
            INCIDENTS_VIEW,
            "Paramedic incidents",
            alias(PREFIX, INCIDENTS),
            {
                **{f"incident.time_to_{what}_s": _SECONDS for what in times},
                "investigation.leading_confidence": _PERCENT,
                "event.duration": _nanoseconds_as("asMinutes"),
            },
        ),
        _view(
            SPANS_VIEW,
            "Paramedic spans",
            patterns(PREFIX, [SPANS]),
            {"event.duration": _nanoseconds_as("asMilliseconds")},
        ),
        _view(LOGS_VIEW, "Paramedic logs", patterns(PREFIX, [LOGS]), {}),
        _view(CHANGES_VIEW, "Paramedic changes", alias(PREFIX, CHANGES), {}),
    ]


def _view(identity: str, name: str, title: str, formats: Mapping[str, Any]) -> SavedObject:
    return SavedObject(
        type="index-pattern",
        id=identity,
        attributes={
            "title": title,
            "name": name,
            "timeFieldName": "@timestamp",
            "allowNoIndex": True,  # telemetry indices come and go with the telemetry
            "fieldFormatMap": packed(formats),
            "fieldAttrs": "{}",
            "fields": "[]",
            "runtimeFieldMap": "{}",
            "sourceFilters": "[]",
            "typeMeta": "{}",
        },
    )
