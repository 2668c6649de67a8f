from dataclasses import replace
from datetime import date, timedelta

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from ruter_dagster.contracts.features import DEPARTURE_FEATURES
from ruter_dagster.contracts.frames import validate
from ruter_dagster.forecasting.calendar import Event
from ruter_dagster.forecasting.features import departure_features, lag_dates
from tests.forecasting.network import DAYS, FIRST, LAST, OSLO, loads, plan, scrambled

DAY = LAST - timedelta(10)
SLOT = {"line_id": "31", "stop_id": "skøyen", "slot_hour": 13}


@pytest.fixture(scope="module")
def history() -> pl.DataFrame:
    return loads()


def of_slot(frame: pl.DataFrame, **extra) -> pl.DataFrame:
    return frame.filter(**SLOT, **extra)


def test_every_planned_departure_has_one_row_that_keeps_the_contract(history):
    features = departure_features(plan([DAY]), history, OSLO)
    validate(features, DEPARTURE_FEATURES, [DAY])
    assert features.height == plan([DAY]).height


def test_a_lag_is_the_mean_of_the_slots_departures_that_many_weeks_before(history):
    features = of_slot(departure_features(plan([DAY]), history, OSLO))
    assert features.height == 2
    for week in (1, 8):
        expected = of_slot(history, service_date=DAY - timedelta(7 * week))["load"].mean()
        assert features[f"lag_{week}"].to_list() == pytest.approx([expected, expected])


def test_ha4_and_ha8_are_means_of_the_lags_that_are_present(history):
    gone = history.filter(pl.col("service_date") != DAY - timedelta(7))
    row = of_slot(departure_features(plan([DAY]), gone, OSLO)).row(0, named=True)
    lags = [of_slot(gone, service_date=DAY - timedelta(7 * week))["load"].mean() for week in range(2, 9)]
    assert row["lag_1"] is None
    assert row["history_count"] == 7
    assert row["ha4"] == pytest.approx(sum(lags[:3]) / 3)
    assert row["ha8"] == pytest.approx(sum(lags) / 7)


def test_a_public_holiday_looks_back_on_sundays():
    good_friday = date(2026, 4, 3)
    assert OSLO.comparable_weekday(good_friday) == 6
    comparable = OSLO.comparable_dates(good_friday, 7, 56)
    assert comparable
    assert {day.weekday() for day in comparable} == {6}
    assert good_friday - timedelta(7) in lag_dates(good_friday, OSLO)


def test_no_feature_changes_when_the_loads_of_the_last_six_days_and_of_the_future_do(history):
    features = departure_features(plan([DAY]), history, OSLO)
    altered = departure_features(plan([DAY]), scrambled(history, DAY - timedelta(7)), OSLO)
    assert_frame_equal(features, altered, check_exact=True)
    earlier = departure_features(plan([DAY]), scrambled(history, DAY - timedelta(8)), OSLO)
    assert not features["lag_1"].equals(earlier["lag_1"])


def test_features_read_no_other_dates_than_those_that_lag_dates_names(history):
    wanted = lag_dates(DAY, OSLO)
    assert all(7 <= (DAY - day).days <= 56 for day in wanted)
    alone = departure_features(plan([DAY]), history.filter(pl.col("service_date").is_in(wanted)), OSLO)
    assert_frame_equal(alone, departure_features(plan([DAY]), history, OSLO), check_exact=True)


def test_a_day_has_the_same_features_alone_and_among_others(history):
    days = [DAY - timedelta(1), DAY, DAY + timedelta(1)]
    together = departure_features(plan(days), history.sample(fraction=1, shuffle=True, seed=3), OSLO)
    alone = departure_features(plan([DAY]), history, OSLO)
    assert_frame_equal(together.filter(pl.col("service_date") == DAY), alone, check_exact=True)


def test_the_first_day_has_rows_without_history():
    features = departure_features(plan([FIRST]), loads([FIRST + timedelta(DAYS)]), OSLO)
    assert features["history_count"].unique().to_list() == [0]
    assert features["ha8"].null_count() == features.height


def test_loads_that_an_event_touched_are_no_usual_loads_but_remain_lags(history):
    thursday = DAY - timedelta(7)
    last_week, hour = thursday - timedelta(7), SLOT["slot_hour"]
    eventful = replace(OSLO, events=(Event(last_week, hour, hour, ("31",)),))
    match_day = pl.col("service_date") == last_week
    crowded = history.with_columns(pl.when(match_day).then(90.0).otherwise("load").alias("load"))
    row = of_slot(departure_features(plan([thursday]), crowded, eventful)).row(0, named=True)
    plain = of_slot(departure_features(plan([thursday]), crowded, OSLO)).row(0, named=True)
    other_dates = [
        of_slot(history, service_date=day)["load"].mean() for day in OSLO.comparable_dates(thursday, 8, 56)
    ]
    assert row["usual"] == pytest.approx(sum(other_dates) / len(other_dates))
    assert row["usual"] < plain["usual"]
    assert (row["events"], row["events_last_week"], plain["events_last_week"]) == (0, 1, 0)
    assert (row["lag_1"], row["ha4"]) == (plain["lag_1"], plain["ha4"])
