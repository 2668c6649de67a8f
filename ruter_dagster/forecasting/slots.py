"""The slot of a departure: line, direction, stop and local clock hour on the service day, used to compare weeks."""

from __future__ import annotations

from collections.abc import Collection
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import polars as pl


def slot_hour(
    scheduled_departure_time: str | pl.Expr, service_date: str | pl.Expr, time_zone: str
) -> pl.Expr:
    """Local clock hour of a departure (UTC) on its service day, 24 or more after midnight.

    It is the hour on the clock, not hours since midnight: 08:15 is hour 8 on the day that the clock changes too.
    """
    departure = (
        pl.col(scheduled_departure_time)
        if isinstance(scheduled_departure_time, str)
        else scheduled_departure_time
    )
    day = pl.col(service_date) if isinstance(service_date, str) else service_date
    local = departure.dt.convert_time_zone(time_zone)
    return (local.dt.hour().cast(pl.Int32) + 24 * (local.dt.date() - day).dt.total_days()).cast(pl.Int32)


def departure_minute(
    scheduled_departure_time: str, slot_hour: str, time_zone: str, dates: Collection[date]
) -> pl.Expr:
    """Local clock minute of a departure (UTC) on its service day, one of `dates`: 60 times its slot hour plus the minute."""
    departure = pl.col(scheduled_departure_time)
    ahead = _minutes_ahead(time_zone, dates)
    if len(ahead) == 1:
        past = (departure.dt.epoch("us") // 60_000_000 + ahead.pop()) % 60
    else:
        past = departure.dt.convert_time_zone(time_zone).dt.minute()
    return 60 * pl.col(slot_hour) + past.cast(pl.Int32)


def _minutes_ahead(time_zone: str, dates: Collection[date]) -> set[int]:
    """Minutes past the hour that the zone's clock shows at full hours of UTC on these service days: 0 in most zones.

    If there is only one such number, millions of departures need no conversion of time zones (goal: features of one date).
    """
    zone = ZoneInfo(time_zone)
    midnights = {datetime(day.year, day.month, day.day, tzinfo=UTC) for day in dates}
    moments = {midnight + timedelta(days) for midnight in midnights for days in range(-1, 4)}
    return {moment.astimezone(zone).minute for moment in moments}
