"""Two sets of forecasts are compared departure by departure, and each with the counted loads."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta

import numpy as np
import polars as pl
import pytest

from ruter_dagster.forecasting.comparison import (
    accuracy,
    change_sums,
    changes,
    compare_drift,
    error_sums,
    largest_changes,
    pair_forecasts,
)

ISSUED = date(2026, 11, 20)


def forecasts(
    means: Sequence[float], level: str = "full", mode: str = "bus", line: str = "1"
) -> pl.DataFrame:
    """One departure for each mean, on consecutive operating dates."""
    numbers = range(len(means))
    return pl.DataFrame(
        {
            "issue_date": [ISSUED] * len(means),
            "operating_date": [ISSUED + timedelta(number) for number in numbers],
            "trip_id": [f"{line}-{number}" for number in numbers],
            "stop_sequence": [1] * len(means),
            "line_id": [line] * len(means),
            "mode": [mode] * len(means),
            "stop_id": ["stop"] * len(means),
            "scheduled_departure_time": [datetime(2026, 11, 20, 5, tzinfo=UTC)] * len(means),
            "mean": [float(mean) for mean in means],
            "occupancy_level": [level] * len(means),
            "model_version": ["m"] * len(means),
        }
    )


def loads(pairs: pl.DataFrame, values: Sequence[float | None], weight: float = 1.0) -> pl.DataFrame:
    return pairs.select(
        pl.col("operating_date").alias("service_date"),
        "trip_id",
        "stop_sequence",
        load=pl.Series(values, dtype=pl.Float64),
        weight=pl.lit(weight),
    )


def sums(errors: Sequence[tuple[float, float]], load: float = 10.0, line: str = "1") -> pl.DataFrame:
    """One departure on each date, with the errors of this and of the other side."""
    pairs = pair_forecasts(
        forecasts([load + this for this, _ in errors], line=line),
        forecasts([load + other for _, other in errors], line=line),
    )
    return error_sums(pairs, loads(pairs, [load] * len(errors)))


def test_only_departures_of_both_sides_are_paired() -> None:
    pairs = pair_forecasts(forecasts([1, 2, 3]), forecasts([1, 5]))
    assert sorted(pairs.select("mean_this", "mean_other").rows()) == [(1, 1), (2, 5)]


def test_changes_are_summed_by_mode_and_in_total() -> None:
    bus = pair_forecasts(forecasts([3, 1]), forecasts([1, 2]))
    tram = pair_forecasts(forecasts([4], "full", "tram", "2"), forecasts([4], "empty", "tram", "2"))
    table = changes(pl.concat([change_sums(bus), change_sums(tram), change_sums(bus)]))
    assert table["mode"].to_list() == ["all", "bus", "tram"]
    assert table["departures"].to_list() == [5, 4, 1]
    assert table["mean_absolute"].to_list() == pytest.approx([6 / 5, 1.5, 0])
    assert table["mean"].to_list() == pytest.approx([2 / 5, 0.5, 0])
    assert table["level_changed"].to_list() == pytest.approx([0.2, 0, 1])


def test_largest_changes_come_first_without_unchanged_departures() -> None:
    pairs = pair_forecasts(forecasts([5, 1, 9, 2]), forecasts([5, 4, 1, 1]))
    assert largest_changes(pairs, 2)["mean_this"].to_list() == [9, 1]
    assert largest_changes(pairs, 10).height == 3


def test_largest_change_of_a_departure_is_shown_once() -> None:
    pairs = pair_forecasts(forecasts([5, 1]), forecasts([1, 4]))
    later = pairs.with_columns(pl.col("mean_this") + 1, issue_date=pl.lit(ISSUED + timedelta(1)))
    assert largest_changes(pl.concat([pairs, later]), 10)["mean_this"].to_list() == [6, 1]


def test_wape_of_both_is_over_the_same_counted_departures() -> None:
    pairs = pair_forecasts(forecasts([12, 8, 50]), forecasts([10, 14, 90]))
    table = accuracy(error_sums(pairs, loads(pairs, [10, 10, None])))
    assert table.select("mode", "departures", "dates").row(0) == ("all", 2, 2)
    assert table.select("wape_this", "wape_other", "difference").row(0) == pytest.approx((0.2, 0.2, 0))


def test_loads_of_weight_zero_are_not_truth() -> None:
    pairs = pair_forecasts(forecasts([12]), forecasts([10]))
    table = accuracy(error_sums(pairs, loads(pairs, [10], weight=0.0)), ["mode", "line_id"])
    assert table.is_empty()


def test_forecasts_of_several_issue_dates_share_a_truth() -> None:
    pairs = pair_forecasts(forecasts([12]), forecasts([11]))
    later = pairs.with_columns(issue_date=pl.lit(ISSUED + timedelta(1)))
    table = accuracy(error_sums(pl.concat([pairs, later]), loads(pairs, [10])))
    assert table.select("departures", "dates", "wape_this").row(0) == (2, 1, 0.2)


def test_constant_improvement_has_a_narrow_interval() -> None:
    row = accuracy(sums([(1.0, 2.0)] * 6)).row(0, named=True)
    assert row["difference"] == pytest.approx(-0.1)
    assert (row["low"], row["high"]) == pytest.approx((-0.1, -0.1))


def test_interval_of_alternating_errors_contains_zero() -> None:
    row = accuracy(sums([(1.0, 3.0), (3.0, 1.0)] * 5)).row(0, named=True)
    assert row["low"] < -0.05 < 0.05 < row["high"]


def test_interval_is_that_of_dates_drawn_with_replacement() -> None:
    errors = [(1.0, 3.0), (0.5, 0.0), (4.0, 1.0), (2.0, 2.5)]
    row = accuracy(sums(errors), seed=3).row(0, named=True)
    weights = np.random.default_rng(3).multinomial(4, [0.25] * 4, 2000)
    drawn = [sum(n * (a - b) for n, (a, b) in zip(draw, errors, strict=True)) / 40 for draw in weights]
    assert (row["low"], row["high"]) == pytest.approx(tuple(np.percentile(drawn, (2.5, 97.5))))


def test_interval_is_the_same_each_time_and_depends_on_the_seed() -> None:
    frame = sums([(n**1.7 % 5, n**2.3 % 7) for n in range(8)])
    first, again, other = accuracy(frame), accuracy(frame.reverse()), accuracy(frame, seed=1)
    assert first.equals(again)
    assert first["low"][0] != other["low"][0]


def test_single_service_date_has_no_interval() -> None:
    row = accuracy(sums([(1.0, 2.0)])).row(0, named=True)
    assert (row["wape_this"], row["low"], row["high"]) == (0.1, None, None)


def test_each_line_has_its_own_interval() -> None:
    frame = pl.concat(
        [sums([(1.0, 2.0)] * 4, line="a"), sums([(3.0, 2.0)] * 4, line="b"), sums([(1.0, 1.0)], line="c")]
    )
    table = accuracy(frame, ["mode", "line_id"])
    assert table["line_id"].to_list() == ["a", "b", "c"]
    assert table["high"].to_list() == [pytest.approx(-0.1), pytest.approx(0.1), None]


def test_line_without_passengers_is_left_out() -> None:
    pairs = pair_forecasts(forecasts([1, 1]), forecasts([2, 2]))
    assert accuracy(error_sums(pairs, loads(pairs, [0, 0])), ["line_id"]).is_empty()


def test_drift_metrics_of_both_sides_are_joined() -> None:
    this = pl.DataFrame(
        {"metric": ["a", "b"], "scope": "network", "value": [1.0, 2.0], "verdict": ["ok", "warn"]}
    )
    other = pl.DataFrame(
        {"metric": ["b", "c"], "scope": "network", "value": [3.0, 4.0], "verdict": ["ok", "act"]}
    )
    rows = compare_drift(this, other).select("metric", "verdict_this", "verdict_other").rows()
    assert rows == [("a", "ok", None), ("b", "warn", "ok"), ("c", None, "act")]
