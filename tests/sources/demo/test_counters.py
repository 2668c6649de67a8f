"""The errors of the simulated counters have the documented sizes."""

from __future__ import annotations

from datetime import date, timedelta

import numpy as np
import polars as pl
import pytest

from ruter_dagster.sources.demo import counters
from ruter_dagster.sources.demo.fleet import build_fleet
from ruter_dagster.sources.demo.source import DemoSource

FIRST = date(2026, 10, 12)
KEY = ["service_date", "trip_id", "stop_sequence"]


@pytest.fixture(scope="module")
def counted(source: DemoSource) -> pl.DataFrame:
    """Four weeks of visits beside the truth (`*_true`)."""
    days = [FIRST + timedelta(n) for n in range(28)]
    truth = pl.concat([source.truth(day) for day in days]).drop("seats", "total_capacity")
    return truth.join(
        pl.concat([source.stop_visits(day) for day in days]), on=KEY, how="left", suffix="_counted"
    )


def test_lost_trips_have_no_counts(counted: pl.DataFrame) -> None:
    trips = counted.group_by("service_date", "trip_id").agg(
        pl.col("boardings_counted").is_null().mean().alias("lost")
    )
    assert set(trips["lost"]) == {0.0, 1.0}
    assert trips["lost"].mean() == pytest.approx(counters.LOST_SHARE, rel=0.25)


def test_counters_miss_a_few_percent_and_add_none(counted: pl.DataFrame) -> None:
    arrived = counted.drop_nulls("boardings_counted")
    assert arrived.filter(pl.col("boardings_counted") > pl.col("boardings")).is_empty()
    missed = 1 - arrived["boardings_counted"].sum() / arrived["boardings"].sum()
    usual = sum(counters.UNDERCOUNT) / 2 + counters.DRIFT / 4
    assert usual < missed < usual + 0.025, "dead doors and resets come on top"


def test_counters_drift_until_they_are_calibrated() -> None:
    fleet = build_fleet(20, "ruter")
    shares = np.stack(
        [counters.detection_shares(20, fleet, FIRST + timedelta(n))[0] for n in range(0, 180, 7)]
    )
    best, change = shares.max(axis=0), np.diff(shares, axis=0)
    assert best.min() > 1 - counters.UNDERCOUNT[1] - counters.DRIFT
    assert (change < 0).mean() > 0.8, "a little lower every week, but for calibrations and repaired doors"


def test_dead_door_loses_its_share_for_some_days() -> None:
    fleet = build_fleet(20, "ruter")
    lost = np.stack(
        [1 - counters.detection_shares(20, fleet, FIRST + timedelta(n))[0] for n in range(0, 140, 14)]
    )
    dead = lost > 0.06 + 1e-9
    few_doors = fleet.doors <= 4
    assert dead[:, few_doors].mean() == pytest.approx(counters.DEAD_DOOR_SHARE, rel=0.3)
    assert lost[:, few_doors][dead[:, few_doors]].mean() == pytest.approx(
        (1 / fleet.doors[few_doors]).mean(), abs=0.08
    )


def test_loads_of_many_trips_do_not_end_at_zero(counted: pl.DataFrame) -> None:
    arrived = counted.drop_nulls("departure_load").sort(KEY)
    ends = arrived.group_by("service_date", "trip_id", maintain_order=True).agg(
        pl.col("departure_load").last()
    )
    assert 0.1 < (ends["departure_load"] > 0).mean() < 0.8  # pyright: ignore


def test_reset_loses_counts_of_a_few_stops() -> None:
    stops = np.full(20_000, 18)
    kept = counters._kept_by_reset(np.random.default_rng(1), stops, 18)
    touched = ~kept.all(axis=0)
    assert touched.mean() == pytest.approx(counters.RESET_SHARE, rel=0.2)
    assert kept[0].all(), "the first stop is counted"
    assert (~kept).sum(axis=0).max() == counters._RESET_STOPS


def test_negative_load_restarts_at_zero() -> None:
    boardings, alightings = np.array([[5], [0], [4], [0]]), np.array([[0], [8], [1], [2]])
    assert counters.running_load(boardings, alightings)[:, 0].tolist() == [5, 0, 3, 1]
