"""A small artificial network of loads and plan, shared by the tests of this folder."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from itertools import product
from zoneinfo import ZoneInfo

import numpy as np
import polars as pl

from ruter_dagster.contracts.tables import PLANNED_DEPARTURES, STOP_LOADS, WEATHER_FORECASTS
from ruter_dagster.contracts.validation import conform, empty_frame, with_optional_columns
from ruter_dagster.forecasting.calendar import OperatingCalendar

OSLO = OperatingCalendar(
    "NO", "Europe/Oslo", frozenset({date(2026, 2, 16) + timedelta(days) for days in range(5)})
)
FIRST = date(2026, 1, 5)
DAYS = 98
LAST = FIRST + timedelta(DAYS - 1)
NO_WEATHER = empty_frame(WEATHER_FORECASTS)
_OSLO = ZoneInfo("Europe/Oslo")
_LINES = (("31", "bus"), ("17", "tram"))
_STOPS = ("skøyen", "nationaltheatret", "jernbanetorget")


def dates(first: date = FIRST, last: date = LAST) -> list[date]:
    return [first + timedelta(days) for days in range((last - first).days + 1)]


def plan(days: list[date] | None = None) -> pl.DataFrame:
    """Two journeys an hour from 5 to 24, Oslo's clock, on two lines with three stops."""
    rows = [
        {
            "service_date": day, "trip_id": f"{line}-{hour:02}{minute:02}", "stop_sequence": order + 1, "line_id": line,
            "mode": mode, "direction_id": 0, "stop_id": stop, "seats": 40, "total_capacity": 100,
            "scheduled_departure_time": (datetime.combine(day, time(), _OSLO) + timedelta(hours=hour, minutes=minute + 3 * order)).astimezone(UTC),
        }
        for day, (line, mode), hour, minute, (order, stop) in product(
            days or dates(), _LINES, range(5, 25), (0, 30), enumerate(_STOPS)
        )
    ]  # fmt: skip
    return conform(with_optional_columns(pl.DataFrame(rows), PLANNED_DEPARTURES), PLANNED_DEPARTURES)


def loads(days: list[date] | None = None, seed: int = 0) -> pl.DataFrame:
    """Poisson loads of every planned departure: quieter at weekends and on holidays, fuller in the middle of the day and the line."""
    from ruter_dagster.forecasting.slots import slot_hour

    planned = plan(days).with_columns(
        slot_hour("scheduled_departure_time", "service_date", OSLO.time_zone).alias("slot_hour")
    )
    hour, order = planned["slot_hour"].to_numpy(), planned["stop_sequence"].to_numpy()
    quiet_days = [day for day in planned["service_date"].unique() if OSLO.comparable_weekday(day) >= 5]
    quiet = planned["service_date"].is_in(quiet_days).to_numpy()
    mean = (
        (4 + 20 * np.exp(-((hour - 14) ** 2) / 20))
        * np.where(order == 2, 1.5, 1.0)
        * np.where(quiet, 0.5, 1.0)
    )
    counted = planned.with_columns(
        pl.Series("load", np.random.default_rng(seed).poisson(mean).astype(float)),
        pl.col("trip_id").alias("trip_id_performed"),
        pl.lit(1.0).alias("weight"),
        *(
            pl.lit(None, pl.Float64).alias(name)
            for name in ("boardings", "alightings", "imbalance", "initial_load", "final_load")
        ),
        pl.lit(None, pl.String).alias("vehicle_id"),
    )  # fmt: skip
    return conform(counted.select(STOP_LOADS.column_names), STOP_LOADS)


def scrambled(frame: pl.DataFrame, after: date) -> pl.DataFrame:
    """The same loads up to `after`; later ones shuffled, doubled and partly gone."""
    later = frame.filter(pl.col("service_date") > after)
    changed = later.with_columns(pl.col("load").shuffle(seed=1) * 2 + 50).gather_every(3)
    return pl.concat([frame.filter(pl.col("service_date") <= after), changed])
