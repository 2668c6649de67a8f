"""Dates of the demo network that several tests read."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, timedelta
from functools import lru_cache

import polars as pl
import pytest

from ruter_dagster.sources.demo.source import DemoSource

SEED = 20


@pytest.fixture(scope="session")
def source() -> DemoSource:
    return DemoSource(SEED, "demo")


@pytest.fixture(scope="session")
def rides(source: DemoSource) -> Callable[[date, date], pl.DataFrame]:
    """Truth joined to the plan for the dates from the first to the last."""
    key = ["service_date", "trip_id", "stop_sequence"]

    @lru_cache(maxsize=64)
    def of(first: date, last: date) -> pl.DataFrame:
        dates = [first + timedelta(days) for days in range((last - first).days + 1)]
        truth = pl.concat([source.truth(day) for day in dates]).drop("seats", "total_capacity")
        plan = pl.concat([source.planned_departures(day) for day in dates])
        local = (
            pl.col("scheduled_departure_time").dt.convert_time_zone("Europe/Oslo").dt.replace_time_zone(None)
        )
        hour = (local - pl.col("service_date").cast(pl.Datetime)).dt.total_hours().alias("hour")
        return plan.join(truth, on=key, how="left", validate="1:1").with_columns(hour)

    return of
