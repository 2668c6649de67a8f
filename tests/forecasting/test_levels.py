from dataclasses import replace
from datetime import timedelta

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from ruter_dagster.contracts.features import LEVELS
from ruter_dagster.contracts.frames import validate
from ruter_dagster.forecasting.calendar import Event
from ruter_dagster.forecasting.levels import level_dates, levels
from tests.forecasting.network import FIRST, LAST, OSLO, loads, scrambled

CUTOFF = LAST - timedelta(10)


@pytest.fixture(scope="module")
def history() -> pl.DataFrame:
    return loads()


def test_levels_keep_their_contract(history):
    cutoffs = [CUTOFF, CUTOFF + timedelta(1)]
    validate(levels(history, cutoffs, OSLO), LEVELS, cutoffs)


def test_a_week_with_half_as_many_passengers_again_shows_in_the_networks_ratio(history):
    recent = pl.col("service_date") > CUTOFF - timedelta(7)
    fuller = history.with_columns(pl.when(recent).then(1.5 * pl.col("load")).otherwise("load").alias("load"))
    network = levels(fuller, [CUTOFF], OSLO).filter(scope="network").row(0, named=True)
    usual = levels(history, [CUTOFF], OSLO).filter(scope="network").row(0, named=True)
    # The mean that the week is compared with holds that week, with the greatest of eight decaying weights.
    of_the_mean = 1 / sum(0.9**week for week in range(8))
    expected = 1.5 / (1 + 0.5 * of_the_mean)
    assert network["ratio_7"] / usual["ratio_7"] == pytest.approx(expected, rel=0.02)
    assert 1 < network["ratio_14"] / usual["ratio_14"] < network["ratio_7"] / usual["ratio_7"]


def test_no_level_changes_when_later_loads_do(history):
    before = levels(history, [CUTOFF], OSLO)
    assert_frame_equal(before, levels(scrambled(history, CUTOFF), [CUTOFF], OSLO), check_exact=True)
    assert not before.equals(levels(scrambled(history, CUTOFF - timedelta(1)), [CUTOFF], OSLO))


def test_levels_read_no_other_dates_than_those_that_level_dates_names(history):
    only = history.filter(pl.col("service_date").is_in(level_dates(CUTOFF)))
    assert_frame_equal(levels(only, [CUTOFF], OSLO), levels(history, [CUTOFF], OSLO), check_exact=True)


def test_a_cutoff_has_the_same_levels_alone_and_among_others(history):
    together = levels(history, [CUTOFF - timedelta(3), CUTOFF], OSLO)
    alone = levels(history, [CUTOFF], OSLO)
    assert_frame_equal(together.filter(cutoff_date=CUTOFF), alone, check_exact=True)


def test_a_cutoff_before_any_load_has_no_levels(history):
    assert levels(history, [FIRST - timedelta(1)], OSLO).is_empty()


def of_departure(frame: pl.DataFrame, minute: int, day_class: str) -> dict:
    return frame.filter(scope="departure_of_day_class", scope_id=f"31|0|skøyen|{minute}|{day_class}").row(
        0, named=True
    )


def test_departures_of_one_hour_have_levels_of_their_own(history):
    at_half_past = pl.col("scheduled_departure_time").dt.minute() == 30
    uneven = history.with_columns(
        pl.when(at_half_past).then(3.0 * pl.col("load")).otherwise("load").alias("load")
    )
    before, after = levels(history, [CUTOFF], OSLO), levels(uneven, [CUTOFF], OSLO)
    saturday = "saturday"
    assert of_departure(after, 780, saturday)["mean_56"] == of_departure(before, 780, saturday)["mean_56"]
    assert of_departure(after, 810, saturday)["mean_56"] == pytest.approx(
        3 * of_departure(before, 810, saturday)["mean_56"]
    )


def test_loads_that_an_event_touched_are_in_no_level(history):
    full = pl.col("service_date") == CUTOFF
    crowded = history.with_columns(pl.when(full).then(pl.lit(90.0)).otherwise("load").alias("load"))
    told = replace(OSLO, events=(Event(CUTOFF),))
    without = levels(history.filter(~full), [CUTOFF], OSLO)
    assert_frame_equal(levels(crowded, [CUTOFF], told), without, check_exact=True)
