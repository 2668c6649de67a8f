"""A door sensor that fails in both directions: the vehicle's counts agree but are lower than those of other vehicles."""

from __future__ import annotations

from datetime import date, timedelta

import numpy as np
import polars as pl
import pytest

from ruter_dagster.contracts.tables import STOP_VISITS
from ruter_dagster.quality.check import check_table
from ruter_dagster.quality.report import QualityReport
from ruter_dagster.quality.vehicle_counts import compare_with_others, vehicle_counts
from ruter_dagster.sources.demo.source import DemoSource
from tests.quality.frames import DAY, visits

WEEK = [DAY - timedelta(days=ago) for ago in range(6, -1, -1)]
NAME = "vehicles_count_alike"


def with_dead_door(frame: pl.DataFrame, vehicle: str, seed: int = 1) -> pl.DataFrame:
    """The frame without half of a vehicle's boardings and alightings: one of its two doors counts nothing."""
    random, is_dead = np.random.default_rng(seed), (frame["vehicle_id"] == vehicle).to_numpy()
    counts = {
        name: pl.Series(random.binomial(frame[name].to_numpy(), np.where(is_dead, 0.5, 1.0)), dtype=pl.Int32)
        for name in ("boardings", "alightings")
    }
    return frame.with_columns(**counts)


def check(frame: pl.DataFrame, earlier: pl.DataFrame | None = None) -> QualityReport:
    return check_table(STOP_VISITS, frame, sorted(frame["service_date"].unique()), earlier_vehicles=earlier)


def warned(report: QualityReport, day: date = DAY) -> bool:
    return NAME in report.verdicts[day].warned


@pytest.fixture(scope="module")
def week() -> pl.DataFrame:
    return visits(*WEEK, journeys=60)


def test_expected_count_is_the_mean_of_other_vehicles():
    frame = visits(DAY, journeys=4).with_columns(
        boardings=pl.Series([4, 3, 2, 1, 0] * 3 + [0] * 5, dtype=pl.Int32)
    )
    counts = {row["vehicle_id"]: row for row in vehicle_counts(frame).to_dicts()}
    assert (counts["train-0"]["passengers"], counts["train-3"]["passengers"]) == (20, 10)
    assert counts["train-0"]["expected"] == pytest.approx((20 + 20 + 10) / 3, abs=0.01)
    assert counts["train-3"]["expected"] == pytest.approx(20)


def test_vehicle_without_others_is_not_compared():
    alone = visits(DAY, journeys=6).with_columns(vehicle_id=pl.lit("train-0"))
    hours = visits(DAY).with_columns(line_id="vehicle_id")
    unnamed = visits(DAY).with_columns(vehicle_id=pl.lit(None, pl.String))
    assert [vehicle_counts(frame).height for frame in (alone, hours, unnamed)] == [0, 0, 0]


def test_door_dead_in_both_directions_warns(week):
    report = check(with_dead_door(week, "train-1"))
    assert warned(report)
    assert report.verdicts[DAY].passed
    assert "vehicle_id=train-1, dates=7" in report.message
    assert "train-2" not in report.message
    assert "vehicles_balanced" not in report.verdicts[DAY].warned


def test_only_vehicles_with_low_counts_are_examples(week):
    [result] = [one for one in check(with_dead_door(week, "train-1")).results if one.name == NAME]
    assert {example["vehicle_id"] for example in result.examples} == {"train-1"}


def test_vehicles_that_count_alike_do_not_warn(week):
    report = check(week)
    assert not warned(report)
    assert NAME not in report.verdicts[DAY].not_judged


def test_single_date_is_not_judged(week):
    report = check(with_dead_door(visits(DAY, journeys=60), "train-1"))
    assert NAME in report.verdicts[DAY].not_judged


def test_stored_counts_give_the_same_result_as_the_range(week):
    dead = with_dead_door(week, "train-1")
    earlier = check(dead.filter(pl.col("service_date") < DAY)).vehicles
    alone = check(dead.filter(service_date=DAY), earlier)
    together = check(dead)
    assert warned(alone)
    assert alone.results[0].measures[DAY] == together.results[0].measures[DAY]
    ratios = [
        compare_with_others(counts).filter(date=DAY)
        for counts in (pl.concat([earlier, alone.vehicles]), together.vehicles)
    ]
    assert ratios[0].equals(ratios[1])


def test_old_and_replaced_counts_are_ignored(week):
    earlier = check(with_dead_door(week, "train-1")).vehicles
    old = earlier.with_columns(pl.col("date") - timedelta(days=7))
    assert NAME in check(week.filter(service_date=DAY), old).verdicts[DAY].not_judged
    assert not warned(check(week, earlier)), "counts of corrected dates are replaced"


def test_dead_door_of_a_demo_bus_has_the_lowest_ratio():
    source = DemoSource()
    frame = pl.concat(source.stop_visits(date(2026, 9, 5) + timedelta(days=day)) for day in range(7))
    buses = frame.filter(mode="bus")
    bus = buses["vehicle_id"].sort()[0]
    compared = compare_with_others(vehicle_counts(with_dead_door(buses, bus))).filter(date=date(2026, 9, 11))
    assert compared.row(0, named=True)["vehicle_id"] == bus
    assert compared["ratio"][0] < 0.65 < compared["ratio"][1]
