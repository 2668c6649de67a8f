"""The slot of a departure: line, direction, stop and local clock hour on the service day, by which weeks are compared."""

from __future__ import annotations

import polars as pl


def slot_hour(
    scheduled_departure_time: str | pl.Expr, service_date: str | pl.Expr, time_zone: str
) -> pl.Expr:
    """Local clock hour of a departure (UTC) on its service day: 24 and more after midnight.

    The clock's hour, not the hours since midnight: a journey at 08:15 has hour 8 on the day the clock changes too.
    """
    departure = (
        pl.col(scheduled_departure_time)
        if isinstance(scheduled_departure_time, str)
        else scheduled_departure_time
    )
    day = pl.col(service_date) if isinstance(service_date, str) else service_date
    local = departure.dt.convert_time_zone(time_zone)
    return (local.dt.hour().cast(pl.Int32) + 24 * (local.dt.date() - day).dt.total_days()).cast(pl.Int32)


def departure_minute(scheduled_departure_time: str, slot_hour: str, time_zone: str) -> pl.Expr:
    """Local clock minute of a departure (UTC) on its service day: 60 times its slot hour, and the minutes past it."""
    local = pl.col(scheduled_departure_time).dt.convert_time_zone(time_zone)
    return 60 * pl.col(slot_hour) + local.dt.minute().cast(pl.Int32)
