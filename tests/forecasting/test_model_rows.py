from datetime import timedelta

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from ruter_dagster.contracts.tables import WEATHER_FORECASTS
from ruter_dagster.contracts.validation import conform
from ruter_dagster.forecasting.features import departure_features
from ruter_dagster.forecasting.levels import levels
from ruter_dagster.forecasting.model_rows import CATEGORIES, KEY, NUMBERS, model_rows, training_rows
from tests.forecasting.network import LAST, NO_WEATHER, OSLO, dates, loads, plan, scrambled

DAY = LAST - timedelta(10)
DAYS = dates(DAY - timedelta(6), DAY)
ISSUE_DATES = dates(DAY - timedelta(9), DAY)
FEATURED = dates(DAY - timedelta(24), DAY)


@pytest.fixture(scope="module")
def history() -> pl.DataFrame:
    return loads()


@pytest.fixture(scope="module")
def features(history) -> pl.DataFrame:
    return departure_features(plan(DAYS), history, OSLO)


@pytest.fixture(scope="module")
def as_of(history) -> pl.DataFrame:
    return known_levels(history, ISSUE_DATES)


def known_levels(known: pl.DataFrame, issue_dates: list) -> pl.DataFrame:
    """Levels as a chain makes them that knows just these loads."""
    return levels(known, departure_features(plan(FEATURED), known, OSLO), issue_dates)


def weather(issue_days: list) -> pl.DataFrame:
    rows = [
        {"issue_date": issued, "service_date": issued + timedelta(ahead), "slot_hour": hour,
         "temperature": 5.0 + ahead, "precipitation": 0.1 * hour, "wind_speed": 3.0}
        for issued in issue_days for ahead in range(4) for hour in range(24)
    ]  # fmt: skip
    return conform(pl.DataFrame(rows), WEATHER_FORECASTS)


@pytest.mark.parametrize("horizon", [0, 1, 2, 3])
def test_training_backtest_and_forecast_rows_are_identical(history, features, as_of, horizon):
    issue_date = DAY - timedelta(horizon)
    known = history.filter(pl.col("service_date") < issue_date)
    trained = training_rows(features, history, as_of, weather(ISSUE_DATES), horizons=(horizon,)).filter(
        service_date=DAY
    )
    live = model_rows(
        departure_features(plan([DAY]), known, OSLO),
        known_levels(known, [issue_date]),
        weather([issue_date]),
        issue_date,
    )
    assert live.height == plan([DAY]).height
    assert_frame_equal(trained.select(live.columns), live, check_exact=True)


@pytest.mark.parametrize("load", [None, 71.0])
def test_load_without_weight_is_neither_learned_nor_scored(history, features, as_of, load):
    untrusted = pl.col("trip_id") == "31-1300"
    strange = history.with_columns(
        pl.when(~untrusted).then("load").otherwise(load).alias("load"),
        pl.when(~untrusted).then("weight").otherwise(0.0).alias("weight"),
    )
    issued = weather(ISSUE_DATES)
    assert_frame_equal(
        training_rows(features, strange, as_of, issued),
        training_rows(features, history.filter(~untrusted), as_of, issued),
        check_exact=True,
    )


@pytest.mark.parametrize("horizon", [0, 3])
def test_rows_ignore_everything_since_the_issue_date(history, horizon):
    issue_date = DAY - timedelta(horizon)

    def row_of(known: pl.DataFrame, issued: pl.DataFrame) -> pl.DataFrame:
        features = departure_features(plan([DAY]), known, OSLO)
        return model_rows(features, known_levels(known, ISSUE_DATES), issued, issue_date)

    later = weather(ISSUE_DATES).with_columns(
        pl.when(pl.col("issue_date") > issue_date).then(99.0).otherwise("temperature").alias("temperature")
    )
    assert_frame_equal(
        row_of(history, weather(ISSUE_DATES)),
        row_of(scrambled(history, issue_date - timedelta(1)), later),
        check_exact=True,
    )


def test_training_rows_spread_evenly_over_horizons(history, features, as_of):
    rows = training_rows(features, history, as_of, NO_WEATHER)
    assert rows.select(KEY).is_unique().all()
    assert rows.height == features.height
    counts = rows["horizon_days"].value_counts().sort("horizon_days")
    assert counts["horizon_days"].to_list() == [0, 1, 2, 3]
    assert counts["count"].min() > 0.2 * rows.height
    assert ((rows["service_date"] - rows["issue_date"]).dt.total_days() == rows["horizon_days"]).all()


def test_departure_without_load_is_not_a_training_row(history, features, as_of):
    some = history.filter(pl.col("line_id") == "31")
    assert set(training_rows(features, some, as_of, NO_WEATHER)["line_id"]) == {"31"}


def test_rows_hold_every_feature_of_the_model(features, as_of):
    rows = model_rows(features, as_of, NO_WEATHER, DAY)
    assert set(NUMBERS) | set(CATEGORIES) <= set(rows.columns)
    assert rows.select(NUMBERS).select(pl.col(pl.Float64).is_infinite().any()).row(0).count(True) == 0
