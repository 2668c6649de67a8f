"""A frame is checked against its table's contract, and equal rows have equal versions."""

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta, timezone

import polars as pl
import pytest

from ruter_dagster.contracts.errors import BadInput
from ruter_dagster.contracts.tables import Column, Rule, Table
from ruter_dagster.contracts.validation import (
    conform,
    content_hash,
    empty_frame,
    ordered_by_key,
    polars_schema,
    validate,
)

DAY = date(2026, 11, 20)
VISITS = Table(
    name="raw.visits",
    description="A small table with one of everything.",
    partition="service_date",
    key=("service_date", "trip_id", "stop_sequence"),
    columns=(
        Column("service_date", "date", "Operating date"),
        Column("trip_id", "string", "Service journey"),
        Column("stop_sequence", "int32", "Order of the stop", minimum=1),
        Column("mode", "string", "Mode", allowed=("bus", "tram")),
        Column("departure", "timestamp", "Planned departure, UTC"),
        Column("load", "float64", "Passengers on board", required=False, minimum=0),
        Column("capacity", "int64", "Seats and standing places", required=False, maximum=400),
        Column("counted", "boolean", "Counted by a counter", required=False),
    ),
    rules=(
        Rule(
            "load_within_capacity",
            "capacity IS NULL OR load <= 2 * capacity",
            "No load is over twice the capacity",
        ),
    ),
)


def visits(**columns: object) -> pl.DataFrame:
    defaults = {
        "service_date": [DAY] * 3,
        "trip_id": ["a", "a", "b"],
        "stop_sequence": [1, 2, 1],
        "mode": ["bus", "bus", "tram"],
        "departure": [datetime(2026, 11, 20, hour, tzinfo=UTC) for hour in (6, 7, 8)],
        "load": [1.5, None, 0.0],
        "capacity": [80, 80, None],
        "counted": [True, None, False],
    }
    return conform(
        pl.DataFrame({**defaults, **columns}, schema_overrides={"stop_sequence": pl.Int32}), VISITS
    )


def test_empty_frame_has_the_contracts_columns_and_types():
    assert dict(empty_frame(VISITS).schema) == polars_schema(VISITS)


def test_conforming_orders_columns_and_casts_losslessly():
    oslo = timezone(timedelta(hours=1))
    loose = visits().with_columns(
        pl.col("stop_sequence").cast(pl.Int64),
        pl.col("mode").cast(pl.Categorical),
        pl.Series("departure", [datetime(2026, 11, 20, 7, tzinfo=oslo)] * 3).dt.cast_time_unit("ms"),
        load=pl.lit(None),
    )
    frame = conform(loose.select(reversed(loose.columns)), VISITS)
    assert dict(frame.schema) == polars_schema(VISITS)
    assert list(frame.columns) == list(VISITS.column_names)
    assert frame["departure"][0] == datetime(2026, 11, 20, 6, tzinfo=UTC)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda frame: frame.drop("mode"), "column mode is missing (expected String)"),
        (lambda frame: frame.with_columns(colour=pl.lit(1)), "column colour is not in the contract"),
        (lambda frame: frame.with_columns(load=pl.lit("12")), "column load should be Float64, found String"),
        (
            lambda frame: frame.with_columns(stop_sequence=pl.lit(1.0)),
            "column stop_sequence should be Int32, found Float64",
        ),
        (
            lambda frame: frame.with_columns(pl.col("departure").dt.replace_time_zone(None)),
            "column departure should be Datetime(time_unit='us', time_zone='UTC'), found Datetime(time_unit='us'",
        ),
        (lambda frame: frame.with_columns(stop_sequence=pl.lit(2**40)), "values that do not fit"),
    ],
)
def test_wrong_columns_are_errors_with_both_types(change, message):
    with pytest.raises(BadInput) as error:
        conform(change(visits()), VISITS)
    assert "raw.visits" in str(error.value)
    assert message in str(error.value)


def test_rows_that_meet_the_contract_pass():
    validate(visits(), VISITS, [DAY])


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"mode": ["bus", None, "tram"]}, "mode has a value: broken in 1 of 3 rows, e.g. service_date=2026-11-20 trip_id=a stop_sequence=2"),
        ({"mode": ["bus", "rail", "tram"]}, "mode in bus, tram: broken in 1 of 3 rows"),
        ({"trip_id": ["a", "a", "a"]}, "key (service_date, trip_id, stop_sequence) is unique: broken in 2 of 3 rows"),
        ({"load": [-4.0, 1.0, 2.0]}, "load >= 0: broken in 1 of 3 rows, e.g. service_date=2026-11-20 trip_id=a stop_sequence=1 load=-4.0"),
        ({"load": [float("nan"), float("inf"), 2.0], "capacity": [None] * 3}, "load is a finite number: broken in 2 of 3 rows"),
        ({"capacity": [80, 401, None]}, "capacity <= 400: broken in 1 of 3 rows"),
        ({"load": [161.0, 1.0, 2.0]}, "load_within_capacity (capacity IS NULL OR load <= 2 * capacity): broken in 1 of 3 rows"),
        ({"service_date": [DAY, DAY, date(2026, 11, 21)]}, "service_date within the dates being written (2026-11-20 to 2026-11-20): broken in 1 of 3 rows"),
    ],
)  # fmt: skip
def test_rows_that_break_the_contract_are_counted_and_named(columns, message):
    with pytest.raises(BadInput) as error:
        validate(visits(**columns), VISITS, [DAY])
    assert message in str(error.value)


def test_error_lists_every_fault_with_five_rows_each():
    rows = 20
    frame = conform(
        pl.DataFrame(
            {
                "service_date": [DAY] * rows,
                "trip_id": [f"journey {number:02}" for number in range(rows)],
                "stop_sequence": [0] * rows,
                "mode": [None] * rows,
                "departure": [datetime(2026, 11, 20, tzinfo=UTC)] * rows,
                "load": [-1.0] * rows,
                "capacity": [10] * rows,
                "counted": [None] * rows,
            }
        ),
        VISITS,
    )
    with pytest.raises(BadInput) as error:
        validate(frame, VISITS, [DAY, date(2026, 11, 21)])
    message = str(error.value)
    assert [word in message for word in ("stop_sequence >= 1", "mode has a value", "load >= 0")] == [True] * 3
    assert "service_date without any row: 2026-11-21" in message
    assert "journey 04" in message
    assert "journey 05" not in message


def test_date_without_rows_fails_unless_the_table_may_be_empty():
    with pytest.raises(BadInput, match="service_date without any row: 2026-11-20"):
        validate(empty_frame(VISITS), VISITS, [DAY])
    validate(empty_frame(VISITS), replace(VISITS, may_be_empty=True), [DAY])


@pytest.mark.parametrize("seed", range(20))
def test_rows_are_ordered_by_key(seed: int):
    keys = pl.DataFrame({"trip_id": ["a", "a", "b", "ab", "", "b"], "stop_sequence": [1, 2, 1, 9, 3, 3]})
    frame = pl.concat(
        keys.with_columns(
            service_date=pl.lit(DAY + timedelta(days)), stop_sequence=pl.col("stop_sequence").cast(pl.Int32)
        )
        for days in range(2)
    ).select(VISITS.key)
    shuffled = frame.sample(fraction=1, shuffle=True, seed=seed)
    assert ordered_by_key(shuffled, VISITS).equals(frame.sort(VISITS.key))


def test_sorted_rows_are_not_copied():
    frame = visits()
    assert ordered_by_key(frame, VISITS) is frame
    assert ordered_by_key(frame.clear(), VISITS).is_empty()
    twice = pl.concat([frame, frame])
    without_key = frame.with_columns(trip_id=pl.Series(["a", None, "b"]))
    for other in (twice, without_key, frame.reverse()):
        assert ordered_by_key(other, VISITS).equals(other.sort(VISITS.key))


def test_version_does_not_depend_on_order_or_chunks():
    frame = visits()
    pieces = pl.concat([frame[2:], frame[:1], frame[1:2]], rechunk=False)
    assert content_hash(pieces, VISITS) == content_hash(frame, VISITS)


def test_version_is_the_same_on_every_machine():
    assert content_hash(visits(), VISITS) == "70599c82fae9f950834cd43174ddade2"


@pytest.mark.parametrize(
    "columns",
    [
        {"load": [1.5, 0.0, 0.0]},
        {"load": [1.5000000000000002, None, 0.0]},
        {"counted": [True, False, False]},
        {"trip_id": ["a", "a", "bb"]},
        {"trip_id": ["", "aa", "b"]},
        {"capacity": [80, 80, 0]},
        {"departure": [datetime(2026, 11, 20, hour, microsecond=1, tzinfo=UTC) for hour in (6, 7, 8)]},
    ],
)
def test_version_changes_with_any_value(columns):
    assert content_hash(visits(**columns), VISITS) != content_hash(visits(), VISITS)


def test_negative_zero_and_nan_bits_do_not_change_the_version():
    nan = float("nan")
    assert content_hash(visits(load=[-0.0, nan, 1.0]), VISITS) == content_hash(
        visits(load=[0.0, -nan, 1.0]), VISITS
    )


def test_new_optional_column_keeps_earlier_versions():
    wider = replace(VISITS, columns=(*VISITS.columns, Column("seats", "int32", "Seats", required=False)))
    frame = visits()
    assert content_hash(frame.with_columns(seats=pl.lit(None, pl.Int32)), wider) == content_hash(
        frame, VISITS
    )
