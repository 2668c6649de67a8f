"""Each ERROR check fails for its own fault, and the message names the table, the rule and the rows."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import polars as pl
import pytest

from ruter_dagster.config.operator import RejectLimits
from ruter_dagster.contracts.tables import (
    PLANNED_DEPARTURES,
    STOP_LOADS,
    STOP_VISITS,
    WEATHER_FORECASTS,
    Table,
)
from ruter_dagster.quality.check import check_table
from ruter_dagster.quality.report import QualityReport
from tests.quality.frames import DAY, change, loads, planned, visits

WEATHER = pl.DataFrame(
    {
        "issue_date": [DAY] * 2,
        "service_date": [DAY] * 2,
        "slot_hour": pl.Series([6, 7], dtype=pl.Int32),
        "temperature": [1.0, 2.0],
        "precipitation": [0.0, 0.5],
        "wind_speed": [3.0, 4.0],
    }
)
GOOD = [
    (STOP_VISITS, visits(DAY)),
    (PLANNED_DEPARTURES, planned(DAY)),
    (WEATHER_FORECASTS, WEATHER),
    (WEATHER_FORECASTS, WEATHER.clear()),
    (STOP_LOADS, loads(DAY)),
]


def failed(report: QualityReport) -> set[str]:
    return {result.name for result in report.results if not result.passed and result.severity == "ERROR"}


@pytest.mark.parametrize(("table", "frame"), GOOD, ids=lambda value: getattr(value, "name", ""))
def test_valid_rows_pass_every_check(table: Table, frame: pl.DataFrame) -> None:
    report = check_table(table, frame, [DAY], plan=planned(DAY))

    assert (report.passed, report.message) == (True, "")


FAULTS = [
    (STOP_VISITS, visits(DAY).drop("stop_id"), "columns_as_contracted", "column stop_id is missing"),
    (
        STOP_VISITS,
        visits(DAY).cast({"boardings": pl.String}),
        "columns_as_contracted",
        "column boardings should be Int32, found String",
    ),
    (STOP_VISITS, visits(DAY).clear(), "rows_present", "date=2026-11-20, rows=0"),
    (
        STOP_VISITS,
        pl.concat([visits(DAY), visits(DAY).head(1)]),
        "key_is_unique",
        "2 rows that share their key; fails on 2026-11-20",
    ),
    (
        STOP_VISITS,
        change(visits(DAY), "line_id", None),
        "required_values_present",
        "condition=line_id has a value, service_date=2026-11-20, trip_id=journey-0, stop_sequence=1",
    ),
    (STOP_VISITS, change(visits(DAY), "boardings", -3), "values_within_range", "boardings=-3"),
    (
        STOP_LOADS,
        change(loads(DAY), "weight", float("nan")),
        "values_within_range",
        "weight is a finite number",
    ),
    (STOP_VISITS, change(visits(DAY), "mode", "hovercraft"), "values_allowed", "mode=hovercraft"),
    (
        STOP_VISITS,
        change(visits(DAY), "departure_load", 181),
        "load_within_twice_the_capacity",
        "departure_load <= 2 * total_capacity), service_date=2026-11-20, trip_id=journey-0, stop_sequence=1, "
        "total_capacity=90, departure_load=181",
    ),
    (
        STOP_VISITS,
        change(visits(DAY), "stop_id", "Atlantis", rows=11),
        "few_visits_at_unknown_stops",
        "stop_id=Atlantis, rows=11, trip_id_performed=journey-0-performed",
    ),
    (
        PLANNED_DEPARTURES,
        change(planned(DAY), "scheduled_departure_time", datetime(2026, 11, 24, tzinfo=UTC)),
        "dates_within_partition",
        "scheduled_departure_time lies on service_date, service_date=2026-11-20, trip_id=journey-0, stop_sequence=1, "
        "scheduled_departure_time=2026-11-24T00:00:00",
    ),
    (
        WEATHER_FORECASTS,
        change(WEATHER, "service_date", DAY - timedelta(days=1)),
        "ahead_of_issue",
        "service_date=2026-11-19",
    ),
]


@pytest.mark.parametrize(("table", "frame", "check", "message"), FAULTS, ids=[fault[2] for fault in FAULTS])
def test_fault_fails_its_check_and_is_shown(
    table: Table, frame: pl.DataFrame, check: str, message: str
) -> None:
    report = check_table(table, frame, [DAY], plan=planned(DAY))

    assert not report.passed
    assert check in failed(report)
    assert f"{table.name}: ERROR {check}: " in report.message
    assert message in report.message
    assert message.partition(" (")[0].split("=")[-1] in report.html


def test_examples_of_different_conditions_share_columns() -> None:
    report = check_table(STOP_VISITS, change(change(visits(DAY), "boardings", -3), "seats", -1), [DAY])
    examples = next(result.examples for result in report.results if result.name == "values_within_range")

    assert [(row["condition"], row["boardings"], row["seats"]) for row in examples] == [
        ("boardings >= 0", -3, None),
        ("seats >= 0", None, -1),
    ]


def test_wrong_columns_fail_every_blocking_check() -> None:
    report = check_table(STOP_VISITS, visits(DAY).drop("stop_id"), [DAY])

    assert failed(report) == {result.name for result in report.results if result.severity == "ERROR"}


def test_passengers_after_the_last_stop_fail_the_checks() -> None:
    last = pl.col("stop_sequence") == 5
    frame = loads(DAY).with_columns(load=pl.when(last).then(2.0).otherwise("load"))

    assert failed(check_table(STOP_LOADS, frame, [DAY])) == {"trips_end_empty", "loads_follow_counts"}


CARRIED = {"initial_load": 3.0, "final_load": 2.0}
"""Three passengers are on board before the first stop, and two after the last stop."""


def carried() -> pl.DataFrame:
    """Loads of trips with passengers on board before the first and after the last stop."""
    last = pl.col("stop_sequence") == 5
    return loads(DAY).with_columns(
        load=pl.when(last).then(2.0).otherwise(pl.col("load") + 3.0),
        alightings=pl.when(last).then(pl.col("alightings") + 1.0).otherwise("alightings"),
        **{name: pl.lit(value) for name, value in CARRIED.items()},
    )


def test_carried_over_passengers_pass() -> None:
    assert check_table(STOP_LOADS, carried(), [DAY]).message == ""


@pytest.mark.parametrize(
    ("column", "check"), [("initial_load", "loads_follow_counts"), ("final_load", "trips_end_empty")]
)
def test_loads_without_their_carried_over_passengers_fail(column: str, check: str) -> None:
    frame = carried().with_columns(pl.lit(None, pl.Float64).alias(column))

    assert failed(check_table(STOP_LOADS, frame, [DAY])) == {check}


def test_trips_without_a_load_pass() -> None:
    without_load = pl.col("trip_id") == "journey-1"
    columns = [
        pl.when(~without_load).then(name).otherwise(None).alias(name)
        for name in ("load", "boardings", "alightings")
    ]
    frame = loads(DAY).with_columns(*columns, weight=pl.when(without_load).then(0.0).otherwise(1.0))
    report = check_table(STOP_LOADS, frame, [DAY])

    assert report.message == ""
    assert failed(check_table(STOP_LOADS, frame.with_columns(weight=1.0), [DAY])) == {"load_where_weight"}


def test_load_that_differs_from_its_counts_fails() -> None:
    report = check_table(STOP_LOADS, change(loads(DAY), "load", 9.0), [DAY])

    assert failed(report) == {"loads_follow_counts"}
    assert "boardings=4.0, alightings=0.0, load=9.0" in report.message


def test_counts_are_not_judged_without_boardings() -> None:
    none = pl.lit(None, pl.Float64)
    frame = loads(DAY).with_columns(boardings=none, alightings=none, imbalance=none, load=5.0)

    report = check_table(STOP_LOADS, frame, [DAY])
    observed = {result.name: result.observed for result in report.results}

    assert report.passed
    for check in ("trips_end_empty", "loads_follow_counts", "boardings_near_usual"):
        assert observed[check] == "not judged: not enough data to measure it"


def test_stop_points_are_not_judged_without_a_timetable() -> None:
    report = check_table(STOP_VISITS, change(visits(DAY), "stop_id", "Atlantis"), [DAY])
    outcomes = {result.name: result.outcome for result in report.results}

    assert report.passed
    assert (outcomes["stop_points_known"], outcomes["key_is_unique"]) == ("not judged", "passed")
    assert {"stop_points_known", "few_visits_at_unknown_stops"} <= set(report.verdicts[DAY].not_judged)
    assert '<h3>stop_points_known <span class="not-judged">not judged</span></h3>' in report.html


def test_date_without_a_timetable_is_compared_with_earlier_stops() -> None:
    earlier = planned(DAY)["stop_id"].unique()
    frame = change(visits(DAY), "stop_id", "Atlantis", rows=11)

    assert check_table(STOP_VISITS, visits(DAY), [DAY], earlier_stops=earlier).verdicts[DAY].failed == ()
    report = check_table(STOP_VISITS, frame, [DAY], earlier_stops=earlier)
    assert report.verdicts[DAY].failed == ("few_visits_at_unknown_stops",)
    assert "stop_id=Atlantis" in report.message


def test_date_with_a_timetable_ignores_earlier_stops() -> None:
    frame = change(visits(DAY), "stop_id", "Atlantis", rows=11)
    report = check_table(STOP_VISITS, frame, [DAY], plan=planned(DAY), earlier_stops=pl.Series(["Atlantis"]))

    assert report.verdicts[DAY].failed == ("few_visits_at_unknown_stops",)


def at_atlantis(trips: int) -> pl.DataFrame:
    """Visits of a date, one of each of the first trips at an unplanned stop point."""
    is_changed = (pl.col("stop_sequence") == 3) & pl.col("trip_id").is_in(
        [f"journey-{n}" for n in range(trips)]
    )
    stop = pl.when(is_changed).then(pl.lit("Atlantis")).otherwise("stop_id")
    return visits(DAY, journeys=100).with_columns(stop_id=stop)


@pytest.mark.parametrize(
    ("trips", "share", "outcome"),
    [(0, 0.02, "passed"), (1, 0.02, "warning"), (10, 0.02, "warning"), (11, 0.02, "failed"), (11, 0.05, "warning"), (3, 0, "failed")],
)  # fmt: skip
def test_visits_at_unknown_stops_beyond_the_limit_block(trips: int, share: float, outcome: str) -> None:
    """The date has 500 visits."""
    limits = RejectLimits(share_of_date=share)  # pyright: ignore[reportCallIssue]
    report = check_table(
        STOP_VISITS, at_atlantis(trips), [DAY], plan=planned(DAY, journeys=100), limits=limits
    )

    verdict = report.verdicts[DAY]
    assert verdict.failed == (("few_visits_at_unknown_stops",) if outcome == "failed" else ())
    assert ("stop_points_known" in verdict.warned) == (trips > 0)
    assert (f"stop_id=Atlantis, rows={trips}" in report.message) == (trips > 0)


def test_visits_of_two_trips_at_unknown_stops_never_block() -> None:
    frame = visits(DAY, journeys=2).with_columns(stop_id=pl.lit("Atlantis"))
    report = check_table(STOP_VISITS, frame, [DAY], plan=planned(DAY, journeys=2))

    assert report.passed
    assert "few_visits_at_unknown_stops" in report.verdicts[DAY].not_judged
    assert report.verdicts[DAY].warned == ("stop_points_known",)


def test_only_dates_without_a_timetable_are_not_judged() -> None:
    days = [DAY, DAY + timedelta(days=1)]
    report = check_table(STOP_VISITS, visits(*days), days, plan=planned(DAY))
    result = next(result for result in report.results if result.name == "stop_points_known")

    assert (result.outcome, dict(result.measures)) == ("passed", {days[0]: 0, days[1]: None})
    assert "(not judged on 1 of 2 dates)" in result.observed


def test_bad_date_does_not_fail_other_dates() -> None:
    days = [DAY + timedelta(days=offset) for offset in range(3)]
    bad = pl.col("service_date") == days[1]
    frame = visits(*days).with_columns(boardings=pl.when(bad).then(-1).otherwise("boardings").cast(pl.Int32))

    report = check_table(STOP_VISITS, frame, days)

    assert not report.passed
    assert {day: verdict.failed for day, verdict in report.verdicts.items()} == {
        days[0]: (),
        days[1]: ("values_within_range",),
        days[2]: (),
    }


def test_date_without_rows_fails_alone() -> None:
    absent = DAY + timedelta(days=1)
    report = check_table(STOP_VISITS, visits(DAY), [DAY, absent])

    assert report.verdicts[DAY].passed
    assert report.verdicts[absent].failed == ("rows_present",)


@pytest.mark.parametrize("other_date", [date(2026, 11, 21), None])
def test_rows_outside_the_dates_fail_every_date(other_date: date | None) -> None:
    days = [DAY, date(2026, 11, 22)]
    report = check_table(STOP_VISITS, change(visits(*days), "service_date", other_date, rows=3), days)

    assert all("dates_within_partition" in verdict.failed for verdict in report.verdicts.values())
