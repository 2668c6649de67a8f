from dataclasses import replace
from datetime import timedelta

import numpy as np
import polars as pl
import pytest
from polars.testing import assert_frame_equal

from ruter_dagster.contracts.errors import BadInput
from ruter_dagster.contracts.features import DEPARTURE_FEATURES
from ruter_dagster.contracts.tables import LOAD_FORECASTS
from ruter_dagster.contracts.validation import validate
from ruter_dagster.forecasting.boosting import ModelParameters
from ruter_dagster.forecasting.features import departure_features
from ruter_dagster.forecasting.forecast import ModelFailed, forecast, forecast_rows
from ruter_dagster.forecasting.levels import levels
from ruter_dagster.forecasting.model import LoadModel
from ruter_dagster.forecasting.model_rows import training_rows
from ruter_dagster.forecasting.model_training import train
from ruter_dagster.forecasting.occupancy import OccupancyThresholds
from ruter_dagster.forecasting.readiness import trust_by_dates
from tests.forecasting.network import FIRST, LAST, NO_WEATHER, OSLO, dates, loads, plan

ISSUED = LAST - timedelta(3)
SMALL = ModelParameters(trees=60, spread_trees=30, learning_rate=0.1)


@pytest.fixture(scope="module")
def rows() -> pl.DataFrame:
    """Training rows of the 5 weeks before the issue date."""
    history, days = loads(), dates(ISSUED - timedelta(35), ISSUED - timedelta(1))
    features = departure_features(plan(days), history, OSLO)
    as_of = levels(history, features, dates(days[0] + timedelta(1), days[-1]))
    return training_rows(features, history, as_of, NO_WEATHER)


def levels_of(known: pl.DataFrame) -> pl.DataFrame:
    """Levels on the issue date, of what is known."""
    earlier = departure_features(plan(dates(ISSUED - timedelta(14), ISSUED - timedelta(1))), known, OSLO)
    return levels(known, earlier, [ISSUED])


@pytest.fixture(scope="module")
def model(rows) -> LoadModel:
    return train(rows, SMALL)


@pytest.fixture(scope="module")
def issued(model) -> pl.DataFrame:
    known = loads().filter(pl.col("service_date") < ISSUED)
    features = departure_features(plan(dates(ISSUED)), known, OSLO)
    return forecast(
        features,
        levels_of(known),
        NO_WEATHER,
        model,
        ISSUED,
        OccupancyThresholds(),
        "v1",
    )


def test_repeated_training_on_one_thread_gives_equal_bytes(rows, model):
    again = train(rows.sample(fraction=1, shuffle=True, seed=5), replace(SMALL, threads=1))
    expected = replace(model, parameters=again.parameters)
    assert_frame_equal(again.predict(rows), expected.predict(rows), check_exact=True)


def test_progress_is_reported_after_each_tree(rows, model):
    reports = []
    observed = train(rows, SMALL, lambda *report: reports.append(report))
    boosters = list(dict.fromkeys(booster for booster, _, _ in reports))
    assert boosters[-6:] == [
        "spread, P10", "spread, P50", "spread, P90", "mean, poisson", "mean, tweedie", "mean, root"
    ]  # fmt: skip
    assert "held-out mean 1 of 2, poisson" in boosters
    assert [report for report in reports if report[0] == "mean, root"] == [
        ("mean, root", tree, 60) for tree in range(1, 61)
    ]
    assert observed.to_bytes() == model.to_bytes()


def test_restored_model_predicts_the_same(rows, model):
    again = LoadModel.from_bytes(model.to_bytes())
    assert_frame_equal(again.predict(rows), model.predict(rows), check_exact=True)
    assert again.to_bytes() == model.to_bytes()


def test_few_dates_are_trusted_only_if_every_week_agrees(rows):
    hour = pl.col("slot_hour")
    doubled = pl.when(hour < 12).then(2.0).otherwise(0.5) * pl.col("expected")
    lasting = rows.with_columns(load=doubled)
    passing = rows.with_columns(
        load=pl.when(pl.col("service_date") < ISSUED - timedelta(7)).then(doubled).otherwise("expected")
    )
    by_count = trust_by_dates(rows["service_date"].n_unique())
    assert train(lasting, SMALL).trust >= 0.8
    assert train(passing, SMALL).trust == pytest.approx(by_count)


def test_invalid_model_bytes_are_bad_input():
    with pytest.raises(BadInput, match="not a load model"):
        LoadModel.from_bytes(b"half a file")


def test_too_few_rows_are_bad_input(rows):
    with pytest.raises(BadInput, match="too few"):
        train(rows.head(10))


def test_quantiles_are_ordered_and_cover_80_percent(issued):
    truth = loads().select(pl.col("service_date").alias("operating_date"), "trip_id", "stop_sequence", "load")
    judged = issued.join(truth, on=("operating_date", "trip_id", "stop_sequence"))
    assert judged.height == issued.height
    assert (
        judged.select((pl.col("p10") <= pl.col("p50")) & (pl.col("p50") <= pl.col("p90"))).to_series().all()
    )
    coverage = judged.select(pl.col("load").is_between(pl.col("p10"), pl.col("p90")).mean()).item()
    assert coverage == pytest.approx(0.8, abs=0.07)
    assert judged["mean"].sum() == pytest.approx(judged["load"].sum(), rel=0.05)


def test_unknown_mode_is_forecast(rows, model):
    boats = model.predict(rows.with_columns(pl.lit("boat").alias("mode")))
    assert np.isfinite(boats["mean"].to_numpy()).all()


@pytest.mark.parametrize("size", [1, 7, 64])
def test_size_of_blocks_does_not_change_forecasts(rows, model, monkeypatch, size):
    some = rows.head(150)
    whole = model.predict(some)
    monkeypatch.setattr("ruter_dagster.forecasting.model._ROWS_PER_BLOCK", size)
    monkeypatch.setattr("ruter_dagster.forecasting.boosting._ROWS_PER_BLOCK", 5)
    assert model.predict(some).equals(whole)


def test_forecast_of_no_rows_has_no_rows(rows, model):
    assert_frame_equal(model.predict(rows.clear()), model.predict(rows.head(1)).clear())


def test_probability_above_seats_falls_with_the_seats(rows, model):
    few, many, unknown = (
        model.predict(rows.with_columns(pl.lit(seats, pl.Int32).alias("seats")))["prob_above_seats"]
        for seats in (5, 30, None)
    )
    assert (few >= many).all()
    assert unknown.null_count() == rows.height


def test_every_departure_has_a_forecast_that_meets_the_contract(issued):
    validate(issued, LOAD_FORECASTS, [ISSUED])
    assert issued.height == plan(dates(ISSUED)).height
    assert issued["horizon_days"].unique().sort().to_list() == [0, 1, 2, 3]
    assert set(issued["source"]) == {"model"}
    assert set(issued["model_version"]) == {"v1"}


def test_forecast_without_model_is_ha4():
    known = loads().filter(pl.col("service_date") < ISSUED)
    features = departure_features(plan(dates(ISSUED)), known, OSLO)
    of_day_before = levels_of(known)
    frame = forecast(features, of_day_before, NO_WEATHER, None, ISSUED, OccupancyThresholds(), "v1")
    validate(frame, LOAD_FORECASTS, [ISSUED])
    assert frame["mean"].equals(frame["ha4"].alias("mean"))
    assert set(frame["source"]) == {"baseline"}
    assert frame["model_version"].null_count() == frame.height


def test_first_day_is_forecast_without_history():
    nothing = loads([FIRST]).clear()
    features = departure_features(plan([FIRST]), nothing, OSLO)
    validate(features, DEPARTURE_FEATURES, [FIRST])
    frame = forecast(
        features, levels(nothing, features, [FIRST]), NO_WEATHER, None, FIRST, OccupancyThresholds()
    )
    validate(frame, LOAD_FORECASTS, [FIRST])
    assert set(frame["source"]) == {"fallback"}


def test_model_that_cannot_read_the_rows_fails(rows, model):
    with pytest.raises(ModelFailed, match="it cannot forecast"):
        forecast_rows(rows.drop("usual_median_to_expected"), model)


def test_model_whose_loads_are_not_finite_fails(rows, model):
    with pytest.raises(ModelFailed, match="no finite numbers"):
        forecast_rows(rows, replace(model, root_line=(float("nan"), 1.0)))


def test_forecast_after_a_failed_model_is_marked():
    known = loads().filter(pl.col("service_date") < ISSUED)
    features = departure_features(plan(dates(ISSUED)), known, OSLO)
    frame = forecast(
        features, levels_of(known), NO_WEATHER, None, ISSUED, OccupancyThresholds(), model_failed=True
    )
    validate(frame, LOAD_FORECASTS, [ISSUED])
    assert set(frame["source"]) == {"fallback"}
    assert frame["reasons"].str.ends_with("modelFailed").all()
