"""The messages say what the forecasts say, as the versioned schemas promise."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime, timedelta, timezone

import polars as pl
import pytest
from jsonschema import Draft202012Validator, FormatChecker

from ruter_dagster.contracts.errors import BadInput
from ruter_dagster.forecasting.occupancy import OccupancyThresholds
from ruter_dagster.publishing.messages import (
    LOAD_FORECAST,
    OCCUPANCY_FORECAST,
    Messages,
    Publication,
    build_messages,
    is_sorted_by_journey,
    journey_of,
    publication_id,
    schema,
)
from tests.publishing.samples import PUBLISHING, STOPS

ISSUED_AT = datetime(2026, 11, 20, 3, 30, tzinfo=UTC)
THRESHOLDS = PUBLISHING["thresholds"]
PUBLICATION = Publication("0" * 32, ISSUED_AT, date(2026, 11, 19), THRESHOLDS)
KEY = ("operating_date", "trip_id", "stop_sequence")


@pytest.fixture(scope="module")
def ordered(forecasts: pl.DataFrame) -> pl.DataFrame:
    return forecasts.sort(KEY)


@pytest.fixture(scope="module")
def messages(ordered: pl.DataFrame) -> Messages:
    return build_messages(ordered, PUBLICATION)


def _values(messages: Messages, name: str) -> list[dict]:
    series = messages.load_forecasts if name == LOAD_FORECAST else messages.occupancy_forecasts
    return [json.loads(value) for value in series]


@pytest.mark.parametrize("name", [LOAD_FORECAST, OCCUPANCY_FORECAST])
def test_every_message_meets_its_schema(name: str, messages: Messages) -> None:
    validator = Draft202012Validator(schema(name), format_checker=FormatChecker())
    values = _values(messages, name)
    assert len(values) == 100
    assert [error.message for value in values for error in validator.iter_errors(value)] == []


@pytest.mark.parametrize("name", [LOAD_FORECAST, OCCUPANCY_FORECAST])
def test_messages_have_exactly_the_fields_of_the_schema(name: str, messages: Messages) -> None:
    fields = schema(name)["properties"]
    for value in _values(messages, name):
        assert list(value) == list(fields)
        assert all(list(call) == list(fields["calls"]["items"]["properties"]) for call in value["calls"])


def test_invalid_message_is_refused_by_the_schema(messages: Messages) -> None:
    value = _values(messages, LOAD_FORECAST)[0]
    validator = Draft202012Validator(schema(LOAD_FORECAST))
    (first, *_) = value["calls"]
    assert validator.is_valid(value | {"fieldOfALaterSchema": 1})
    assert not validator.is_valid(value | {"calls": [first | {"expectedOnboardCount": None}]})
    assert not validator.is_valid(value | {"calls": []})
    assert not validator.is_valid(value | {"schemaVersion": 1})
    assert not validator.is_valid({field: value[field] for field in value if field != "lineRef"})


def test_message_has_the_calls_of_its_journey_in_stop_order(
    ordered: pl.DataFrame, messages: Messages
) -> None:
    calls = [
        (value["operatingDay"], value["serviceJourneyRef"], call["order"])
        for value in _values(messages, LOAD_FORECAST)
        for call in value["calls"]
    ]
    rows = ordered.select(pl.col("operating_date").cast(pl.String), "trip_id", "stop_sequence")
    assert calls == rows.rows()


def test_call_has_the_values_of_its_row(ordered: pl.DataFrame, messages: Messages) -> None:
    number = 3 * STOPS + 7
    row = ordered.row(number, named=True)
    value = _values(messages, LOAD_FORECAST)[3]
    call = value["calls"][7]

    assert value["serviceJourneyRef"] == row["trip_id"]
    assert value["operatingDay"] == row["operating_date"].isoformat()
    assert (value["lineRef"], value["vehicleMode"]) == ("RUT:Line:31", "bus")
    assert value["directionRef"] == str(row["direction_id"])
    assert (value["seatingCapacity"], value["totalCapacity"]) == (34, 75)
    assert value["modelVersion"] == "6f1e0c"
    assert value["dataCutoff"] == "2026-11-19"
    assert (call["stopPointRef"], call["order"]) == (row["stop_id"], row["stop_sequence"])
    assert call["aimedDepartureTime"] == f"{row['scheduled_departure_time']:%Y-%m-%dT%H:%M:%SZ}"
    assert call["expectedOnboardCount"] == pytest.approx(row["mean"], abs=0.005)
    assert call["probabilityAboveSeats"] == pytest.approx(row["prob_above_seats"], abs=0.00005)
    assert (call["source"], call["historyCount"]) == (row["source"], row["history_count"])


def test_unknown_values_are_null(ordered: pl.DataFrame) -> None:
    names = ["seats", "total_capacity", "model_version", "prob_above_seats", "occupancy_percentage"]
    unknown = ordered.head(2).with_columns(pl.lit(None, ordered.schema[name]).alias(name) for name in names)
    value = json.loads(build_messages(unknown, PUBLICATION).load_forecasts[0])
    assert [value[name] for name in ("seatingCapacity", "totalCapacity", "modelVersion")] == [None] * 3
    call = value["calls"][0]
    assert [call[name] for name in ("probabilityAboveSeats", "occupancyPercentage")] == [None] * 2


def test_attribute_of_a_journey_needs_one_call_that_has_it(ordered: pl.DataFrame) -> None:
    calls = ordered.filter(pl.col("trip_id") == ordered["trip_id"][0]).head(2)
    some = calls.with_columns(
        seats=pl.Series([None, 34], dtype=pl.Int32), model_version=pl.Series([None, "a"])
    )
    value = json.loads(build_messages(some, PUBLICATION).load_forecasts[0])
    assert (value["seatingCapacity"], value["modelVersion"]) == (34, "a")


def test_reasons_are_lists_of_codes(ordered: pl.DataFrame) -> None:
    one = ordered.head(3).with_columns(reasons=pl.Series(["", "event littleHistory", None]))
    value = json.loads(build_messages(one, PUBLICATION).occupancy_forecasts[0])
    assert [call["reasons"] for call in value["calls"]] == [[], ["event", "littleHistory"], []]


def test_message_states_the_operators_thresholds(messages: Messages) -> None:
    for name in (LOAD_FORECAST, OCCUPANCY_FORECAST):
        assert _values(messages, name)[0]["occupancyThresholds"] == {
            "version": OccupancyThresholds().version,
            "emptyBelow": 0.5,
            "manySeatsFreeAbove": 0.5,
            "fewSeatsFreeAbove": 0.1,
            "crushedStandingAbove": 0.8,
            "fullAbove": 1.0,
        }


def test_keys_differ_whatever_identifiers_contain(ordered: pl.DataFrame) -> None:
    one = ordered.head(1)
    trips = ["a|b", "a%7Cb", "a%257Cb", "a"]
    keys = build_messages(
        pl.concat([one.with_columns(trip_id=pl.lit(trip)) for trip in trips]), PUBLICATION
    ).keys
    assert keys.n_unique() == 4
    day = one["operating_date"][0]
    assert [journey_of(key) for key in keys] == [(day, trip) for trip in trips]


def test_key_consists_of_operating_day_and_journey(ordered: pl.DataFrame, messages: Messages) -> None:
    value = _values(messages, LOAD_FORECAST)[5]
    journey = value["serviceJourneyRef"].replace("%", "%25").replace("|", "%7C")
    assert messages.keys[5].decode() == f"{value['operatingDay']}|{journey}"
    later = Publication("1" * 32, ISSUED_AT + timedelta(days=1), date(2026, 11, 20), THRESHOLDS)
    assert build_messages(ordered, later).keys.equals(messages.keys)


def test_times_are_in_utc(ordered: pl.DataFrame) -> None:
    oslo = ISSUED_AT.astimezone(timezone(timedelta(hours=1)))
    publication = Publication("0" * 32, oslo, date(2026, 11, 19), THRESHOLDS)
    value = json.loads(build_messages(ordered.head(1), publication).load_forecasts[0])
    assert value["issuedAt"] == "2026-11-20T03:30:00Z"


def test_time_without_a_zone_is_refused() -> None:
    with pytest.raises(BadInput, match="no time zone"):
        Publication("0" * 32, datetime(2026, 11, 20, 3, 30), date(2026, 11, 19), {})  # noqa: DTZ001


def test_same_forecasts_give_the_same_messages(ordered: pl.DataFrame, messages: Messages) -> None:
    again = build_messages(ordered, PUBLICATION)
    assert again.load_forecasts.equals(messages.load_forecasts)
    assert messages.load_forecasts.n_unique() == 100


def test_publication_id_depends_on_all_its_parts() -> None:
    same = ("load-forecasts", date(2026, 11, 20), "content", None, 2)
    others = [
        ("test.load-forecasts", *same[1:]),
        (same[0], date(2026, 11, 21), *same[2:]),
        (*same[:2], "changed", *same[3:]),
        (*same[:3], "an earlier one", 2),
        (*same[:4], 3),
    ]
    assert len({publication_id(*identity) for identity in (same, same, *others)}) == 6


def test_order_of_rows_is_recognised(ordered: pl.DataFrame) -> None:
    assert is_sorted_by_journey(ordered)
    assert not is_sorted_by_journey(ordered.reverse())
    assert not is_sorted_by_journey(pl.concat([ordered.head(2), ordered.head(2)]))
    swapped = pl.concat([ordered[1:2], ordered[0:1], ordered[2:]])
    assert not is_sorted_by_journey(swapped)
