from datetime import timedelta

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from ruter_dagster.forecasting.boosting import ModelParameters
from ruter_dagster.forecasting.features import departure_features
from ruter_dagster.forecasting.levels import levels
from ruter_dagster.forecasting.model_rows import KEY, training_rows
from ruter_dagster.forecasting.training import rows_for_training, training_dates
from ruter_dagster.forecasting.training_sample import stratified, training_sample
from tests.forecasting.network import LAST, NO_WEATHER, OSLO, dates, loads, plan

DAYS = dates(LAST - timedelta(1), LAST)
ISSUE_DATES = dates(LAST - timedelta(4), LAST)
DATE = {"service_date": [LAST] * 4000}


@pytest.fixture(scope="module")
def known() -> tuple[pl.DataFrame, pl.DataFrame, pl.DataFrame]:
    """Features, loads and levels."""
    history = loads()
    learned = departure_features(plan(dates(LAST - timedelta(20), LAST)), history, OSLO)
    features = learned.filter(pl.col("service_date").is_in(DAYS))
    return features, history, levels(history, learned, ISSUE_DATES)


def departures(*, boats: int = 0) -> pl.DataFrame:
    """4,000 departures of ten lines over 20 hours, the first of them of boats."""
    number = pl.int_range(4000, eager=True)
    return pl.DataFrame(DATE).with_columns(
        (number // 20).cast(pl.String).alias("trip_id"),
        (number % 20 + 1).alias("stop_sequence"),
        pl.when(number < boats).then(pl.lit("boat")).otherwise(pl.lit("bus")).alias("mode"),
        (number % 10).cast(pl.String).alias("line_id"),
        pl.lit(0).alias("direction_id"),
        (number // 10 % 20).alias("slot_hour"),
    )


def test_small_date_is_kept_whole(known):
    sample = training_sample(*known, NO_WEATHER, max_rows=5000, seed=1)
    assert sample.height == known[0].height
    assert set(sample["sample_weight"]) == {1.0}


def test_sample_of_a_date_does_not_depend_on_other_dates(known):
    features, *others = known
    both = training_sample(features, *others, NO_WEATHER, max_rows=50, seed=1)
    alone = features.filter(service_date=LAST)
    assert_frame_equal(
        both.filter(service_date=LAST), training_sample(alone, *others, NO_WEATHER, max_rows=50, seed=1)
    )
    assert both["service_date"].value_counts()["count"].max() <= 50


def test_another_seed_draws_other_departures(known):
    first, second = (training_sample(*known, NO_WEATHER, max_rows=50, seed=seed) for seed in (1, 2))
    assert first.height == second.height
    assert first.join(second, on=KEY, how="semi").height < first.height


def test_loads_without_weight_are_not_sampled(known):
    features, history, as_of = known
    distrusted = history.with_columns(weight=pl.when(pl.col("line_id") == "31").then(0.0).otherwise("weight"))
    sample = training_sample(features, distrusted, as_of, NO_WEATHER, max_rows=5000, seed=1)
    assert set(sample["line_id"]) == {"17"}


def test_sampled_rows_are_those_of_an_unsampled_training(known):
    parameters = ModelParameters(shortened_share=0.0)
    sample = rows_for_training(training_sample(*known, NO_WEATHER, max_rows=60, seed=1), parameters)
    whole = training_rows(*known, NO_WEATHER)
    same = sample.select(KEY).join(whole, on=KEY, how="left", maintain_order="left")
    assert_frame_equal(
        sample.drop("sample_weight"),
        same.select(sample.columns).drop("sample_weight").cast(sample.drop("sample_weight").schema),
    )


def test_weights_add_up_to_the_departures_of_each_mode():
    sample = stratified(departures(boats=100), 400, seed=1)
    assert sample.height <= 400
    added = dict(sample.group_by("mode").agg(pl.col("sample_weight").sum()).iter_rows())
    assert added == pytest.approx({"boat": 100, "bus": 3900})


def test_small_mode_is_sampled_more_densely():
    sample = stratified(departures(boats=100), 400, seed=1)
    counts = dict(sample["mode"].value_counts().iter_rows())
    assert counts["boat"] / 100 > 3 * counts["bus"] / 3900


def test_lines_and_hours_are_sampled_evenly():
    sample = stratified(departures(), 400, seed=1)
    assert sample["line_id"].value_counts()["count"].to_list() == [40] * 10
    assert sample["slot_hour"].value_counts()["count"].max() <= 25
    assert sample["stop_sequence"].n_unique() == 20


def test_training_reads_the_newest_dates():
    assert training_dates(LAST, 3) == dates(LAST - timedelta(2), LAST)
