from dataclasses import replace
from datetime import timedelta

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from ruter_dagster.contracts.errors import BadInput
from ruter_dagster.forecasting.backtest import Backtest, Fold, backtest
from ruter_dagster.forecasting.boosting import ModelParameters
from ruter_dagster.forecasting.evaluation import scores
from ruter_dagster.forecasting.features import departure_features
from ruter_dagster.forecasting.forecast import forecast
from ruter_dagster.forecasting.levels import levels
from ruter_dagster.forecasting.occupancy import OccupancyThresholds
from ruter_dagster.forecasting.training import train_on
from ruter_dagster.forecasting.training_sample import training_sample
from tests.forecasting.network import FIRST, LAST, NO_WEATHER, OSLO, dates, loads, plan, scrambled

SMALL = ModelParameters(trees=30, spread_trees=10, learning_rate=0.1)
TRIAL = Backtest(LAST - timedelta(9), LAST, horizon=2, history_start=FIRST, parameters=SMALL)
VALUES = ["service_date", "trip_id", "stop_sequence", "mean", "p10", "p50", "p90", "prob_above_seats"]


def run(known: pl.DataFrame, trial: Backtest = TRIAL) -> list[Fold]:
    planned = plan()
    return list(
        backtest(
            trial,
            lambda days: known.filter(pl.col("service_date").is_in(days)),
            lambda days: planned.filter(pl.col("service_date").is_in(days)),
            OSLO,
        )
    )


@pytest.fixture(scope="module")
def history() -> pl.DataFrame:
    return loads()


@pytest.fixture(scope="module")
def folds(history) -> list[Fold]:
    return run(history)


def test_folds_are_weeks_trained_until_two_days_before(folds):
    assert [(fold.last - fold.first).days + 1 for fold in folds] == [7, 3]
    assert all(fold.trained_until == fold.first - timedelta(2) for fold in folds)


def test_every_departure_has_a_forecast_and_its_load(folds):
    frame = pl.concat([fold.forecasts for fold in folds])
    assert frame.height == plan(dates(TRIAL.first)).height
    assert frame["load"].null_count() == 0
    assert set(frame["horizon_days"]) == {1}


def test_load_without_weight_is_not_observed(history, folds):
    day = pl.col("service_date") == TRIAL.first
    weight = pl.when(day & (pl.col("trip_id") == "31-1300")).then(0.0).otherwise("weight").alias("weight")
    forecasts = run(history.with_columns(weight), replace(TRIAL, last=TRIAL.first))[0].forecasts
    assert forecasts.height == folds[0].forecasts.filter(service_date=TRIAL.first).height
    assert set(forecasts.filter(pl.col("load").is_null())["trip_id"]) == {"31-1300"}
    assert scores(forecasts)["rows"].item() == forecasts["load"].count()


def test_forecast_ignores_everything_after_its_cutoff(history, folds):
    day = TRIAL.first
    altered = run(scrambled(history, day - timedelta(2)), TRIAL)[0].forecasts
    assert_frame_equal(
        folds[0].forecasts.filter(service_date=day).select(VALUES),
        altered.filter(service_date=day).select(VALUES),
        check_exact=True,
    )


def test_backtest_and_forecast_are_identical(history, folds):
    """Live on the day before: all loads up to two days before are known, the model is trained on the same targets."""
    day, issue_date = TRIAL.first, TRIAL.first - timedelta(1)
    known = history.filter(pl.col("service_date") < issue_date)
    trained_on = dates(FIRST, issue_date - timedelta(1))
    learned = departure_features(plan(trained_on), known, OSLO)
    as_of = levels(known, learned, dates(FIRST + timedelta(1), issue_date))
    sample = training_sample(learned, known, as_of, NO_WEATHER, TRIAL.sample_rows, TRIAL.sample_seed)
    features = departure_features(plan([day]), known, OSLO)
    live = forecast(
        features, as_of, NO_WEATHER, train_on([sample], SMALL), issue_date, OccupancyThresholds(), "v1"
    ).rename({"operating_date": "service_date"})
    assert_frame_equal(
        live.select(VALUES), folds[0].forecasts.filter(service_date=day).select(VALUES), check_exact=True
    )


def test_invalid_horizon_is_refused():
    with pytest.raises(BadInput, match="horizon 5"):
        Backtest(FIRST, LAST, 5, FIRST)
