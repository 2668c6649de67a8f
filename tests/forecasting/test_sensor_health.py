"""Health of the counters and changes of the timetable: measured on the date of a fault, with the vehicles and lines concerned."""

from datetime import UTC, date, datetime, timedelta

import polars as pl
import pytest

from ruter_dagster.contracts.tables import PLANNED_DEPARTURES, STOP_LOADS
from ruter_dagster.contracts.validation import polars_schema
from ruter_dagster.forecasting.sensor_health import (
    SensorSums,
    absent_vehicles,
    counted_share,
    list_subjects,
    silent_lines,
    silent_vehicles,
    timetable_change,
    trip_gaps,
)

DAY = date(2026, 11, 20)
OSLO = "Europe/Oslo"
LINES, TRIPS, STOPS, VEHICLES = 4, 10, 5, 12


def trips(day: date, shift: int = 0) -> pl.DataFrame:
    """Journeys of 4 lines, each 10 times with 5 stops. Vehicles take turns over all journeys."""
    rows = [(line, trip, stop) for line in range(LINES) for trip in range(TRIPS) for stop in range(STOPS)]
    start = datetime(day.year, day.month, day.day, 6, tzinfo=UTC)
    return pl.DataFrame(
        {
            "service_date": [day] * len(rows),
            "trip_id": [f"{line}-{trip}" for line, trip, _ in rows],
            "stop_sequence": [stop for *_, stop in rows],
            "mode": ["bus"] * len(rows),
            "line_id": [f"line {line}" for line, *_ in rows],
            "direction_id": [0] * len(rows),
            "vehicle_id": [f"v{(line * TRIPS + trip) % VEHICLES:02}" for line, trip, _ in rows],
            "scheduled_departure_time": [
                start + timedelta(minutes=60 * trip + 2 * stop + shift) for _, trip, stop in rows
            ],
            "load": [20.0] * len(rows),
            "imbalance": [0.0] * len(rows),
        },
        schema_overrides={
            name: type_
            for table in (PLANNED_DEPARTURES, STOP_LOADS)
            for name, type_ in polars_schema(table).items()
            if name in ("stop_sequence", "direction_id", "scheduled_departure_time")
        },
    )


def sums(on_day: pl.DataFrame, plan: pl.DataFrame | None = None, days: int = 28) -> SensorSums:
    """Quiet dates before `DAY`, and the loads and plan of `DAY`."""
    before = [trips(DAY - timedelta(ago)) for ago in range(1, days + 1)]
    planned = pl.concat([*before, trips(DAY) if plan is None else plan])
    return SensorSums.of(pl.concat([*before, on_day]), planned, OSLO)


def without_counts(frame: pl.DataFrame, where: pl.Expr) -> pl.DataFrame:
    return frame.with_columns(load=pl.when(~where).then("load"))


def test_quiet_date_is_healthy():
    quiet = sums(trips(DAY))
    assert silent_vehicles(quiet, DAY) == (0.0, None)
    assert silent_lines(quiet, DAY) == (0.0, None)
    assert counted_share(quiet, DAY, 0.8) == (1.0, None)
    assert trip_gaps(quiet, DAY) == (0.0, None)
    assert timetable_change(quiet, DAY) == (0.0, None)
    assert absent_vehicles(quiet, DAY, [DAY - timedelta(7), DAY - timedelta(14)]) == (0.0, None)


@pytest.mark.parametrize("counts", [None, 0.0])
def test_vehicle_that_counts_nobody_is_silent(counts):
    failed = pl.col("vehicle_id") == "v03"
    day = trips(DAY).with_columns(load=pl.when(failed).then(pl.lit(counts, pl.Float64)).otherwise("load"))
    measured = silent_vehicles(sums(day), DAY)
    assert measured == (1.0, "v03 (4 trips)")


def test_vehicle_that_never_counted_is_not_silent():
    uncounted = pl.col("vehicle_id") == "v03"
    every = pl.concat([trips(DAY - timedelta(ago)) for ago in range(22)])
    assert silent_vehicles(SensorSums.of(without_counts(every, uncounted), None, OSLO), DAY).value == 0


def test_vehicles_that_stay_away_are_absent():
    day = trips(DAY).filter(~pl.col("vehicle_id").is_in(["v01", "v02", "v03"]))
    measured = absent_vehicles(sums(day), DAY, [DAY - timedelta(7), DAY - timedelta(14)])
    assert measured == (0.25, "v01, v02, v03")


def test_line_without_counts_is_silent():
    measured = silent_lines(sums(trips(DAY).filter(pl.col("line_id") != "line 2")), DAY)
    assert measured == (1.0, "line 2 (50 departures)")


def test_line_without_planned_departures_is_not_silent():
    rest = trips(DAY).filter(pl.col("line_id") != "line 2")
    assert silent_lines(sums(rest, plan=rest), DAY) == (0.0, None)


def test_counted_share_names_lines_that_lost_counts():
    lost = (pl.col("line_id") == "line 1") & pl.col("trip_id").str.ends_with("3").not_()
    measured = counted_share(sums(without_counts(trips(DAY), lost)), DAY, 0.8)
    assert measured.value == pytest.approx(1 - 45 / 200)
    assert measured.detail == "line 1 (10%, usually 100%)"


def test_counts_that_cannot_be_reconciled_are_counts():
    broken = trips(DAY).with_columns(load=pl.lit(None, pl.Float64), imbalance=pl.lit(1.0))
    assert counted_share(sums(broken), DAY, 0.8).value == 1.0
    assert silent_vehicles(sums(broken), DAY).value == 0


@pytest.mark.parametrize("days", [1, 25, 50])
def test_lasting_fault_does_not_become_usual(days):
    """For `days` dates, one vehicle counts nobody, one line does not report, and another is not counted."""
    fault = (pl.col("vehicle_id") == "v03") | (pl.col("line_id") == "line 2")
    lost = (pl.col("line_id") == "line 1") | fault
    dates = [DAY - timedelta(ago) for ago in range(56)]
    loads = [
        without_counts(trips(day), lost).filter(pl.col("line_id") != "line 2")
        if DAY - day < timedelta(days)
        else trips(day)
        for day in dates
    ]
    lasting = SensorSums.of(pl.concat(loads), pl.concat(map(trips, dates)), OSLO)
    assert (silent_vehicles(lasting, DAY).value or 0) >= 1
    assert silent_lines(lasting, DAY).value == 2
    assert 0 < (counted_share(lasting, DAY, 0.8).value or 0) < 0.5


def test_gaps_are_departures_without_counts_in_counted_trips():
    gap = (pl.col("line_id") == "line 0") & (pl.col("stop_sequence") == 2)
    assert trip_gaps(sums(without_counts(trips(DAY), gap)), DAY) == (10 / 200, "line 0 (10 departures)")
    assert trip_gaps(sums(trips(DAY).filter(~gap)), DAY) == (10 / 200, "line 0 (10 departures)")


def test_lost_trip_is_no_gap():
    assert trip_gaps(sums(trips(DAY).filter(pl.col("trip_id") != "0-0")), DAY).value == 0


def test_shifted_line_changes_the_timetable():
    moved = pl.concat(
        [
            trips(DAY, 7).filter(pl.col("line_id") == "line 3"),
            trips(DAY).filter(pl.col("line_id") != "line 3"),
        ]
    )
    measured = timetable_change(sums(trips(DAY), plan=moved), DAY)
    assert measured == (20 / 50, "line 3 (20 journeys)")


def test_timetable_of_any_recent_date_is_no_change():
    """A public holiday has the timetable of the Sunday before."""
    sunday = trips(DAY - timedelta(5)).filter(pl.col("line_id") != "line 3")
    plans = [trips(DAY - timedelta(ago)) for ago in range(1, 22) if ago != 5]
    holiday = sunday.with_columns(
        service_date=pl.lit(DAY), scheduled_departure_time=pl.col("scheduled_departure_time") + timedelta(5)
    )
    planned = pl.concat([*plans, sunday, holiday])
    assert timetable_change(SensorSums.of(planned, planned, OSLO), DAY).value == 0


def test_changed_clocks_do_not_change_the_timetable():
    """Summer time ends on 25 October 2026: the same local times are an hour later in UTC."""
    day = date(2026, 10, 26)
    before = pl.concat([trips(day - timedelta(ago)) for ago in range(2, 12)])
    planned = pl.concat([before, trips(day, shift=60)])
    assert timetable_change(SensorSums.of(planned, planned, OSLO), day).value == 0


def test_little_history_is_unknown():
    first = SensorSums.of(trips(DAY), trips(DAY), OSLO)
    assert counted_share(first, DAY, 0.8).value is None
    assert timetable_change(first, DAY).value is None
    assert absent_vehicles(first, DAY, []).value is None


def test_date_without_loads_is_unknown():
    quiet, later = sums(trips(DAY)), DAY + timedelta(1)
    for measure in (silent_vehicles, silent_lines, trip_gaps, timetable_change):
        assert measure(quiet, later).value is None, measure.__name__
    assert counted_share(quiet, later, 0.8).value is None


def test_detail_lists_ten_subjects():
    assert list_subjects(str(number) for number in range(12)) == "0, 1, 2, 3, 4, 5, 6, 7, 8, 9 and 2 more"
    assert list_subjects(["a", "b"]) == "a, b"
    assert list_subjects([]) is None
