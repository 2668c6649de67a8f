"""The job forecast skips dates without service or levels."""

from __future__ import annotations

from datetime import date, timedelta
from pathlib import Path

import pytest

from ruter_dagster.contracts.errors import NoDataForDates
from ruter_dagster.contracts.features import DEPARTURE_FEATURES, LEVELS
from ruter_dagster.contracts.jobs import Features, Forecast, Levels, Snapshot
from ruter_dagster.contracts.tables import LOAD_FORECASTS, PLANNED_DEPARTURES, WEATHER_FORECASTS
from tests.jobs.demo_jobs import quality_check, run, run_loads

ISSUED = date(2026, 11, 20)
AFTER = ISSUED + timedelta(1)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Loads up to the day before the issue date. The issue date and the second day after it have no service."""
    run_loads(tmp_path, *(ISSUED - timedelta(days) for days in range(14, 0, -1)))
    planned = (ISSUED + timedelta(1), ISSUED + timedelta(3))
    for parameters in (
        Snapshot(table=PLANNED_DEPARTURES.name, dates=planned, of_range=True),
        quality_check(PLANNED_DEPARTURES, *planned),
        Features(dates=planned, of_range=True),
        quality_check(DEPARTURE_FEATURES, *planned),
        Snapshot(table=WEATHER_FORECASTS.name, dates=(ISSUED, AFTER), of_range=True),
        quality_check(WEATHER_FORECASTS, ISSUED, AFTER),
        Levels(dates=(ISSUED,)),
        quality_check(LEVELS, ISSUED),
    ):
        run(parameters, tmp_path)
    return tmp_path


def test_dates_without_service_have_no_forecasts(folder: Path) -> None:
    store = run(Forecast(dates=(ISSUED,)), folder).store
    dates = set(store.read(LOAD_FORECASTS, [ISSUED])["operating_date"])
    assert dates == {ISSUED + timedelta(1), ISSUED + timedelta(3)}


def test_issue_dates_without_levels_are_left_out_of_a_range(folder: Path) -> None:
    """Examples: a Monday after a Sunday without service, or issue dates before the first counts."""
    dates = (ISSUED - timedelta(30), ISSUED, AFTER)
    store = run(Forecast(dates=dates, of_range=True), folder).store
    assert store.dates(LOAD_FORECASTS) == [ISSUED]


def test_issue_date_without_planned_departures_is_an_error(folder: Path) -> None:
    without_plan = ISSUED - timedelta(7)
    run(Levels(dates=(without_plan,)), folder)
    run(quality_check(LEVELS, without_plan), folder)
    with pytest.raises(
        NoDataForDates, match=f"features.departure_features has no service_date {without_plan}"
    ):
        run(Forecast(dates=(without_plan,)), folder)
    with pytest.raises(NoDataForDates, match="No departure is planned"):
        run(Forecast(dates=(without_plan,), of_range=True), folder)
