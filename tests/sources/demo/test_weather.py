"""The simulated weather and its forecasts."""

from __future__ import annotations

from datetime import date, timedelta

import numpy as np
import polars as pl
import pytest

from ruter_dagster.sources.demo.source import DemoSource
from ruter_dagster.sources.demo.weather import weather_of


def test_issue_covers_hours_4_to_29_of_four_dates(source: DemoSource) -> None:
    issue = date(2026, 11, 11)
    forecast = source.weather_forecasts(issue)
    assert forecast.height == 4 * 26
    assert set(forecast["service_date"]) == {issue + timedelta(n) for n in range(4)}
    assert (forecast["slot_hour"].min(), forecast["slot_hour"].max()) == (4, 29)


def test_hours_after_midnight_belong_to_the_next_date() -> None:
    today, tomorrow = weather_of(20, date(2026, 11, 11)), weather_of(20, date(2026, 11, 12))
    assert today.precipitation[24:] == pytest.approx(tomorrow.precipitation[:24], abs=0.5)
    assert today.temperature[24:] == pytest.approx(tomorrow.temperature[:24], abs=0.5)


def test_forecast_error_grows_with_the_horizon(source: DemoSource) -> None:
    issues = [date(2026, 9, 1) + timedelta(n) for n in range(60)]
    forecasts = pl.concat([source.weather_forecasts(issue) for issue in issues])
    actual = pl.concat(
        pl.DataFrame(
            {
                "service_date": [day] * 48,
                "slot_hour": np.arange(48, dtype=np.int32),
                "actual": weather_of(20, day).temperature,
            }
        )
        for day in (date(2026, 9, 1) + timedelta(n) for n in range(63))
    )
    error = forecasts.join(actual, on=["service_date", "slot_hour"]).group_by(
        (pl.col("service_date") - pl.col("issue_date")).dt.total_days().alias("days")
    ).agg((pl.col("temperature") - pl.col("actual")).abs().mean()).sort("days")["temperature"]  # fmt: skip
    assert error.is_sorted() and error[0] < 0.6 * error[3]


def test_july_is_warmer_than_january() -> None:
    january, july = (weather_of(20, date(2026, month, 15)).temperature.mean() for month in (1, 7))
    assert january < 5 < 10 < july
