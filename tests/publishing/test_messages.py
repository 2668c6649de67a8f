"""The messages say what the forecasts say, as the versioned schemas promise, and the public ones give no counts away."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime, timedelta, timezone

import polars as pl
import pytest
from jsonschema import Draft202012Validator, FormatChecker

from ruter_dagster.contracts.errors import BadInput
from ruter_dagster.contracts.tables import LOAD_FORECASTS, SIRI_OCCUPANCY, SOURCES
from ruter_dagster.publishing.messages import (
    LOAD_FORECAST,
    OCCUPANCY_FORECAST,
    Messages,
    Publication,
    build_messages,
    publication_id,
    schema,
)

ISSUED_AT = datetime(2026, 11, 20, 3, 30, tzinfo=UTC)
PUBLICATION = Publication("0" * 32, ISSUED_AT, date(2026, 11, 19))

# Version 1 as consumers know it. A change here needs a new version of the schema beside this one, not an edit.
IDENTITY_V1 = {
    "forecastId": "string",
    "publicationId": "string",
    "schemaVersion": 1,
    "issuedAt": "string",
    "dataCutoff": "string",
    "horizonHours": "number",
    "serviceJourneyRef": "string",
    "operatingDay": "string",
    "stopPointRef": "string",
    "order": "integer",
    "lineRef": "string",
    "directionRef": ["0", "1"],
    "quayRef": "string",
    "aimedDepartureTime": "string",
}
LEVEL_V1 = {"occupancyLevel": list(SIRI_OCCUPANCY), "occupancyStatus": "integer"}
COUNTS_V1 = {
    "modelVersion": ["string", "null"],
    "expectedOnboardCount": "number",
    "onboardP10": "number",
    "onboardP50": "number",
    "onboardP90": "number",
    "probabilityAboveSeats": ["number", "null"],
    "occupancyPercentage": ["integer", "null"],
    "seatingCapacity": ["integer", "null"],
    "totalCapacity": ["integer", "null"],
    "source": list(SOURCES),
    "historyCount": "integer",
}
PROMISED_V1 = {
    LOAD_FORECAST: IDENTITY_V1 | LEVEL_V1 | COUNTS_V1,
    OCCUPANCY_FORECAST: IDENTITY_V1 | LEVEL_V1,
}


@pytest.fixture(scope="module")
def messages(forecasts: pl.DataFrame) -> Messages:
    return build_messages(forecasts, PUBLICATION)


def _values(messages: Messages, name: str) -> list[dict]:
    series = messages.load_forecasts if name == LOAD_FORECAST else messages.occupancy_forecasts
    return [json.loads(value) for value in series]


@pytest.mark.parametrize("name", [LOAD_FORECAST, OCCUPANCY_FORECAST])
def test_every_message_meets_its_schema(name: str, messages: Messages) -> None:
    Draft202012Validator.check_schema(schema(name))
    validator = Draft202012Validator(schema(name), format_checker=FormatChecker())
    values = _values(messages, name)
    assert len(values) == 2000
    assert [error.message for value in values for error in validator.iter_errors(value)] == []


@pytest.mark.parametrize("name", [LOAD_FORECAST, OCCUPANCY_FORECAST])
def test_version_1_keeps_its_fields_and_types(name: str) -> None:
    current = schema(name, version=1)
    types = {
        field: kind.get("const", kind.get("enum", kind.get("type")))
        for field, kind in current["properties"].items()
    }
    assert types == PROMISED_V1[name]
    assert sorted(current["required"]) == sorted(types)
    assert current["additionalProperties"] is False


def test_a_message_that_breaks_the_schema_is_told(messages: Messages) -> None:
    value = _values(messages, LOAD_FORECAST)[0]
    validator = Draft202012Validator(schema(LOAD_FORECAST))
    assert not validator.is_valid(value | {"expectedOnboardCount": None})
    assert not validator.is_valid(value | {"schemaVersion": 2})
    assert not validator.is_valid({field: value[field] for field in value if field != "order"})


def test_public_messages_carry_no_counts(messages: Messages) -> None:
    for value in _values(messages, OCCUPANCY_FORECAST):
        assert not value.keys() & COUNTS_V1.keys()


def test_a_message_says_what_its_row_says(forecasts: pl.DataFrame, messages: Messages) -> None:
    row = forecasts.row(41, named=True)
    value = json.loads(messages.load_forecasts[41])

    assert value["serviceJourneyRef"] == row["trip_id"]
    assert (value["stopPointRef"], value["order"]) == (row["stop_id"], row["stop_sequence"])
    assert value["operatingDay"] == row["operating_date"].isoformat() == "2026-11-21"
    assert value["aimedDepartureTime"] == "2026-11-21T05:00:41Z"
    assert value["expectedOnboardCount"] == pytest.approx(row["mean"], abs=0.005)
    assert value["probabilityAboveSeats"] == pytest.approx(row["prob_above_seats"], abs=0.00005)
    assert (value["seatingCapacity"], value["totalCapacity"]) == (34, 75)
    assert (value["source"], value["modelVersion"]) == ("model", "6f1e0c")
    assert value["horizonHours"] == pytest.approx(25.5, abs=0.05)
    assert value["dataCutoff"] == "2026-11-19"


def test_what_is_not_known_is_null(messages: Messages) -> None:
    value = json.loads(messages.load_forecasts[0])
    unknown = (
        "seatingCapacity",
        "totalCapacity",
        "probabilityAboveSeats",
        "occupancyPercentage",
        "modelVersion",
    )
    assert [value[field] for field in unknown] == [None] * 5


def test_keys_tell_departures_apart_whatever_their_identifiers_contain(forecasts: pl.DataFrame) -> None:
    one = forecasts.head(1)
    awkward = pl.concat(
        [
            one.with_columns(trip_id=pl.lit(trip), stop_id=pl.lit(stop))
            for trip, stop in [("a|2026-11-20|b", "c"), ("a", "b|2026-11-20|c"), ("a%7C2026-11-20%7Cb", "c")]
        ]
    )
    assert build_messages(awkward, PUBLICATION).keys.n_unique() == 3


def test_key_of_a_departure_ignores_the_forecast_time(forecasts: pl.DataFrame, messages: Messages) -> None:
    later = Publication("1" * 32, ISSUED_AT + timedelta(days=1), date(2026, 11, 20))
    assert build_messages(forecasts, later).keys.equals(messages.keys)
    assert messages.keys.n_unique() == forecasts.height


def test_key_consists_of_fields_of_the_message(messages: Messages) -> None:
    value = json.loads(messages.load_forecasts[5])
    journey = value["serviceJourneyRef"].replace("%", "%25").replace("|", "%7C")
    assert messages.keys[5] == f"{journey}|{value['operatingDay']}|{value['stopPointRef']}|{value['order']}"


def test_times_are_written_in_utc(forecasts: pl.DataFrame) -> None:
    oslo = Publication("0" * 32, ISSUED_AT.astimezone(timezone(timedelta(hours=1))), date(2026, 11, 19))
    assert (
        json.loads(build_messages(forecasts.head(1), oslo).load_forecasts[0])["issuedAt"]
        == "2026-11-20T03:30:00Z"
    )


def test_a_time_without_a_zone_is_refused() -> None:
    with pytest.raises(BadInput, match="no time zone"):
        Publication("0" * 32, datetime(2026, 11, 20, 3, 30), date(2026, 11, 19))  # noqa: DTZ001


def test_the_same_forecasts_make_the_same_messages(forecasts: pl.DataFrame, messages: Messages) -> None:
    again = build_messages(forecasts, PUBLICATION)
    assert again.load_forecasts.equals(messages.load_forecasts)
    assert messages.load_forecasts.n_unique() == forecasts.height


def test_publication_id_follows_topic_date_content_and_schema() -> None:
    same = ("load-forecasts", date(2026, 11, 20), "content", 1)
    others = [
        ("test.load-forecasts", *same[1:]),
        (same[0], date(2026, 11, 21), *same[2:]),
        (*same[:2], "changed", 1),
        (*same[:3], 2),
    ]
    assert len({publication_id(*identity) for identity in (same, same, *others)}) == 5


def test_the_schemas_allow_what_the_table_allows() -> None:
    properties = schema(LOAD_FORECAST)["properties"]
    assert properties["occupancyLevel"]["enum"] == list(
        LOAD_FORECASTS.column("occupancy_level").allowed or ()
    )
    assert properties["source"]["enum"] == list(LOAD_FORECASTS.column("source").allowed or ())
    assert (
        properties["occupancyPercentage"]["maximum"] == LOAD_FORECASTS.column("occupancy_percentage").maximum
    )
