"""Balancing: every trip starts and ends empty, no load is negative, and inconsistent trips have a lower weight or no load.

Passengers who stay on board from trip to trip: test_carry_over.py.
"""

from datetime import UTC, date, datetime, timedelta

import numpy as np
import polars as pl
import pytest
from polars.testing import assert_frame_equal

from ruter_dagster.contracts.tables import STOP_LOADS, STOP_VISITS
from ruter_dagster.contracts.validation import conform, polars_schema, validate
from ruter_dagster.forecasting.counts import (
    COUNT_VARIANCE,
    STANDARD_ERRORS,
    balance,
    balance_summary,
    door_imbalance,
    vehicle_imbalance,
)

DAY = date(2026, 11, 20)
OSLO = "Europe/Oslo"


def visits(
    boardings=None,
    alightings=None,
    loads=None,
    *,
    trip="1",
    vehicle="v1",
    day=DAY,
    capacity: int | None = 100,
):
    """One trip's stop visits, from what was counted at its stops."""
    stops = len(boardings or alightings or loads)
    departures = [
        datetime(day.year, day.month, day.day, 7, tzinfo=UTC) + timedelta(minutes=2 * i) for i in range(stops)
    ]
    nothing = [None] * stops
    return conform(
        pl.DataFrame(
            {
                "service_date": [day] * stops,
                "trip_id": [trip] * stops,
                "stop_sequence": list(range(1, stops + 1)),
                "trip_id_performed": [trip] * stops,
                "line_id": ["31"] * stops,
                "mode": ["bus"] * stops,
                "direction_id": [0] * stops,
                "stop_id": [f"s{i}" for i in range(stops)],
                "vehicle_id": [vehicle] * stops,
                "scheduled_departure_time": departures,
                "actual_departure_time": departures,
                "boardings": boardings or nothing,
                "alightings": alightings or nothing,
                "departure_load": loads or nothing,
                "seats": [40] * stops,
                "total_capacity": [capacity] * stops,
                "block_id": nothing,
            },
            schema_overrides=polars_schema(STOP_VISITS),
        ),
        STOP_VISITS,
    )


def random_trips(trips: int, seed: int = 7) -> pl.DataFrame:
    """Trips of 2 to 30 stops whose passengers board and alight truly, counted with 10 % misses and some ghosts."""
    random = np.random.default_rng(seed)
    frames = []
    for trip in range(trips):
        stops = int(random.integers(2, 31))
        origin = random.integers(0, stops - 1, size=int(random.integers(0, 120)))
        destination = random.integers(origin + 1, stops)
        counts = [
            random.binomial(np.bincount(end, minlength=stops), 0.9) + random.poisson(0.1, stops)
            for end in (origin, destination)
        ]
        frames.append(
            visits(
                counts[0].tolist(), counts[1].tolist(), trip=str(trip), vehicle=f"v{trip % 5}", capacity=400
            )
        )
    return pl.concat(frames)


def test_consistent_trip_is_unchanged():
    loads = balance(visits([5, 3, 0], [0, 2, 6]), OSLO)
    assert loads["load"].to_list() == [5, 6, 0]
    assert loads["boardings"].to_list() == [5, 3, 0]
    assert loads["alightings"].to_list() == [0, 2, 6]
    assert loads["imbalance"].to_list() == [0, 0, 0]
    assert loads["weight"].to_list() == [1, 1, 1]


def test_difference_is_spread_in_proportion():
    loads = balance(visits([8, 4, 0], [0, 2, 6]), OSLO)
    assert loads["boardings"].to_list() == pytest.approx([8 * 10 / 12, 4 * 10 / 12, 0])
    assert loads["alightings"].to_list() == pytest.approx([0, 2 * 10 / 8, 6 * 10 / 8])
    assert loads["imbalance"][0] == pytest.approx(4 / 20)
    assert loads["weight"][0] == pytest.approx(1 - 2 * 3 / 20)


def test_random_trips_end_empty_and_no_load_is_negative():
    raw = random_trips(300)
    loads = balance(raw, OSLO)
    validate(loads, STOP_LOADS, {DAY})
    ends = loads.group_by("trip_id").agg(pl.all().sort_by("stop_sequence").last())
    assert ends["load"].max() == 0
    assert loads.height == raw.height


def test_load_is_boardings_minus_alightings():
    loads = balance(random_trips(300), OSLO)
    change = pl.col("boardings") - pl.col("alightings")
    assert_frame_equal(
        loads.select(change.cum_sum().over("trip_id").alias("load")), loads.select("load"), abs_tol=1e-4
    )


def test_trip_passengers_are_the_mean_of_both_sides():
    raw = random_trips(300)
    sums = balance(raw, OSLO).group_by("trip_id").agg(pl.col("boardings", "alightings").sum())
    counted = raw.group_by("trip_id").agg(
        ((pl.col("boardings") + pl.col("alightings")).sum() / 2).alias("passengers"),
        pl.min_horizontal(pl.col("boardings").sum(), pl.col("alightings").sum()).alias("smaller_side"),
    )
    both = sums.join(counted.filter(pl.col("smaller_side") > 0), on="trip_id")
    assert both.height > 200
    assert_frame_equal(both.select(a="boardings"), both.select(a="alightings"), abs_tol=1e-3)
    assert (both["boardings"] <= both["passengers"] + 1e-3).all()
    assert ((both["boardings"] - both["passengers"]).abs() < 1e-3).mean() > 0.7


def test_balancing_twice_changes_nothing():
    once = balance(random_trips(100), OSLO)
    counted_again = once.drop("initial_load", "final_load").with_columns(
        departure_load=pl.lit(None, pl.Int32),
        actual_departure_time=pl.lit(None, pl.Datetime("us", "UTC")),
        block_id=pl.lit(None, pl.String),
    )
    twice = balance(counted_again, OSLO)
    columns = ["trip_id", "stop_sequence", "boardings", "alightings", "load"]
    assert_frame_equal(once.select(columns), twice.select(columns), abs_tol=1e-3)


def test_impossible_alightings_are_removed_on_both_sides():
    loads = balance(visits([0, 6, 0], [3, 0, 3]), OSLO)
    assert loads["load"].to_list() == [0, 3, 0]
    assert loads["boardings"].to_list() == [0, 3, 0]
    assert loads["alightings"].to_list() == [0, 0, 3]
    assert loads["weight"][0] == pytest.approx(0.5)


def test_loads_without_counts_stay_unbalanced():
    loads = balance(visits(loads=[3, 7, 5]), OSLO)
    assert loads["load"].to_list() == [3, 7, 5]
    assert loads["boardings"].null_count() == 3
    assert loads["imbalance"].null_count() == 3
    assert loads["weight"].to_list() == [1, 1, 1]


def test_missing_counts_are_zero_and_lower_the_weight():
    loads = balance(visits([4, None, 0, 0], [0, None, 2, 2]), OSLO)
    assert loads["load"].to_list() == [4, 4, 2, 0]
    assert loads["weight"][0] == pytest.approx(0.75)


IRRECONCILABLE = {
    "a stray count on an empty trip": visits([0, 0, 0, 0], [0, 0, 71, 0]),
    "a dead sensor": visits([4, 2, 0], [0, 0, 0]),
    "one side three times the other and two more": visits([8, 3, 0], [0, 1, 2]),
    "alightings before anyone boarded": visits([0, 0, 5], [5, 0, 0]),
    "loads beyond twice the capacity": visits([300, 0], [0, 300], capacity=100),
    "no count at all": visits([None, None], [None, None]),
}


@pytest.mark.parametrize("raw", IRRECONCILABLE.values(), ids=IRRECONCILABLE)
def test_irreconcilable_trip_has_no_load(raw):
    loads = balance(raw, OSLO)
    validate(loads, STOP_LOADS, {DAY})
    assert set(loads["weight"]) == {0.0}
    assert loads.select("load", "boardings", "alightings").null_count().row(0) == (raw.height,) * 3


NEARLY = {
    "a single stray count": visits([0, 0], [0, 1]),
    "one side three times the other and one more": visits([8, 2, 0], [0, 1, 2]),
    "one passenger remains": visits([0, 1, 5], [5, 0, 1]),
    "loads of just twice the capacity": visits([200, 0], [0, 200], capacity=100),
    "capacity unknown": visits([300, 0], [0, 300], capacity=None),
    "a single counted visit": visits([2, None, 0], [0, None, 2]),
}


@pytest.mark.parametrize("raw", NEARLY.values(), ids=NEARLY)
def test_just_reconcilable_trip_has_a_load(raw):
    loads = balance(raw, OSLO)
    validate(loads, STOP_LOADS, {DAY})
    assert loads["weight"].min() > 0  # pyright: ignore[reportOperatorIssue, reportOptionalOperand]
    assert loads["load"].null_count() == 0


def test_trip_without_load_does_not_affect_others():
    good = random_trips(20)
    stray = visits([0, 0, 0], [0, 71, 0], trip="stray", vehicle="v1")
    assert_frame_equal(
        balance(pl.concat([good, stray]), OSLO).filter(pl.col("trip_id") != "stray"), balance(good, OSLO)
    )


def test_visit_without_load_has_none_in_loads_only_trips():
    loads = balance(visits(loads=[3, None, 5]), OSLO)
    validate(loads, STOP_LOADS, {DAY})
    assert loads["load"].to_list() == [3, None, 5]
    assert loads["weight"].to_list() == [1, 0, 1]


def test_same_trip_id_on_two_dates_is_two_trips():
    days = [DAY, DAY + timedelta(days=1)]
    loads = balance(pl.concat(visits([2, 0], [0, 2], day=day) for day in days), OSLO)
    assert loads["load"].to_list() == [2, 0, 2, 0]


def test_summary_counts_flagged_trips_and_names_the_worst_vehicle():
    raw = pl.concat(
        [visits([150, 0], [0, 150], trip="1"), visits([150, 0], [0, 100], trip="2", vehicle="v2")]
    )
    summary = balance_summary(raw, balance(raw, OSLO))
    assert (summary.trips, summary.counted_trips, summary.flagged_trips) == (2, 2, 1)
    assert (summary.trips_without_load, summary.trips_carrying_over) == (0, 0)
    assert (summary.worst_vehicle, summary.worst_vehicle_imbalance) == ("v2", 0.2)


def test_summary_counts_trips_without_a_load():
    raw = pl.concat([visits([5, 0], [0, 5]), visits([0, 0], [71, 0], trip="2")])
    summary = balance_summary(raw, balance(raw, OSLO))
    assert (summary.counted_trips, summary.trips_without_load) == (2, 1)


def test_vehicle_with_few_passengers_has_no_imbalance():
    assert vehicle_imbalance(visits([5, 0], [0, 1])).is_empty()


def test_summary_without_counts_has_no_imbalance():
    raw = visits(loads=[3, 7, 5])
    summary = balance_summary(raw, balance(raw, OSLO))
    assert (summary.counted_trips, summary.mean_imbalance) == (0, None)


def test_door_imbalance_subtracts_standard_errors_of_a_ratio():
    random = np.random.default_rng(1)
    alighted = random.integers(20, 60, 9)
    boarded = random.binomial(alighted, 0.7)
    trips = pl.DataFrame({"boardings": boarded, "alightings": alighted}).select(
        pl.lit(date(2026, 11, 18)).alias("service_date"), pl.lit("bus").alias("mode"), pl.lit("v").alias("vehicle_id"), pl.all()
    )  # fmt: skip
    difference, counted = boarded - alighted, boarded + alighted
    ratio = difference.sum() / counted.sum()
    variance = 9 / 8 * ((difference - ratio * counted) ** 2).sum() + COUNT_VARIANCE * counted.sum()
    expected = -ratio - STANDARD_ERRORS * variance**0.5 / counted.sum()
    assert 0.05 < expected < -ratio
    assert door_imbalance(trips)["door_imbalance"].to_list() == [pytest.approx(expected)]
