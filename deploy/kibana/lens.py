"""Lens charts: columns (what is computed) and pictures (how it is shown)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from deploy.kibana.saved_object import Reference, SavedObject

LAYER: Final = "incidents"
RECORDS: Final = "___records___"
TIME: Final = "@timestamp"

Column = dict[str, Any]
Picture = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Chart:
    """One chart.

    Attributes:
        id: Fixed id.
        title: Shown above it.
        description: What it counts, shown on the (i) of the panel.
        kind: lnsXY, lnsPie, lnsMetric or lnsDatatable.
        columns: Columns by id, buckets first.
        picture: Visualization state.
        view: Id of the data view.
        kql: Which documents count.
    """

    id: str
    title: str
    description: str
    kind: str
    columns: Mapping[str, Column]
    picture: Picture
    view: str
    kql: str = ""

    def saved(self) -> SavedObject:
        """The chart as a saved object."""
        layer = {"columnOrder": list(self.columns), "columns": self.columns, "incompleteColumns": {}, "sampling": 1}
        return SavedObject(
            type="lens",
            id=self.id,
            attributes={
                "title": self.title,
                "description": self.description,
                "visualizationType": self.kind,
                "state": {
                    "datasourceStates": {"formBased": {"layers": {LAYER: layer}}},
                    "visualization": self.picture,
                    "query": {"language": "kuery", "query": self.kql},
                    "filters": [],
                    "internalReferences": [],
                    "adHocDataViews": {},
                },
            },
            references=[Reference(type="index-pattern", id=self.view, name=f"indexpattern-datasource-layer-{LAYER}")],
        )


def _column(operation: str, label: str, field: str, kind: str = "number", **more: Any) -> Column:
    bucketed = operation in ("terms", "date_histogram")
    scale = {"terms": "ordinal", "date_histogram": "interval"}.get(operation, "ratio")
    return {
        "label": label,
        "customLabel": True,
        "dataType": kind,
        "operationType": operation,
        "isBucketed": bucketed,
        "scale": scale,
        "sourceField": field,
        **more,
    }


def count(label: str = "Incidents", kql: str = "") -> Column:
    """How many documents, of those that a query finds."""
    more: dict[str, Any] = {"filter": {"language": "kuery", "query": kql}} if kql else {}
    return _column("count", label, RECORDS, params={"emptyAsNull": False}, **more)


def total(field: str, label: str) -> Column:
    """Sum of a number."""
    return _column("sum", label, field, params={"emptyAsNull": False})


def median(field: str, label: str) -> Column:
    """Median of a number."""
    return _column("median", label, field, params={"emptyAsNull": True})


def percentile(field: str, percent: int, label: str) -> Column:
    """A percentile of a number."""
    return _column("percentile", label, field, params={"percentile": percent})


def over_time(label: str = "Opened") -> Column:
    """Steps of time, as wide as the picture can show."""
    params = {"interval": "auto", "includeEmptyRows": True, "dropPartials": False}
    return _column("date_histogram", label, TIME, "date", params=params)


def largest(field: str, label: str, by: str, size: int) -> Column:
    """The values with the largest column `by`; the others together."""
    order = {"type": "column", "columnId": by}
    return _terms(field, label, order, "desc", size=size, other=True)


def by_name(field: str, label: str, size: int) -> Column:
    """The values in their own order, such as P1 to P5."""
    return _terms(field, label, {"type": "alphabetical", "fallback": False}, "asc", size=size, other=False)


def _terms(field: str, label: str, order: Mapping[str, Any], direction: str, *, size: int, other: bool) -> Column:
    params = {
        "size": size,
        "orderBy": order,
        "orderDirection": direction,
        "otherBucket": other,
        "missingBucket": False,
        "parentFormat": {"id": "terms"},
    }
    return _column("terms", label, field, "string", params=params)


def quotient(column: str, of: str, by: str, label: str) -> dict[str, Column]:
    """A formula: sum of one number over the sum of another, as a percentage; with the columns it consists of."""
    formula = f"sum({of}) / sum({by})"
    part = f"Part of {label}"
    above, below, division = f"{column}X0", f"{column}X1", f"{column}X2"
    tree = {
        "type": "function",
        "name": "divide",
        "args": [above, below],
        "location": {"min": 0, "max": len(formula)},
        "text": formula,
    }
    computed = {"label": part, "customLabel": True, "dataType": "number", "isBucketed": False, "scale": "ratio"}
    return {
        column: {
            **computed,
            "label": label,
            "operationType": "formula",
            "params": {
                "formula": formula,
                "isFormulaBroken": False,
                "format": {"id": "percent", "params": {"decimals": 1}},
            },
            "references": [division],
        },
        above: total(of, part),
        below: total(by, part),
        division: {
            **computed,
            "operationType": "math",
            "params": {"tinymathAst": tree},
            "references": [above, below],
        },
    }


def metric(column: str) -> Picture:
    """One figure."""
    return {"layerId": LAYER, "layerType": "data", "metricAccessor": column}


def donut(group: str, column: str) -> Picture:
    """Shares of a whole."""
    layer = {
        "layerId": LAYER,
        "layerType": "data",
        "primaryGroups": [group],
        "metrics": [column],
        "numberDisplay": "value",
        "categoryDisplay": "default",
        "legendDisplay": "show",
        "legendPosition": "right",
        "nestedLegend": False,
    }
    return {"shape": "donut", "layers": [layer]}


def xy(series: str, across: str, up: Sequence[str], split: str = "") -> Picture:
    """Bars (bar_stacked, bar_horizontal) or lines (line) over a bucket column.

    Args:
        series: Kind of series.
        across: Bucket column of the axis.
        up: Figure columns.
        split: Bucket column that divides each bar, "" for none.
    """
    layer: dict[str, Any] = {
        "layerId": LAYER,
        "layerType": "data",
        "seriesType": series,
        "xAccessor": across,
        "accessors": list(up),
        "position": "top",
        "showGridlines": False,
    }
    if split:
        layer["splitAccessor"] = split
    return {
        "preferredSeriesType": series,
        "layers": [layer],
        "legend": {"isVisible": bool(split) or len(up) > 1, "position": "right"},
        "valueLabels": "hide",
        "fittingFunction": "None",
        "axisTitlesVisibilitySettings": {"x": False, "yLeft": True, "yRight": True},
        "tickLabelsVisibilitySettings": {"x": True, "yLeft": True, "yRight": True},
        "gridlinesVisibilitySettings": {"x": False, "yLeft": True, "yRight": True},
    }


def table(*columns: str) -> Picture:
    """Rows and columns."""
    return {
        "layerId": LAYER,
        "layerType": "data",
        "columns": [{"columnId": column, "isTransposed": False} for column in columns],
        "paging": {"enabled": True, "size": 10},
    }
