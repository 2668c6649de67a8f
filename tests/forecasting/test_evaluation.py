from datetime import date, timedelta

import polars as pl
import pytest

from ruter_dagster.forecasting.evaluation import (
    comparable,
    improvement,
    release_gate,
    scores,
    share_without_last_week,
    without_last_week,
)

WEEKS = 8


def forecasts(error: float, baseline_error: float, mode: str = "bus") -> pl.DataFrame:
    """8 weeks of two loads a day, the model and the baselines off by a fixed number of passengers, up and down."""
    days = [date(2026, 3, 2) + timedelta(day) for day in range(7 * WEEKS) for _ in range(2)]
    sign = pl.when(pl.int_range(pl.len()) % 2 == 0).then(1).otherwise(-1)
    return pl.DataFrame({"service_date": days, "mode": mode, "horizon_days": 1, "load": 20.0}).with_columns(
        (20 + sign * error).alias("mean"),
        *((20 + sign * baseline_error).cast(pl.Float64).alias(name) for name in ("last_week", "ha4", "ha8")),
        pl.lit(15.0).alias("p10"), pl.lit(20.0).alias("p50"), pl.lit(25.0).alias("p90"),
    )  # fmt: skip


def test_scores_are_as_defined():
    score = scores(forecasts(2, 4)).row(0, named=True)
    assert score["wape"] == pytest.approx(0.1)
    assert score["wape_ha4"] == pytest.approx(0.2)
    assert score["improvement_ha4"] == pytest.approx(0.5)
    assert score["bias"] == pytest.approx(0.0)
    assert score["coverage"] == 1.0
    assert score["pinball_p10"] == pytest.approx(0.1 * 5)


def test_rows_without_last_week_drop_out_of_the_table_and_are_scored_apart():
    frame = forecasts(2, 4).with_columns(
        pl.when(pl.int_range(pl.len()) >= 28).then("last_week").alias("last_week")
    )
    assert share_without_last_week(frame) == pytest.approx(28 / frame.height)
    assert comparable(frame).height + without_last_week(frame).height == frame.height


def test_rows_without_truth_are_not_judged():
    frame = forecasts(2, 4).with_columns(pl.when(pl.int_range(pl.len()) > 9).then("load").alias("load"))
    assert scores(frame)["rows"].item() == frame.height - 10


def test_the_interval_holds_the_improvement_and_is_the_same_each_time():
    frame = forecasts(2, 4).with_columns(
        # The model errs more in every other week.
        (pl.col("mean") + (pl.int_range(pl.len()) // 14 % 2) * (pl.col("mean") - 20)).alias("mean")
    )
    found = improvement(frame, "ha4")
    assert found.low < found.relative < found.high
    assert found == improvement(frame, "ha4")


def test_one_week_alone_gives_an_unbounded_interval():
    found = improvement(forecasts(2, 4).head(14), "ha4")
    assert (found.low, found.high) == (float("-inf"), float("inf"))


def test_the_gate_stops_a_mode_that_is_surely_worse_and_passes_one_that_may_not_be():
    worse, better = forecasts(5, 4, "tram"), forecasts(3, 4, "bus")
    verdicts = {gate.mode: gate.passed for gate in release_gate(pl.concat([worse, better]))}
    assert verdicts == {"bus": True, "tram": False}
    assert [gate.passed for gate in release_gate(worse.head(14))] == [True]
