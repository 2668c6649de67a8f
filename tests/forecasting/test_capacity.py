"""A changed vehicle changes the probability above its seats and the level. The loads and everything else stay."""

from datetime import timedelta

import numpy as np
import polars as pl
import pytest
from polars.testing import assert_frame_equal

from ruter_dagster.contracts.errors import BadInput
from ruter_dagster.contracts.tables import LOAD_FORECASTS
from ruter_dagster.contracts.validation import validate
from ruter_dagster.forecasting.capacity import changed_departures, set_capacities, update_capacities
from ruter_dagster.forecasting.features import departure_features
from ruter_dagster.forecasting.forecast import forecast
from ruter_dagster.forecasting.levels import levels
from ruter_dagster.forecasting.model_rows import training_rows
from ruter_dagster.forecasting.model_training import train
from ruter_dagster.forecasting.occupancy import OccupancyThresholds
from tests.forecasting.network import LAST, NO_WEATHER, OSLO, dates, loads, plan
from tests.forecasting.test_model import SMALL

ISSUED = LAST - timedelta(3)
THRESHOLDS = OccupancyThresholds()
TRIP = pl.col("trip_id") == "31-1400"
HALF = {"seats": 20, "total_capacity": 50}


@pytest.fixture(scope="module")
def world():
    """Forecasts of a model, their features, and the tail of the model."""
    known = loads().filter(pl.col("service_date") < ISSUED)
    days = dates(ISSUED - timedelta(35), ISSUED - timedelta(1))
    past = departure_features(plan(days), known, OSLO)
    as_of = levels(known, past, dates(days[0] + timedelta(1), ISSUED))
    model = train(training_rows(past, known, as_of, NO_WEATHER), SMALL)

    def forecasts_of(planned):
        features = departure_features(planned, known, OSLO)
        return features, forecast(features, as_of, NO_WEATHER, model, ISSUED, THRESHOLDS, "v1")

    return forecasts_of, {"v1": model.tail}


def changed_plan(**capacities):
    columns = [
        pl.when(TRIP).then(pl.lit(value, pl.Int32)).otherwise(pl.col(name)).alias(name)
        for name, value in capacities.items()
    ]
    return plan(dates(ISSUED)).with_columns(columns)


def test_unchanged_capacities_change_nothing(world):
    forecasts_of, tails = world
    features, issued = forecasts_of(plan(dates(ISSUED)))
    again = set_capacities(issued, plan(dates(ISSUED)), features, THRESHOLDS, tails)
    assert_frame_equal(again, issued, check_exact=True)
    assert changed_departures(issued, plan(dates(ISSUED))) == 0


@pytest.mark.parametrize("capacities", [HALF, {"seats": 80, "total_capacity": 200}, {"seats": 30}])
def test_result_is_that_of_the_model_on_the_new_plan(world, capacities):
    forecasts_of, tails = world
    features, issued = forecasts_of(plan(dates(ISSUED)))
    planned = changed_plan(**capacities)
    _, full = forecasts_of(planned)
    cheap = set_capacities(issued, planned, features, THRESHOLDS, tails)
    validate(cheap, LOAD_FORECASTS, [ISSUED])
    assert_frame_equal(cheap, full, rel_tol=1e-9, abs_tol=1e-9)
    assert changed_departures(issued, planned) == 4 * 3


def test_updated_features_are_those_of_the_new_plan(world):
    forecasts_of, _ = world
    features, _ = forecasts_of(plan(dates(ISSUED)))
    planned = changed_plan(**HALF)
    assert_frame_equal(update_capacities(features, planned), forecasts_of(planned)[0], check_exact=True)
    assert update_capacities(features, planned.filter(~TRIP)).equals(features)


def test_missing_tail_is_an_error(world):
    forecasts_of, _ = world
    features, issued = forecasts_of(plan(dates(ISSUED)))
    with pytest.raises(BadInput, match="The tail of model v1 is missing"):
        set_capacities(issued, changed_plan(**HALF), features, THRESHOLDS, {})


def test_baseline_has_the_normal_tail():
    known = loads().filter(pl.col("service_date") < ISSUED)
    as_of = levels(
        known, departure_features(plan(dates(ISSUED - timedelta(14), ISSUED)), known, OSLO), [ISSUED]
    )

    def issued(planned):
        features = departure_features(planned, known, OSLO)
        return features, forecast(features, as_of, NO_WEATHER, None, ISSUED, THRESHOLDS)

    features, before = issued(plan(dates(ISSUED)))
    cheap = set_capacities(before, changed_plan(**HALF), features, THRESHOLDS, {})
    assert_frame_equal(cheap, issued(changed_plan(**HALF))[1], rel_tol=1e-9, abs_tol=1e-9)


def test_smaller_vehicle_has_its_reason_and_a_higher_level(world):
    forecasts_of, tails = world
    features, issued = forecasts_of(plan(dates(ISSUED)))
    changed = set_capacities(issued, changed_plan(**HALF), features, THRESHOLDS, tails)
    before, after = issued.filter(TRIP), changed.filter(TRIP)
    assert set(before["reasons"]) == {""} and set(after["reasons"]) == {"smallerVehicle"}
    assert (after["prob_above_seats"] > before["prob_above_seats"]).all()
    assert (after["occupancy_percentage"] > before["occupancy_percentage"]).all()
    assert after.select("mean", "p10", "p50", "p90").equals(before.select("mean", "p10", "p50", "p90"))
    assert changed.filter(~TRIP).equals(issued.filter(~TRIP))
    restored = set_capacities(changed, plan(dates(ISSUED)), features, THRESHOLDS, tails)
    assert_frame_equal(restored, issued, rel_tol=1e-6, abs_tol=1e-6)


def test_more_seats_never_raise_the_probability(world):
    forecasts_of, tails = world
    features, issued = forecasts_of(plan(dates(ISSUED)))
    odd = issued.with_columns(prob_above_seats=pl.col("prob_above_seats") * 0.9 + 0.05)
    last = np.ones(12)
    for seats in (0, 1, 5, 20, 39, 40, 41, 60, 200, 2000):
        rows = set_capacities(
            odd, changed_plan(seats=seats, total_capacity=4000), features, THRESHOLDS, tails
        )
        probability = rows.filter(TRIP)["prob_above_seats"].to_numpy()
        assert (probability <= last + 1e-12).all()
        last = probability


def test_unknown_seats_have_no_probability(world):
    forecasts_of, tails = world
    features, issued = forecasts_of(plan(dates(ISSUED)))
    unknown = set_capacities(
        issued, changed_plan(seats=None, total_capacity=None), features, THRESHOLDS, tails
    )
    assert unknown.filter(TRIP)["prob_above_seats"].null_count() == 12
    assert set(unknown.filter(TRIP)["occupancy_level"]) == {"unknown"}
    known = set_capacities(unknown, plan(dates(ISSUED)), features, THRESHOLDS, tails)
    assert_frame_equal(known, issued, rel_tol=1e-6, abs_tol=1e-3)


def test_departure_that_left_the_plan_stays(world):
    forecasts_of, tails = world
    features, issued = forecasts_of(plan(dates(ISSUED)))
    rows = set_capacities(issued, changed_plan(**HALF).filter(~TRIP), features, THRESHOLDS, tails)
    assert rows.equals(issued)


def test_departure_without_any_counts_follows_its_seats(world):
    nothing = loads([LAST]).clear()
    features = departure_features(plan([ISSUED]), nothing, OSLO)
    issued = forecast(features, levels(nothing, features, [ISSUED]), NO_WEATHER, None, ISSUED, THRESHOLDS)
    rows = set_capacities(issued, changed_plan(**HALF), features, THRESHOLDS, {}).filter(TRIP)
    assert set(rows["mean"]) == {5.0} and set(rows["p90"]) == {20.0}
    assert set(rows["prob_above_seats"]) == {0.1}
