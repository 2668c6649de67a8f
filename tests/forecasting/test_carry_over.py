"""Passengers who stay in the vehicle between two trips, compared with the true loads of a simulated network."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from ruter_dagster.contracts.tables import STOP_LOADS
from ruter_dagster.contracts.validation import validate
from ruter_dagster.forecasting.carry_over import CarryOver, carry_over_summary
from ruter_dagster.forecasting.counts import balance, balance_summary, balance_with_lines
from ruter_dagster.quality.check import check_table
from tests.forecasting.loop_network import DAY, simulated

NEVER = CarryOver("never")
_VISIT = ["trip_id", "stop_sequence"]


def balanced(visits: pl.DataFrame, settings: CarryOver = CarryOver()) -> pl.DataFrame:  # noqa: B008 (frozen)
    return balance(visits.drop("true_load", strict=False), "UTC", settings)


def errors(visits: pl.DataFrame, settings: CarryOver = CarryOver()) -> dict[str, float]:  # noqa: B008 (frozen)
    """Mean absolute error of the loads by line, passengers; a row without a load counts as a load of 0."""
    truth = visits.select(*_VISIT, "true_load")
    error = (pl.col("load").fill_null(0) - pl.col("true_load")).abs().mean()
    loads = balanced(visits, settings).join(truth, on=_VISIT)
    return dict(loads.group_by("line_id").agg(error).iter_rows())


def lines(visits: pl.DataFrame, settings: CarryOver = CarryOver()) -> set[str]:  # noqa: B008 (frozen)
    """Lines whose loads are carried over."""
    decided = balance_with_lines(visits.drop("true_load"), "UTC", settings)[1]
    return set(decided.filter("carried_over")["line_id"])


@pytest.fixture(scope="module")
def visits() -> pl.DataFrame:
    return simulated()


@pytest.mark.parametrize("missed", [0.0, 0.02, 0.05, 0.1])
def test_carried_loads_are_closer_to_the_truth(missed):
    visits = simulated(missed=missed)
    carried, empty_at_ends = errors(visits), errors(visits, NEVER)
    assert carried["loop"] < empty_at_ends["loop"] / 3
    assert carried["north"] < empty_at_ends["north"] / 2
    assert carried["south"] < empty_at_ends["south"] / 2


def test_loads_are_exact_without_counter_errors():
    exact = simulated(missed=0.0)
    assert max(errors(exact).values()) < 1e-3


@pytest.mark.parametrize("seed", range(4))
def test_lines_that_carry_over_are_recognised(seed):
    assert lines(simulated(seed)) == {"loop", "north"}


def test_ordinary_line_is_balanced_without_carry_over(visits):
    plain = pl.col("line_id") == "plain"
    assert_frame_equal(
        balanced(visits).filter(plain), balanced(visits, NEVER).filter(plain), check_exact=True
    )


def test_lost_trips_and_dead_counters_do_not_hide_lines():
    visits = simulated(missed=0.03).filter(~pl.col("trip_id").is_in(["loop-1-5", "through-2-4"]))
    missing = pl.col("stop_sequence") % 8 == 3
    one_sided = visits.with_columns(
        alightings=pl.when(missing).then(0).otherwise("alightings").cast(pl.Int32)
    )
    assert lines(one_sided) == {"loop", "north"}
    assert errors(one_sided)["loop"] < errors(one_sided, NEVER)["loop"]


@pytest.mark.parametrize("missed", [0.0, 0.1])
def test_carried_loads_keep_the_contract_and_every_check(visits, missed):
    loads = balanced(simulated(missed=missed))
    validate(loads, STOP_LOADS, [DAY])
    assert check_table(STOP_LOADS, loads, [DAY]).message == ""


def test_next_trip_takes_over_the_final_load(visits):
    ends = balanced(visits).group_by("trip_id").agg(pl.col("initial_load", "final_load").first())
    assert ends["final_load"].sum() > 0
    assert ends["final_load"].sum() == pytest.approx(ends["initial_load"].sum())


def test_block_starts_and_ends_empty(visits):
    loads = balanced(visits).sort("vehicle_id", "scheduled_departure_time")
    of_vehicle = loads.group_by("vehicle_id").agg(pl.col("initial_load").first(), pl.col("load").last())
    assert of_vehicle["initial_load"].null_count() == of_vehicle.height
    assert of_vehicle["load"].max() == 0


# What the operator says


def test_mode_may_be_set_for_single_lines(visits):
    assert lines(visits, CarryOver(lines={"loop": "never"})) == {"north"}
    assert lines(visits, CarryOver("never", {"plain": "always"})) == {"plain"}
    assert lines(visits, CarryOver("always")) == {"loop", "north", "south", "plain"}


def test_mode_always_hardly_changes_an_ordinary_line(visits):
    assert errors(visits, CarryOver("always"))["plain"] < errors(visits)["plain"] + 0.75


def test_long_wait_ends_the_block(visits):
    assert lines(visits, CarryOver(longest_wait_minutes=8)) == {"loop", "north"}
    assert lines(visits, CarryOver(longest_wait_minutes=7)) == set()


# Which trips one vehicle runs one after the other


def test_blocks_connect_trips_at_different_stops(visits):
    """North ends and south begins at quays of different names: only the block tells that the vehicle goes on."""
    other_quay = pl.when(pl.col("line_id") == "south").then(pl.col("stop_id") + "-b").otherwise("stop_id")
    apart = visits.with_columns(stop_id=other_quay)
    blocks = apart.with_columns(block_id=pl.lit("b-") + pl.col("vehicle_id"))
    assert lines(apart) == {"loop"}
    assert lines(blocks) == {"loop", "north"}
    assert errors(blocks) == errors(simulated(block_ids=True))


def test_trips_of_two_blocks_are_not_joined(visits):
    each = visits.with_columns(block_id="trip_id")
    assert_frame_equal(balanced(each), balanced(visits, NEVER))


def test_trips_without_vehicle_and_block_are_balanced_alone(visits):
    unknown = visits.with_columns(vehicle_id=pl.lit(None, pl.String))
    assert_frame_equal(balanced(unknown), balanced(unknown, NEVER))
    blocks = unknown.with_columns(block_id=pl.lit("b-") + visits["vehicle_id"])
    assert lines(blocks) == {"loop", "north"}


def test_too_few_trips_infer_nothing():
    assert lines(simulated(vehicles=1, trips=8)) == set()


def test_balance_does_not_depend_on_other_dates(visits):
    tomorrow = [pl.col(name) + timedelta(days=1) for name in ("service_date", "scheduled_departure_time")]
    few = visits.filter(pl.col("vehicle_id").str.ends_with("-0")).with_columns(tomorrow)
    both = balanced(pl.concat([few, visits]))
    assert_frame_equal(both.filter(service_date=DAY), balanced(visits), check_exact=True)
    assert_frame_equal(both.filter(service_date=DAY + timedelta(days=1)), balanced(few), check_exact=True)


def test_stray_count_affects_only_its_own_trip(visits):
    hit = (pl.col("trip_id") == "loop-1-1") & (pl.col("stop_sequence") == 3)
    stray = visits.with_columns(alightings=pl.when(hit).then(200).otherwise("alightings").cast(pl.Int32))
    loads = balanced(stray)
    assert set(loads.filter(pl.col("load").is_null())["trip_id"]) == {"loop-1-1"}
    others = pl.col("vehicle_id") != "loop-1"
    assert_frame_equal(loads.filter(others), balanced(visits).filter(others))


def test_trips_with_only_loads_are_unchanged(visits):
    none = pl.lit(None, pl.Int32)
    loads_only = visits.with_columns(departure_load="true_load", boardings=none, alightings=none).cast(
        {"departure_load": pl.Int32}
    )
    assert lines(loads_only, CarryOver("always")) == set()
    assert errors(loads_only, CarryOver("always")) == dict.fromkeys(("loop", "north", "south", "plain"), 0.0)


def test_report_names_lines_and_counts_their_trips(visits):
    raw = visits.drop("true_load")
    loads, decided = balance_with_lines(raw, "UTC", CarryOver())
    report = carry_over_summary(loads, decided)
    assert report.select("line_id", "mode", "dates", "connections").rows() == [
        ("loop", "infer", 1, 44),
        ("north", "infer", 1, 24),
    ]
    assert balance_summary(raw, loads).trips_carrying_over == report["trips"].sum()
    assert 40 <= report["trips"][0] <= 44
    assert report["with_passengers"].min() > 3  # pyright: ignore[reportOperatorIssue, reportOptionalOperand]


def test_settings_are_compared_by_value():
    assert replace(CarryOver(), mode="infer") == CarryOver()
