"""The first week of new lines, hours and stops on real loads, and the first months of an operator, two days ahead."""

from datetime import date, timedelta

import polars as pl
import pytest

from tests.forecasting.new_service import (
    NEW_FROM,
    aarhus,
    added_hours,
    forecasts,
    new_stop,
    renamed_line,
    renamed_stop,
    score,
)

pytestmark = pytest.mark.extended
A_YEAR_BEFORE = date(2022, 6, 1)
FIVE_MONTHS_BEFORE = date(2023, 4, 4)


@pytest.fixture(scope="module")
def known():
    return aarhus()


@pytest.mark.parametrize("history_start", [A_YEAR_BEFORE, FIVE_MONTHS_BEFORE])
def test_renamed_line_is_forecast_from_its_stops(known, history_start):
    loads, plan, calendar = known
    rows = forecasts(renamed_line(loads), renamed_line(plan), calendar, history_start=history_start)
    wape, bias, coverage = score(rows)
    assert set(rows["expected_tier"]) == {"stop_hour"}
    assert set(rows["source"]) == {"fallback"}
    assert wape <= 0.22
    assert abs(bias) <= 0.10
    # The goal is 90 % at most; with five months of history it is 91 % (docs/decisions/new-service.md).
    assert 0.70 <= coverage <= 0.91


def test_added_hours_are_forecast_by_the_hours_around_them(known):
    loads, plan, calendar = known
    hours = [9, 13, 17]
    loads, plan = (added_hours(hours, frame, calendar.time_zone) for frame in (loads, plan))
    rows = forecasts(loads, plan, calendar, history_start=A_YEAR_BEFORE)
    added = rows.filter(pl.col("slot_hour").is_in(hours))
    wape, bias, coverage = score(added)
    assert set(added["expected_tier"]) == {"neighbouring_hours"}
    assert wape <= 0.25
    assert abs(bias) <= 0.10
    assert 0.70 <= coverage <= 0.90


@pytest.mark.parametrize("stop_id", ["park_alle", "norreport"])
def test_new_stop_is_forecast_by_the_stops_around_it(known, stop_id):
    loads, plan, calendar = known
    loads, plan = (new_stop(stop_id, frame) for frame in (loads, plan))
    rows = forecasts(loads, plan, calendar, history_start=A_YEAR_BEFORE).filter(stop_id=stop_id)
    wape, bias, coverage = score(rows)
    assert set(rows["expected_tier"]) == {"journey"}
    assert wape <= 0.45
    assert abs(bias) <= 0.20
    assert 0.65 <= coverage <= 0.92


@pytest.mark.parametrize("stop_id", ["park_alle", "norreport"])
def test_renamed_stop_is_forecast_by_neighbouring_stops(known, stop_id):
    loads, plan, calendar = known
    loads, plan = (renamed_stop(stop_id, frame) for frame in (loads, plan))
    rows = forecasts(loads, plan, calendar, history_start=FIVE_MONTHS_BEFORE).filter(stop_id=f"{stop_id}_2")
    wape, bias, coverage = score(rows)
    assert wape <= 0.45
    assert abs(bias) <= 0.20
    assert 0.65 <= coverage <= 0.92


@pytest.mark.parametrize("dates", [14, 28, 56, 70, 150])
def test_first_months_are_hardly_worse_than_the_best_baseline(known, dates):
    loads, plan, calendar = known
    weeks = []
    for first in (date(2023, 3, 20), date(2023, 6, 12), NEW_FROM, date(2023, 11, 27)):
        start = first - timedelta(1 + dates)
        period = (first, first + timedelta(6))
        counted = loads.filter(pl.col("service_date") >= start)
        weeks.append(forecasts(counted, plan, calendar, period, history_start=start))
    rows = pl.concat(weeks).filter(pl.col("load").is_not_null() & pl.col("last_week").is_not_null())
    errors = {name: (rows[name] - rows["load"]).abs().sum() for name in ("mean", "last_week", "ha4", "ha8")}
    assert errors["mean"] <= 1.03 * min(errors[name] for name in ("last_week", "ha4", "ha8"))
    assert set(rows["source"]) == ({"baseline"} if dates < 35 else {"model"})
