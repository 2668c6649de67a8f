"""The definition of QuickSight's dashboard: valid for the API, and each name in it exists."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import botocore.session
import pytest
from botocore.validate import ParamValidator
from click.testing import CliRunner

from ruter_dagster.commands.cli import main
from ruter_dagster.dashboards.quicksight import CALCULATED, dashboard_definition
from ruter_dagster.dashboards.views import VIEWS

DEFINITION = dashboard_definition()


def objects(value: Any, key: str) -> Iterator[Any]:
    """All values of `key` in nested objects."""
    if isinstance(value, dict):
        yield from ([value[key]] if key in value else [])
        for item in value.values():
            yield from objects(item, key)
    elif isinstance(value, list):
        for item in value:
            yield from objects(item, key)


@pytest.mark.parametrize("shape", ["AnalysisDefinition", "DashboardVersionDefinition"])
def test_definition_is_valid_for_the_api(shape: str) -> None:
    model = botocore.session.get_session().get_service_model("quicksight")
    sets = [{"Identifier": name, "DataSetArn": f"arn:aws:quicksight:::dataset/{name}"} for name in VIEWS]
    report = ParamValidator().validate(
        DEFINITION | {"DataSetIdentifierDeclarations": sets}, model.shape_for(shape)
    )
    assert not report.has_errors(), report.generate_report()


def test_columns_exist_in_their_views() -> None:
    columns = [*objects(DEFINITION, "Column"), *objects(DEFINITION, "LinkToDataSetColumn")]
    assert len(columns) > 40
    unknown = [
        column for column in columns if column["ColumnName"] not in VIEWS[column["DataSetIdentifier"]].columns
    ]
    assert unknown == []


def test_calculated_fields_use_columns_of_accuracy() -> None:
    used = {name for expression in CALCULATED.values() for name in re.findall(r"{(\w+)}", expression)}
    assert used <= set(VIEWS["accuracy"].columns)


def test_values_name_calculated_fields() -> None:
    used = {name.strip("{}") for name in objects(DEFINITION, "Expression") if name.startswith("{")}
    assert used == set(CALCULATED)


@pytest.mark.parametrize(
    "key", ["FieldId", "VisualId", "FilterId", "FilterControlId", "FilterGroupId", "CustomActionId"]
)
def test_ids_are_unique(key: str) -> None:
    ids = list(objects(DEFINITION, key))
    assert len(ids) == len(set(ids))


def test_controls_name_filters_and_parameters() -> None:
    assert set(objects(DEFINITION, "SourceFilterId")) <= set(objects(DEFINITION, "FilterId"))
    declared = {item["StringParameterDeclaration"]["Name"] for item in DEFINITION["ParameterDeclarations"]}
    assert (
        set(objects(DEFINITION, "SourceParameterName")) | set(objects(DEFINITION, "ParameterName"))
        == declared
    )


def test_a_click_on_a_line_opens_its_departures() -> None:
    (table,) = objects(DEFINITION["Sheets"][1], "TableVisual")
    navigation, parameters = table["Actions"][0]["ActionOperations"]
    target = navigation["NavigationOperation"]["LocalNavigationConfiguration"]["TargetSheetId"]
    assert target in {sheet["SheetId"] for sheet in DEFINITION["Sheets"]}
    (value,) = parameters["SetParametersOperation"]["ParameterValueConfigurations"]
    assert value["Value"]["SourceField"] in set(objects(table["ChartConfiguration"], "FieldId"))


def test_a_click_on_a_mode_opens_its_lines() -> None:
    network, lines = DEFINITION["Sheets"][:2]
    opened = list(objects(network["Visuals"], "TargetSheetId"))
    assert opened == [lines["SheetId"]]
    (filtered,) = objects(lines["Visuals"], "FilterOperation")
    assert filtered["TargetVisualsConfiguration"] == {
        "SameSheetTargetVisualConfiguration": {"TargetVisualOptions": "ALL_VISUALS"}
    }


def test_visuals_do_not_overlap() -> None:
    for sheet in DEFINITION["Sheets"]:
        (layout,) = sheet["Layouts"]
        cells = [
            (row, column)
            for element in layout["Configuration"]["GridLayout"]["Elements"]
            for row in range(element["RowIndex"], element["RowIndex"] + element["RowSpan"])
            for column in range(element["ColumnIndex"], element["ColumnIndex"] + element["ColumnSpan"])
        ]
        assert len(cells) == len(set(cells))


@pytest.mark.parametrize("command", ["quicksight-definition", "athena-views"])
def test_command_prints_json(command: str) -> None:
    result = CliRunner().invoke(main, [command])
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)
