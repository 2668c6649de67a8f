"""Parts of a QuickSight definition: charts, tables, filters and their controls, each as the API's JSON.

Ids are unique within a definition, so each function takes or derives one. `data_set` is the name of a view.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ruter_dagster.dashboards.views import VIEWS

Json = dict[str, Any]

GRID_COLUMNS = 36
"""Columns of QuickSight's grid; a row is about 20 pixels high."""


def column(data_set: str, name: str) -> Json:
    return {"DataSetIdentifier": data_set, "ColumnName": name}


def calculated(field_id: str, name: str) -> Json:
    """A calculated field as a value. It aggregates by itself."""
    return {"CalculatedMeasureField": {"FieldId": field_id, "Expression": f"{{{name}}}"}}


def aggregated(field_id: str, data_set: str, name: str, function: str) -> Json:
    return {
        "NumericalMeasureField": {
            "FieldId": field_id,
            "Column": column(data_set, name),
            "AggregationFunction": {"SimpleNumericalAggregation": function},
        }
    }


def dimension(field_id: str, data_set: str, name: str) -> Json:
    """A column that groups, in the form that its type needs."""
    kind = {"date": "DateDimensionField", "varchar": "CategoricalDimensionField"}.get(
        VIEWS[data_set].columns[name], "NumericalDimensionField"
    )
    field: Json = {"FieldId": field_id, "Column": column(data_set, name)}
    if kind == "DateDimensionField":
        field["DateGranularity"] = "DAY"
    return {kind: field}


def kpi(visual: str, title: str, value: Json) -> Json:
    wells = {"Values": [value], "TargetValues": [], "TrendGroups": []}
    return {"KPIVisual": _visual(visual, title, wells)}


def line_chart(
    visual: str, title: str, category: Json, values: Sequence[Json], color: Json | None = None
) -> Json:
    wells = {"Category": [category], "Values": list(values), "Colors": [color] if color else []}
    return {"LineChartVisual": _visual(visual, title, {"LineChartAggregatedFieldWells": wells})}


def bar_chart(visual: str, title: str, category: Json, value: Json, actions: Sequence[Json] = ()) -> Json:
    wells = {"Category": [category], "Values": [value], "Colors": []}
    return {
        "BarChartVisual": _visual(visual, title, {"BarChartAggregatedFieldWells": wells})
        | {"Actions": list(actions)}
    }


def table(
    visual: str, title: str, groups: Sequence[Json], values: Sequence[Json], actions: Sequence[Json] = ()
) -> Json:
    wells = {"GroupBy": list(groups), "Values": list(values)}
    return {
        "TableVisual": _visual(visual, title, {"TableAggregatedFieldWells": wells})
        | {"Actions": list(actions)}
    }


def _visual(visual: str, title: str, wells: Json) -> Json:
    return {
        "VisualId": visual,
        "Title": {"Visibility": "VISIBLE", "FormatText": {"PlainText": title}},
        "ChartConfiguration": {"FieldWells": wells},
        "VisualContentAltText": title,
    }


def open_sheet(action: str, title: str, sheet: str) -> Json:
    """A click opens `sheet`."""
    return _on_click(action, title, [_navigation(sheet)])


def open_sheet_of_row(action: str, title: str, sheet: str, parameter: str, field_id: str) -> Json:
    """A click on a row sets `parameter` to the row's `field_id` and opens `sheet`."""
    value = {"DestinationParameterName": parameter, "Value": {"SourceField": field_id}}
    parameters = {"SetParametersOperation": {"ParameterValueConfigurations": [value]}}
    return _on_click(action, title, [_navigation(sheet), parameters])


def filter_sheet(action: str, title: str) -> Json:
    """A click on a value filters all other visuals of the sheet by it; a second click shows all again."""
    operation = {
        "SelectedFieldsConfiguration": {"SelectedFieldOptions": "ALL_FIELDS"},
        "TargetVisualsConfiguration": {
            "SameSheetTargetVisualConfiguration": {"TargetVisualOptions": "ALL_VISUALS"}
        },
    }
    return _on_click(action, title, [{"FilterOperation": operation}])


def _navigation(sheet: str) -> Json:
    return {"NavigationOperation": {"LocalNavigationConfiguration": {"TargetSheetId": sheet}}}


def _on_click(action: str, title: str, operations: Sequence[Json]) -> Json:
    return {
        "CustomActionId": action,
        "Name": title,
        "Status": "ENABLED",
        "Trigger": "DATA_POINT_CLICK",
        "ActionOperations": list(operations),
    }


def choice_filter(filter_id: str, sheet: str, data_set: str, name: str) -> Json:
    """A filter in which people choose values; at first it takes all."""
    choices = {
        "MatchOperator": "CONTAINS",
        "SelectAllOptions": "FILTER_ALL_VALUES",
        "NullOption": "ALL_VALUES",
    }
    return _filter(filter_id, sheet, {"CategoryFilter": {
        "FilterId": filter_id, "Column": column(data_set, name), "Configuration": {"FilterListConfiguration": choices},
    }})  # fmt: skip


def parameter_filter(filter_id: str, sheet: str, data_set: str, name: str, parameter: str) -> Json:
    """A filter that takes the value of a parameter."""
    equal = {"MatchOperator": "EQUALS", "ParameterName": parameter, "NullOption": "NON_NULLS_ONLY"}
    return _filter(filter_id, sheet, {"CategoryFilter": {
        "FilterId": filter_id, "Column": column(data_set, name), "Configuration": {"CustomFilterConfiguration": equal},
    }})  # fmt: skip


def newest_days(filter_id: str, sheet: str, data_set: str, name: str, days: int) -> Json:
    return _filter(filter_id, sheet, {"RelativeDatesFilter": {
        "FilterId": filter_id, "Column": column(data_set, name), "AnchorDateConfiguration": {"AnchorOption": "NOW"},
        "TimeGranularity": "DAY", "RelativeDateType": "LAST", "RelativeDateValue": days, "NullOption": "NON_NULLS_ONLY",
    }})  # fmt: skip


def _filter(filter_id: str, sheet: str, content: Json) -> Json:
    """The filter in a group of its own, for all visuals of the sheet that read its data set."""
    scope = {"SheetId": sheet, "Scope": "ALL_VISUALS"}
    return {
        "FilterGroupId": f"{filter_id}-group",
        "Filters": [content],
        "ScopeConfiguration": {"SelectedSheets": {"SheetVisualScopingConfigurations": [scope]}},
        "Status": "ENABLED",
        "CrossDataset": "SINGLE_DATASET",
    }


def dropdown(filter_id: str, title: str) -> Json:
    control = {"FilterControlId": f"{filter_id}-control", "Title": title, "SourceFilterId": filter_id}
    return {"Dropdown": control | {"Type": "MULTI_SELECT"}}


def days_control(filter_id: str, title: str) -> Json:
    return {
        "RelativeDateTime": {
            "FilterControlId": f"{filter_id}-control",
            "Title": title,
            "SourceFilterId": filter_id,
        }
    }


def parameter_control(parameter: str, sheet: str, title: str, data_set: str, name: str) -> Json:
    return {
        "Dropdown": {
            "ParameterControlId": f"{sheet}-{parameter}",
            "Title": title,
            "SourceParameterName": parameter,
            "Type": "SINGLE_SELECT",
            "SelectableValues": {"LinkToDataSetColumn": column(data_set, name)},
        }
    }


def grid(elements: Sequence[tuple[str, int, int]]) -> list[Json]:
    """The layout of visuals in rows, left to right: each its id, its columns and its rows of the grid."""
    placed, left, top, height = [], 0, 0, 0
    for visual, columns, rows in elements:
        if left + columns > GRID_COLUMNS:
            left, top, height = 0, top + height, 0
        placed.append(
            {
                "ElementId": visual,
                "ElementType": "VISUAL",
                "ColumnIndex": left,
                "ColumnSpan": columns,
                "RowIndex": top,
                "RowSpan": rows,
            }
        )
        left, height = left + columns, max(height, rows)
    return [{"Configuration": {"GridLayout": {"Elements": placed}}}]
