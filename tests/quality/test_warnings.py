"""WARN checks compare a date with its usual values, its timetable and its vehicles. They never block."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import date, timedelta

import polars as pl
import pytest

from ruter_dagster.contracts.checks import CHECKS, Check
from ruter_dagster.contracts.errors import PermanentFailure
from ruter_dagster.contracts.tables import PLANNED_DEPARTURES, STOP_VISITS
from ruter_dagster.quality.check import check_table
from ruter_dagster.quality.profile import profile
from ruter_dagster.quality.report import CheckResult, QualityReport, profiles_of
from tests.quality.frames import DAY, planned, visits

WEEKS = [DAY - timedelta(weeks=week) for week in range(1, 5)]


def history(days: Sequence[date] = WEEKS) -> pl.DataFrame:
    return profile(STOP_VISITS, visits(*days))


def warned(report: QualityReport, day: date = DAY) -> tuple[str, ...]:
    return report.verdicts[day].warned


def with_counts(factor: int) -> pl.DataFrame:
    counts = pl.col("boardings", "alightings", "departure_load")
    return visits(DAY).with_columns((counts * factor).cast(pl.Int32), total_capacity=900)


UNUSUAL = [
    (visits(DAY, journeys=12), {"rows_near_usual"}, "statistic=rows, value=60.0, usual=100.0"),
    (
        with_counts(2),
        {"boardings_near_usual", "loads_near_usual"},
        "mean load of metro, value=8.0, usual=4.0",
    ),
    (
        with_counts(0),
        {"boardings_near_usual", "loads_near_usual", "zero_loads_near_usual"},
        "share of zero loads, value=1.0, usual=0.2",
    ),
    (
        visits(DAY).with_columns(seats=pl.lit(None, pl.Int32)),
        {"nulls_near_usual"},
        "share of nulls in seats, value=1.0, usual=0.0",
    ),
]


@pytest.mark.parametrize(("frame", "checks", "shown"), UNUSUAL, ids=[sorted(case[1])[-1] for case in UNUSUAL])
def test_unusual_date_warns_and_passes(frame: pl.DataFrame, checks: set[str], shown: str) -> None:
    report = check_table(STOP_VISITS, frame.cast({"total_capacity": pl.Int32}), [DAY], reference=history())

    assert set(warned(report)) == checks
    assert shown in report.message
    assert report.passed
    assert report.verdicts[DAY].passed


def test_usual_date_does_not_warn() -> None:
    report = check_table(STOP_VISITS, visits(DAY), [DAY], reference=history())
    observed = {result.name: result.observed for result in report.results}

    assert warned(report) == ()
    assert observed["rows_near_usual"] == "1 times the usual rows"


@pytest.mark.parametrize(
    "known",
    [
        WEEKS[:2],
        [DAY - timedelta(days=days) for days in (1, 2, 3, 4)],
        [DAY + timedelta(weeks=week) for week in (1, 2, 3)],
        [DAY - timedelta(weeks=week) for week in (9, 10, 11)],
    ],
    ids=["two dates", "other weekdays", "later dates", "older than eight weeks"],
)
def test_only_same_weekdays_of_earlier_weeks_are_usual(known: list[date]) -> None:
    report = check_table(STOP_VISITS, visits(DAY, journeys=12), [DAY], reference=history(known))
    observed = {result.name: result.observed for result in report.results}

    assert observed["rows_near_usual"] == "not judged: not enough data to measure it"


def test_earlier_dates_of_a_range_are_history() -> None:
    frame = pl.concat([visits(*WEEKS), visits(DAY, journeys=12)])
    report = check_table(STOP_VISITS, frame, [*WEEKS, DAY])

    assert {day for day, verdict in report.verdicts.items() if verdict.warned} == {DAY}


def test_recorded_summaries_serve_as_history() -> None:
    earlier = check_table(STOP_VISITS, visits(*WEEKS), WEEKS)
    recorded = [json.loads(json.dumps(earlier.summary(day))) for day in WEEKS]

    report = check_table(STOP_VISITS, visits(DAY, journeys=12), [DAY], reference=profiles_of(recorded))

    assert profiles_of(recorded).equals(earlier.profile)  # pyright: ignore[reportOptionalMemberAccess]
    assert warned(report) == ("rows_near_usual",)


def test_history_without_a_new_column_serves_other_columns() -> None:
    earlier = history().drop("share of nulls in seats", "mean of boardings")
    report = check_table(STOP_VISITS, visits(DAY, journeys=12), [DAY], reference=earlier)

    assert warned(report) == ("rows_near_usual",)


def test_planned_journeys_without_a_visit_warn() -> None:
    report = check_table(STOP_VISITS, visits(DAY, journeys=17), [DAY], plan=planned(DAY))

    assert warned(report) == ("journeys_as_planned",)
    assert "0.15 of the planned journeys missing; fails on 2026-11-20" in report.message
    assert "date=2026-11-20, trip_id=journey-17" in report.message


def test_vehicles_that_lose_passengers_warn() -> None:
    broken = pl.col("vehicle_id") == "train-1"
    lost = pl.when(broken).then(0).otherwise("alightings").cast(pl.Int32)
    report = check_table(STOP_VISITS, visits(DAY, journeys=80).with_columns(alightings=lost), [DAY])

    assert warned(report) == ("vehicles_balanced",)
    assert "vehicle_id=train-1, passengers=200, imbalance=1.0" in report.message


def test_table_without_counts_has_no_count_checks() -> None:
    report = check_table(PLANNED_DEPARTURES, planned(DAY), [DAY])

    of_counts = {"boardings_near_usual", "loads_near_usual", "zero_loads_near_usual"}
    assert of_counts.isdisjoint(result.name for result in report.results)


@pytest.mark.parametrize(("unknown", "expected"), [(0.1, ()), (0.2, ("few_unknown_seats",))])
def test_departures_without_seats_warn_by_their_share(unknown: float, expected: tuple[str, ...]) -> None:
    plan = planned(DAY).with_row_index("row")
    known = pl.col("row") >= round(unknown * plan.height)
    plan = plan.with_columns(seats=pl.when(known).then(pl.lit(40, pl.Int32))).drop("row")
    report = check_table(PLANNED_DEPARTURES, plan, [DAY])
    assert report.passed
    assert warned(report) == expected


@pytest.mark.parametrize(
    ("bounds", "measures", "measured"),
    [
        ((None, 0.1), (0.02, 0.3, None), 0.3),
        ((1, None), (40, 0), 0),
        ((0.5, 1.6), (1.0, 0.4, 1.65), 0.4),
        ((0.5, 1.6), (None,), None),
    ],
)
def test_measured_value_is_farthest_out_of_bounds(
    bounds: tuple[float | None, float | None], measures: tuple[float | None, ...], measured: float | None
) -> None:
    check = Check("a_check", STOP_VISITS.name, "WARN", "", "rows", *bounds)
    by_date = {DAY + timedelta(days): value for days, value in enumerate(measures)}
    assert CheckResult(check, by_date, frozenset()).measured == measured


def test_a_check_without_a_measure_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    forgotten = Check(
        "few_ghosts", STOP_VISITS.name, "WARN", "Few ghosts", "of the visits by ghosts", maximum=0.1
    )
    monkeypatch.setitem(CHECKS, STOP_VISITS.name, (*CHECKS[STOP_VISITS.name], forgotten))

    with pytest.raises(
        PermanentFailure, match=r"few_ghosts of raw.stop_visits has no measure.*quality/coverage_checks.py"
    ):
        check_table(STOP_VISITS, visits(DAY), [DAY])


def test_a_check_against_the_usual_without_a_measure_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    forgotten = Check("ghosts_near_usual", STOP_VISITS.name, "WARN", "Ghosts", "times the usual", maximum=2)
    monkeypatch.setitem(CHECKS, STOP_VISITS.name, (*CHECKS[STOP_VISITS.name], forgotten))

    with pytest.raises(PermanentFailure, match="ghosts_near_usual"):
        check_table(STOP_VISITS, visits(DAY), [DAY])
