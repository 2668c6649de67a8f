"""Accuracy of the demo's model, compared with the true expected loads of the demo network."""

from datetime import timedelta

import polars as pl
import pytest

from ruter_dagster.config.operator import operator_of
from ruter_dagster.config.settings import DEMO_ISSUE_DATE, Settings
from ruter_dagster.contracts.dates import day_range
from ruter_dagster.contracts.tables import STOP_LOADS
from ruter_dagster.forecasting.baselines import baseline_columns
from ruter_dagster.forecasting.boosting import ModelParameters
from ruter_dagster.forecasting.counts import balance
from ruter_dagster.forecasting.evaluation import comparable, scores
from ruter_dagster.forecasting.features import departure_features
from ruter_dagster.forecasting.forecast import forecast_rows
from ruter_dagster.forecasting.levels import levels
from ruter_dagster.forecasting.model_rows import KEY, training_rows
from ruter_dagster.forecasting.training import train_on
from ruter_dagster.forecasting.training_sample import training_sample
from ruter_dagster.jobs.operator_rules import calendar_of
from ruter_dagster.orchestration.plan import feature_days
from ruter_dagster.sources.demo.source import DemoSource

HORIZONS = (0, 1, 2, 3)


@pytest.fixture(scope="module")
def judged() -> pl.DataFrame:
    """Every counted departure of the newest 14 dates as of each horizon: forecast, baselines and the true mean."""
    settings = Settings(source="demo")  # pyright: ignore[reportCallIssue]
    operator, source = operator_of(settings), DemoSource(settings.demo_seed)
    calendar = calendar_of(operator)
    cutoff = DEMO_ISSUE_DATE - timedelta(1 + settings.evaluation_days)
    featured = feature_days(settings.history_days, settings.training_days)
    first, last = DEMO_ISSUE_DATE - timedelta(featured), DEMO_ISSUE_DATE - timedelta(1)
    history, days = (
        day_range(DEMO_ISSUE_DATE - timedelta(settings.history_days), last),
        day_range(first, last),
    )
    loads = pl.concat([balance(source.stop_visits(day), operator.time_zone) for day in history])
    loads = loads.select(STOP_LOADS.column_names)
    features = departure_features(pl.concat(map(source.planned_departures, days)), loads, calendar)
    as_of = levels(loads, features, day_range(first + timedelta(1), last))
    weather = pl.concat(map(source.weather_forecasts, day_range(first - timedelta(3), last)))
    seen = pl.col("service_date") <= cutoff
    sample = training_sample(
        features.filter(seen),
        loads,
        as_of,
        weather,
        settings.training_rows_per_date,
        settings.training_seed,
    )
    model = train_on([sample], ModelParameters())
    rows = pl.concat(
        [training_rows(features.filter(~seen), loads, as_of, weather, (horizon,)) for horizon in HORIZONS]
    )
    truth = pl.concat(map(source.truth, day_range(cutoff + timedelta(1), last))).select(*KEY, "mean_load")
    forecasts = pl.concat(
        [rows.with_columns(baseline_columns()), forecast_rows(rows, model)], how="horizontal"
    )
    return comparable(forecasts.join(truth, on=KEY, how="left", maintain_order="left"))


def oracle(judged: pl.DataFrame) -> float:
    """WAPE of a forecaster who knows everything but the noise."""
    error = (pl.col("mean_load") - pl.col("load")).abs().sum() / pl.col("load").sum()
    return judged.select(error).item()


@pytest.mark.extended
def test_model_closes_most_of_the_gap_to_the_truth(judged):
    score, best = scores(judged).row(0, named=True), oracle(judged)
    assert judged["mean_load"].null_count() == 0
    assert best < score["wape"] < score["wape_ha4"] < score["wape_last_week"]
    assert (score["wape_ha4"] - score["wape"]) / (score["wape_ha4"] - best) >= 0.60
    assert score["improvement_ha4"] >= 0.12
    # Over the 2 % aimed at: two dry Saturdays follow wet ones (docs/decisions/load-model.md).
    assert abs(score["bias"]) <= 0.045
    assert 0.77 <= score["coverage"] <= 0.83


@pytest.mark.extended
def test_three_days_ahead_is_hardly_worse_than_one(judged):
    by_horizon = dict(scores(judged, ("horizon_days",)).select("horizon_days", "wape").iter_rows())
    assert by_horizon[3] <= 1.05 * by_horizon[1]
