"""Rows with a shortened history equal rows that are computed from fewer loads."""

from datetime import timedelta

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from ruter_dagster.forecasting import shortened_history
from ruter_dagster.forecasting.features import departure_features
from ruter_dagster.forecasting.levels import levels
from ruter_dagster.forecasting.model_rows import KEY
from ruter_dagster.forecasting.shortened_history import with_shortened_copies
from ruter_dagster.forecasting.training_sample import training_sample
from tests.forecasting.network import LAST, NO_WEATHER, OSLO, dates, loads, plan

DAY = LAST - timedelta(20)
ALL = pl.lit(100.0)
"""A share of rows at which each row is drawn for each kind."""
GUESS = ("expected", "expected_tier", "history_count")


@pytest.fixture(scope="module")
def history() -> pl.DataFrame:
    return loads()


@pytest.fixture(scope="module")
def sample(history) -> pl.DataFrame:
    days = dates(DAY - timedelta(9), DAY)
    features = departure_features(plan(days), history, OSLO)
    as_of = levels(history, features, days)
    return training_sample(features, history, as_of, NO_WEATHER, 5000, 1)


def copies(sample: pl.DataFrame, kind: str) -> pl.DataFrame:
    of_day = sample.filter(service_date=DAY)
    return shortened_history._shortened_copies(of_day, kind, ALL, seed=1).sort(KEY)


def guesses(plan: pl.DataFrame, known: pl.DataFrame) -> pl.DataFrame:
    return departure_features(plan, known, OSLO).sort(KEY).select(*KEY, *GUESS)


def test_new_line_equals_features_without_its_loads(history, sample):
    rows = copies(sample, "new_line").filter(line_id="31")
    known = history.filter(pl.col("line_id") != "31")
    assert_frame_equal(rows.select(*KEY, *GUESS), guesses(plan([DAY]).filter(line_id="31"), known))
    assert set(rows["expected_tier"]) == {"stop_hour"}


def test_renamed_line_equals_features_under_another_id(history, sample):
    rows = copies(sample, "renamed_line").filter(line_id="31")
    new = plan([DAY]).filter(line_id="31").with_columns(pl.lit("74").alias("line_id"))
    assert_frame_equal(rows.select(*KEY, *GUESS), guesses(new, history))


def test_new_stop_equals_features_without_its_loads(history, sample):
    rows = copies(sample, "new_stop").filter(stop_id="nationaltheatret")
    known = history.filter(pl.col("stop_id") != "nationaltheatret")
    expected = guesses(plan([DAY]).filter(), known).join(rows.select(KEY), on=KEY, how="semi")
    assert_frame_equal(rows.select(*KEY, *GUESS), expected)
    assert set(rows["expected_tier"]) == {"journey"}


def test_new_hour_equals_features_without_that_hour(history, sample):
    rows = copies(sample, "new_hour").filter(slot_hour=13)
    known = history.filter(pl.col("slot_hour") != 13)
    both = rows.filter((pl.col("hours_to_earlier") == 1) & (pl.col("hours_to_later") == 1))
    expected = guesses(plan([DAY]), known).join(both.select(KEY), on=KEY, how="semi")
    assert both.height > 2
    assert_frame_equal(both.select(*KEY, *GUESS), expected)


def test_new_hours_in_a_row_equal_features_without_them(history, sample):
    rows = copies(sample, "new_hour").filter(slot_hour=13)
    known = history.filter(~pl.col("slot_hour").is_between(11, 15))
    far = rows.filter((pl.col("hours_to_earlier") == 3) & (pl.col("hours_to_later") == 3))
    expected = guesses(plan([DAY]), known).join(far.select(KEY), on=KEY, how="semi")
    assert far.height > 2
    assert_frame_equal(far.select(*KEY, *GUESS), expected)


def test_some_new_hours_are_after_the_last_hour(sample):
    rows = copies(sample, "new_hour")
    assert 0.1 < rows["hours_to_later"].null_count() / rows.height < 0.4
    assert 0.1 < rows["hours_to_earlier"].null_count() / rows.height < 0.4


def test_few_weeks_keep_only_their_lags(history, sample):
    rows = copies(sample, "few_weeks")
    weeks = rows["history_count"].unique().sort().to_list()
    assert weeks == [1, 2, 3, 4, 5, 6, 7]
    two = rows.filter(history_count=2)
    known = history.filter(pl.col("service_date") >= DAY - timedelta(14))
    names = (
        "lag_1",
        "lag_2",
        "lag_3",
        "ha4",
        "ha8",
        "usual",
        "usual_recent",
        "usual_median",
        "usual_deviation",
    )
    true = departure_features(plan([DAY]), known, OSLO).sort(KEY).join(two.select(KEY), on=KEY, how="semi")
    assert_frame_equal(two.select(names), true.select(names), abs_tol=1e-5)


def test_copies_keep_load_and_plan(sample):
    both = with_shortened_copies(sample, 0.5, seed=1)
    copied = both.slice(sample.height)
    plain = ("load", "weight", "sample_weight", "seats", "headway_minutes", "temperature", "network_ratio_7")
    originals = copied.select(KEY).join(sample, on=KEY, how="left", maintain_order="left")
    assert both.head(sample.height).equals(sample)
    assert copied.select(plain).equals(originals.select(plain))
    assert copied.height == pytest.approx(0.5 * sample.height, rel=0.15)
    assert copied.columns == sample.columns


def test_copies_of_a_large_sample_are_limited(sample, monkeypatch):
    monkeypatch.setattr(shortened_history, "MAX_COPIES", 10)
    added = with_shortened_copies(sample, 0.5, seed=1).height - sample.height
    assert 0 < added < 3 * 10 * sample["service_date"].n_unique()


def test_copies_of_a_date_do_not_depend_on_other_dates(sample, monkeypatch):
    monkeypatch.setattr(shortened_history, "MAX_COPIES", 10)
    fewer = sample.filter((pl.col("service_date") == DAY) | (pl.col("stop_sequence") == 1))
    together, alone = (
        with_shortened_copies(frame, 0.5, seed=1) for frame in (fewer, fewer.filter(service_date=DAY))
    )
    assert_frame_equal(together.filter(service_date=DAY), alone)


def test_seed_decides_which_rows_are_copied(sample):
    first, again, other = (with_shortened_copies(sample, 0.2, seed) for seed in (1, 1, 2))
    assert first.equals(again)
    assert not first.equals(other)


def test_levels_of_a_new_line_use_its_new_expected_load(sample):
    rows = copies(sample, "new_line").filter(line_id="31")
    known = rows.filter(pl.col("line_ratio_1").is_not_null())
    own = sample.filter(service_date=DAY, line_id="31").join(known.select(KEY), on=KEY, how="semi")
    of_line = sample.filter(service_date=DAY, line_id="31")
    guessed = rows["expected"].sum()
    against = of_line["expected"].sum() / guessed
    assert 0 < known.height < rows.height
    assert known["line_ratio_1"].to_list() == pytest.approx((own["line_ratio_1"] * against).to_list())


def test_new_stop_has_no_levels_of_a_year_ago(sample):
    known = sample.with_columns(stop_year_ago=pl.lit(1.5), network_year_ago=pl.lit(1.2))
    rows = copies(known, "new_stop")
    assert rows["stop_year_ago"].null_count() == rows.height
    assert set(rows["network_year_ago"]) == {1.2}
