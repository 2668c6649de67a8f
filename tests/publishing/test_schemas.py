"""Within a version, a schema changes only in ways that a reader of the released schema can read."""

from __future__ import annotations

import json
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from ruter_dagster.contracts.tables import LOAD_FORECASTS, MODES, SIRI_OCCUPANCY, SOURCES
from ruter_dagster.publishing.messages import (
    LOAD_FORECAST,
    OCCUPANCY_FORECAST,
    PUBLICATION,
    SCHEMA_VERSION,
    SCHEMAS,
    schema,
)
from tests.publishing.schema_compatibility import incompatibilities

RELEASED = Path(__file__).parent / "released_schemas"
"""Copies of the schemas as of the last release. Only a release changes them: docs/messages.md describes how."""
NAMES = (LOAD_FORECAST, OCCUPANCY_FORECAST, PUBLICATION)
COUNTS = {
    "expectedOnboardCount", "onboardP10", "onboardP50", "onboardP90", "probabilityAboveSeats", "occupancyPercentage",
    "seatingCapacity", "totalCapacity", "historyCount", "modelVersion",
}  # fmt: skip


@pytest.mark.parametrize("file", sorted(path.name for path in RELEASED.glob("*.json")))
def test_schema_stays_readable_within_its_version(file: str) -> None:
    current, released = SCHEMAS / file, RELEASED / file
    assert current.exists(), "consumers of this version still need its schema"
    assert incompatibilities(json.loads(released.read_text()), json.loads(current.read_text())) == []


def test_every_schema_is_released() -> None:
    assert {path.name for path in SCHEMAS.iterdir()} == {path.name for path in RELEASED.iterdir()}


@pytest.mark.parametrize("name", NAMES)
def test_schema_is_valid_and_states_its_version(name: str) -> None:
    Draft202012Validator.check_schema(schema(name))
    assert schema(name)["properties"]["schemaVersion"]["const"] == SCHEMA_VERSION
    assert schema(name)["$id"].endswith(f":{name}:v{SCHEMA_VERSION}")


def _changed(**changes: Any) -> dict[str, Any]:
    """The load forecast's schema with changes of single fields, by path."""
    changed = deepcopy(schema(LOAD_FORECAST))
    for path, value in changes.items():
        *parents, last = path.split("__")
        node = changed
        for parent in parents:
            node = node[parent]
        if value is None:
            del node[last]
        else:
            node[last] = value
    return changed


CALL = "properties__calls__items"


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ({"properties__lineRef": None}, "message.lineRef: removed"),
        ({"required": ["calls"]}, "message.dataCutoff: no longer required"),
        ({"properties__lineRef__type": ["string", "null"]}, "message.lineRef: new types ['null']"),
        ({"properties__lineRef__minLength": 0}, "message.lineRef: minLength 1 became 0"),
        ({"properties__issuedAt__pattern": None}, "message.issuedAt: pattern Z$ became None"),
        ({"properties__schemaVersion__const": 3}, "message.schemaVersion: constant 2 became 3"),
        (
            {"properties__vehicleMode__enum": [*MODES, "taxi"]},
            "message.vehicleMode: new values ['taxi']",
        ),
        ({f"{CALL}__properties__order__type": "number"}, "message.calls[].order: new types ['number']"),
        (
            {f"{CALL}__properties__onboardP10__minimum": None},
            "message.calls[].onboardP10: minimum 0 became None",
        ),
    ],
)
def test_breaking_change_is_found(change: dict[str, Any], fault: str) -> None:
    assert fault in incompatibilities(schema(LOAD_FORECAST), _changed(**change))


@pytest.mark.parametrize(
    "change",
    [
        {"properties__newField": {"type": "string"}},
        {"properties__lineRef__minLength": 3},
        {"properties__lineRef__description": "another text"},
        {f"{CALL}__properties__newField": {"type": "number"}},
        {f"{CALL}__properties__historyCount__maximum": 8},
    ],
)
def test_readable_change_is_allowed(change: dict[str, Any]) -> None:
    assert incompatibilities(schema(LOAD_FORECAST), _changed(**change)) == []


def test_added_field_breaks_readers_that_refuse_unknown_fields() -> None:
    closed = _changed(additionalProperties=False)
    assert incompatibilities(closed, _changed(properties__newField={"type": "string"})) == [
        "message.newField: added, and readers refuse unknown fields"
    ]


def test_public_schema_has_no_counts() -> None:
    public = schema(OCCUPANCY_FORECAST)["properties"]
    assert not (public.keys() | public["calls"]["items"]["properties"].keys()) & COUNTS


def test_schemas_allow_what_the_table_allows() -> None:
    journey = schema(LOAD_FORECAST)["properties"]
    call = journey["calls"]["items"]["properties"]
    assert call["occupancyLevel"]["enum"] == list(SIRI_OCCUPANCY)
    assert call["source"]["enum"] == list(SOURCES)
    assert journey["vehicleMode"]["enum"] == list(MODES)
    assert call["occupancyPercentage"]["maximum"] == LOAD_FORECASTS.column("occupancy_percentage").maximum
