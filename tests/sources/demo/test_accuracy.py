"""A perfect forecast beats the baselines on the demo network by a realistic margin."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, timedelta

import polars as pl
import pytest

Rides = Callable[[date, date], pl.DataFrame]
SLOT = ["line_id", "direction_id", "stop_id", "hour"]


def _gain(rides: Rides, first: date, last: date, lines: tuple[str, ...] = ()) -> dict[str, float]:
    """1 - WAPE of the true mean / WAPE of each baseline, on the rows that have LW."""
    history = rides(first - timedelta(56), last)
    slots = history.group_by("service_date", *SLOT).agg(pl.col("load").mean())
    frame = history.filter(pl.col("service_date") >= first)
    if lines:
        frame = frame.filter(pl.col("line_id").is_in(lines))
    for weeks in range(1, 9):
        lag = slots.with_columns(pl.col("service_date").dt.offset_by(f"{weeks}w")).rename(
            {"load": f"lag{weeks}"}
        )
        frame = frame.join(lag, on=["service_date", *SLOT], how="left")
    baselines = {
        name: pl.mean_horizontal([f"lag{week}" for week in range(1, weeks + 1)])
        for name, weeks in (("LW", 1), ("HA4", 4), ("HA8", 8))
    }
    frame = frame.filter(pl.col("lag1").is_not_null()).with_columns(**baselines)
    error = {
        name: (frame[name] - frame["load"]).abs().sum() / frame["load"].sum()
        for name in ("mean_load", *baselines)
    }
    return {name: 1 - error["mean_load"] / error[name] for name in baselines}


def test_ordinary_weeks(rides: Rides) -> None:
    gain = _gain(rides, date(2026, 11, 2), date(2026, 11, 15))
    assert 0.24 < gain["LW"] < 0.35
    assert 0.12 < gain["HA4"] < 0.22
    assert 0.12 < gain["HA8"] < 0.25


def test_autumn_holiday(rides: Rides) -> None:
    assert _gain(rides, date(2026, 9, 28), date(2026, 10, 2))["HA4"] > 0.30


def test_public_holiday(rides: Rides) -> None:
    assert _gain(rides, date(2026, 5, 14), date(2026, 5, 14))["HA4"] > 0.50


@pytest.mark.parametrize("line", ["RUT:Line:1", "RUT:Line:20"])
def test_lines_with_a_changed_headway(rides: Rides, line: str) -> None:
    assert _gain(rides, date(2026, 10, 12), date(2026, 10, 25), (line,))["HA4"] > 0.28
