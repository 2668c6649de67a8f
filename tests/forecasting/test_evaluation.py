from datetime import date, timedelta

import polars as pl
import pytest

from ruter_dagster.forecasting.baselines import baseline_quantiles
from ruter_dagster.forecasting.evaluation import (
    comparable,
    distribution_scores,
    improvement,
    quantile_shares,
    recall_at_precision,
    release_gate,
    reliability,
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


def test_rows_without_last_week_are_scored_separately():
    frame = forecasts(2, 4).with_columns(
        pl.when(pl.int_range(pl.len()) >= 28).then("last_week").alias("last_week")
    )
    assert share_without_last_week(frame) == pytest.approx(28 / frame.height)
    assert comparable(frame).height + without_last_week(frame).height == frame.height


def test_rows_without_load_are_not_scored():
    frame = forecasts(2, 4).with_columns(pl.when(pl.int_range(pl.len()) > 9).then("load").alias("load"))
    assert scores(frame)["rows"].item() == frame.height - 10


def test_interval_contains_the_improvement_and_is_reproducible():
    frame = forecasts(2, 4).with_columns(
        # The model errs more in every other week.
        (pl.col("mean") + (pl.int_range(pl.len()) // 14 % 2) * (pl.col("mean") - 20)).alias("mean")
    )
    result = improvement(frame, "ha4")
    assert result.low < result.relative < result.high
    assert result == improvement(frame, "ha4")


def test_two_equal_weeks_give_no_narrow_interval():
    """The model errs more on every other date, and equally often in both weeks."""
    number = pl.int_range(pl.len())
    frame = forecasts(2, 4).head(28)
    day = (number // 2) % 7
    frame = frame.with_columns(
        pl.when(day % 2 == 0).then(20 + 2 * (pl.col("mean") - 20)).otherwise("mean").alias("mean")
    )
    result = improvement(frame, "ha4")
    assert result.low < result.relative - 0.1 < result.relative + 0.1 < result.high


def test_many_weeks_are_drawn_as_blocks():
    """Weeks that are alike give an interval without width, however much their dates differ."""
    day = pl.int_range(pl.len()) // 2 % 7
    frame = forecasts(2, 4).with_columns(
        pl.when(day % 2 == 0).then(20 + 2 * (pl.col("mean") - 20)).otherwise("mean").alias("mean")
    )
    result = improvement(frame, "ha4")
    assert result.low == pytest.approx(result.high) == pytest.approx(result.relative)


def test_single_week_gives_an_unbounded_interval():
    result = improvement(forecasts(2, 4).head(14), "ha4")
    assert (result.low, result.high) == (float("-inf"), float("inf"))


def test_gate_fails_only_modes_that_are_significantly_worse():
    worse, better = forecasts(5, 4, "tram"), forecasts(3, 4, "bus")
    verdicts = {gate.mode: gate.passed for gate in release_gate(pl.concat([worse, better]))}
    assert verdicts == {"bus": True, "tram": False}
    assert [gate.passed for gate in release_gate(worse.head(14))] == [True]


def crowding(seats: int | None = 40) -> pl.DataFrame:
    """100 departures, of which every tenth is crowded, with lags that say so of half of them."""
    crowded = pl.int_range(100, eager=True) % 10 == 0
    known = crowded & (pl.int_range(100, eager=True) % 20 == 0)
    loads = [50.0 if one else 10.0 for one in crowded]
    lags = [50.0 if one else 10.0 for one in known]
    frame = pl.DataFrame({"load": loads, "mean": loads, "p10": loads, "p50": loads, "p90": loads})
    return frame.with_columns(
        pl.lit(seats, pl.Int32).alias("seats"),
        pl.when(pl.col("load") > 40).then(0.9).otherwise(0.02).alias("prob_above_seats"),
        *(pl.Series(f"lag_{week}", lags) for week in range(1, 9)),
        *(pl.Series(name, lags) for name in ("last_week", "ha4", "ha8")),
    ).with_columns(baseline_quantiles())


def test_distributions_of_model_and_baselines_are_scored():
    judged = {row["forecast"]: row for row in distribution_scores(crowding()).to_dicts()}
    assert list(judged) == ["model", "last_week", "ha4", "ha8"]
    model, ha8 = judged["model"], judged["ha8"]
    assert (model["wape"], model["crps"], model["coverage"], model["crowded_recall"]) == (0, 0, 1, 1)
    assert model["crowded_expected"] == pytest.approx(10 * 0.9 + 90 * 0.02)
    # Five of a hundred are 40 passengers off at each quantile: the mean loss over 0.1, 0.5 and 0.9, twice.
    assert ha8["crps"] == pytest.approx(2 * 0.05 * 40 * (0.1 + 0.5 + 0.9) / 3)
    assert ha8["pinball_p90"] == pytest.approx(0.05 * 0.9 * 40)
    assert (ha8["crowded"], ha8["crowded_expected"], ha8["coverage"]) == (10, 5, 0.95)
    # Ranked by HA8 over the seats, five are recalled; the others come with all the rest.
    assert ha8["crowded_recall"] == 0.5


def test_distributions_without_seats_have_no_crowding():
    judged = distribution_scores(crowding(None).with_columns(prob_above_seats=pl.lit(None, pl.Float64)))
    assert judged.select("crowded", "crowded_expected", "crowded_recall").null_count().row(0) == (4, 4, 4)
    assert judged["crps"].null_count() == 0
    assert reliability(crowding(None)).is_empty()


def test_recall_uses_the_loosest_precise_threshold():
    happened = pl.Series([True, False, True, False, False, False, True, False])
    score = pl.Series([0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2])
    assert recall_at_precision(happened, score, 0.5) == pytest.approx(2 / 3)
    assert recall_at_precision(happened, score, 0.95) == pytest.approx(1 / 3)
    assert recall_at_precision(happened, -score, 0.9) == 0
    assert recall_at_precision(~happened & happened, score) is None


def test_equal_scores_are_recalled_together():
    happened = pl.Series([True, True, False, False, False, False])
    assert recall_at_precision(happened, pl.Series([0.5] * 6)) == 0


def test_reliability_reports_shares_by_band():
    bands = reliability(crowding()).to_dicts()
    assert [(one["band"], one["departures"], one["observed"]) for one in bands] == [
        ("0.01 to 0.05", 90, 0.0),
        ("0.5 to 1", 10, 1.0),
    ]
    assert [one["forecast"] for one in bands] == pytest.approx([0.02, 0.9])


def test_quantile_shares_tell_loads_below_from_equal_loads() -> None:
    loads = pl.DataFrame(
        {"mode": "bus", "load": [0.0, 0.0, 5.0, 10.0, None], "p10": 0.0, "p50": 5.0, "p90": 9.0}
    )
    assert quantile_shares(loads).rows() == [
        ("bus", 0.1, 0.0, 0.5),
        ("bus", 0.5, 0.5, 0.75),
        ("bus", 0.9, 0.75, 0.75),
    ]
