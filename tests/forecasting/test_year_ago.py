"""The similar date of the year before, and the levels of that date."""

from datetime import date, timedelta

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from ruter_dagster.contracts.date_windows import YEAR_AGO_DAYS
from ruter_dagster.contracts.features import LEVELS
from ruter_dagster.contracts.validation import conform
from ruter_dagster.forecasting.backtest import Backtest, backtest
from ruter_dagster.forecasting.boosting import ModelParameters
from ruter_dagster.forecasting.calendar import OperatingCalendar
from ruter_dagster.forecasting.features import departure_features
from ruter_dagster.forecasting.forecast import forecast
from ruter_dagster.forecasting.levels import levels
from ruter_dagster.forecasting.model_rows import (
    YEAR_AGO_RATIOS,
    model_rows,
    training_rows,
    year_ago_issue_dates,
)
from ruter_dagster.forecasting.occupancy import OccupancyThresholds
from ruter_dagster.forecasting.training import train_on
from ruter_dagster.forecasting.training_sample import training_sample
from ruter_dagster.forecasting.year_ago import year_ago
from tests.forecasting.network import LAST, NO_WEATHER, OSLO, dates, loads, plan

DENMARK = OperatingCalendar("DK", "Europe/Copenhagen")
AMERICA = OperatingCalendar("US", "America/New_York")
DAY = LAST - timedelta(10)


@pytest.mark.parametrize(
    ("day", "calendar", "resembling"),
    [
        (date(2023, 9, 13), DENMARK, date(2022, 9, 14)),  # the same weekday
        (date(2023, 4, 9), DENMARK, date(2022, 4, 17)),  # Easter Sunday
        (date(2023, 5, 18), DENMARK, date(2022, 5, 26)),  # Ascension
        (date(2023, 4, 9), AMERICA, date(2022, 4, 10)),  # no holiday there
        (date(2025, 12, 24), OSLO, date(2024, 12, 24)),
        (date(2025, 12, 30), OSLO, date(2024, 12, 30)),
        (date(2026, 1, 1), OSLO, date(2025, 1, 1)),
        (date(2024, 5, 17), OSLO, date(2023, 5, 17)),  # within the weeks that move with Easter
        (date(2025, 5, 16), OSLO, date(2024, 4, 26)),  # 26 days after Easter
        (date(2024, 2, 29), DENMARK, date(2023, 3, 2)),
    ],
)
def test_year_ago_is_the_most_similar_date(day: date, calendar: OperatingCalendar, resembling: date) -> None:
    assert year_ago(day, calendar) == resembling


@pytest.mark.parametrize("calendar", [DENMARK, OSLO, AMERICA], ids=["DK", "NO", "US"])
def test_working_days_are_never_compared_with_holidays(calendar: OperatingCalendar) -> None:
    days = [date(2024, 1, 1) + timedelta(ahead) for ahead in range(3 * 365)]
    compared = [(day, year_ago(day, calendar)) for day in days]
    known = [(day, other) for day, other in compared if other is not None]
    assert len(known) >= 0.98 * len(days)
    assert all(
        calendar.is_public_holiday(day) == calendar.is_public_holiday(other)
        for day, other in known
        if (1, 1) < (day.month, day.day) < (12, 24)
    )
    assert all((day - other).days <= YEAR_AGO_DAYS for day, other in known)


def levels_of(days: dict[date, float]) -> pl.DataFrame:
    """Levels of issue dates in which every ratio of the last day is the given one, of every scope of the small network."""
    scopes = [("network", "all"), ("stop", "skøyen"), ("line_hour", "31|0|8")]
    rows = [
        {"issue_date": day, "scope": scope, "scope_id": one, "departure_count": 9}
        | {f"ratio_{window}": ratio if window == 1 else 9.0 for window in (1, 3, 7, 14)}
        for day, ratio in days.items()
        for scope, one in scopes
    ]
    return conform(pl.DataFrame(rows), LEVELS)


def test_rows_have_levels_issued_after_the_year_ago_date() -> None:
    features = departure_features(plan([DAY]), loads(), OSLO)
    (issued,) = year_ago_issue_dates([year_ago(DAY, OSLO)])
    beside = {issued + timedelta(away): 5.0 for away in (-7, -1, 1, 7)}
    known = levels_of({issued: 1.25, **beside, DAY: 3.0})
    rows = model_rows(features, known, NO_WEATHER, DAY)
    assert set(rows["network_year_ago"]) == {1.25}
    assert set(rows["stop_year_ago"]) == {1.25, None}
    matched = rows.filter(line_id="31", slot_hour=8)
    assert set(matched["line_hour_year_ago"]) == {1.25}
    assert rows.filter(line_id="17")["line_hour_year_ago"].null_count() == rows.height / 2


def test_rows_without_levels_of_a_year_ago_have_none() -> None:
    features = departure_features(plan([DAY]), loads(), OSLO)
    rows = model_rows(features, levels_of({DAY: 1.0}), NO_WEATHER, DAY)
    assert all(rows[name].null_count() == rows.height for name in YEAR_AGO_RATIOS)


@pytest.mark.parametrize("horizon", [0, 3])
def test_training_and_live_rows_agree_on_the_year_before(horizon: int) -> None:
    issued = DAY - timedelta(horizon)
    features = departure_features(plan([DAY]), loads(), OSLO)
    (then,) = year_ago_issue_dates([year_ago(DAY, OSLO)])
    known = levels_of({then: 0.8, then + timedelta(7): 3.0, issued: 1.1, issued - timedelta(1): 2.0})
    trained = training_rows(features, loads(), known, NO_WEATHER, horizons=(horizon,))
    live = model_rows(features, known.filter(pl.col("issue_date").is_in([then, issued])), NO_WEATHER, issued)
    assert live["network_year_ago"].unique().to_list() == [0.8]
    assert_frame_equal(trained.select(live.columns), live, check_exact=True)


@pytest.mark.extended
def test_backtest_and_live_forecast_agree_with_a_year_before() -> None:
    """Counts of the spring and of the same spring a year before: forecasts know both, from the same function."""
    small = ModelParameters(trees=20, spread_trees=10)
    days = dates(LAST - timedelta(62), LAST)
    former = [day - timedelta(364 + 7 * week) for day in days for week in (0, 1, 2)]
    all_days = sorted({*days, *former})
    planned, known = plan(all_days), loads(all_days)
    trial = Backtest(LAST, LAST, horizon=1, history_start=all_days[0], parameters=small)
    (fold,) = backtest(
        trial,
        lambda dates: known.filter(pl.col("service_date").is_in(dates)),
        lambda dates: planned.filter(pl.col("service_date").is_in(dates)),
        OSLO,
    )
    before = known.filter(pl.col("service_date") < LAST)
    features = departure_features(planned.filter(pl.col("service_date") < LAST), before, OSLO)
    as_of = levels(before, features, dates(all_days[0] + timedelta(1), LAST))
    sample = training_sample(features, before, as_of, NO_WEATHER, trial.sample_rows, trial.sample_seed)
    seen = sample.filter(pl.col("service_date") > LAST - timedelta(1 + trial.training_days))
    assert 0 < seen["network_year_ago"].null_count() < seen.height
    live = forecast(
        departure_features(planned.filter(pl.col("service_date") == LAST), before, OSLO),
        as_of,
        NO_WEATHER,
        train_on([seen], small),
        LAST,
        OccupancyThresholds(),
        "v1",
    )
    values = ["trip_id", "stop_sequence", "mean", "p10", "p50", "p90", "prob_above_seats"]
    assert_frame_equal(live.select(values), fold.forecasts.select(values), check_exact=True)
