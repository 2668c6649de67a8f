"""The slot hour is the local clock hour on the service day, also when the clocks change."""

from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import polars as pl
import pytest

from ruter_dagster.forecasting.slots import departure_minute, slot_hour


@pytest.mark.parametrize(
    ("service_date", "departure", "hour"),
    [
        (date(2026, 11, 20), datetime(2026, 11, 20, 7, 15, tzinfo=UTC), 8),
        (date(2026, 7, 1), datetime(2026, 7, 1, 6, 15, tzinfo=UTC), 8),
        (date(2026, 11, 20), datetime(2026, 11, 20, 23, 30, tzinfo=UTC), 24),
        (date(2026, 11, 20), datetime(2026, 11, 21, 1, 30, tzinfo=UTC), 26),
        (date(2026, 10, 25), datetime(2026, 10, 25, 7, 15, tzinfo=UTC), 8),
        (date(2026, 10, 24), datetime(2026, 10, 25, 0, 30, tzinfo=UTC), 26),
        (date(2026, 10, 24), datetime(2026, 10, 25, 1, 30, tzinfo=UTC), 26),
        (date(2026, 3, 29), datetime(2026, 3, 29, 6, 15, tzinfo=UTC), 8),
        (date(2026, 3, 28), datetime(2026, 3, 29, 1, 30, tzinfo=UTC), 27),
    ],
    ids=[
        "winter", "summer", "midnight", "after midnight", "day the clock goes back", "first 02:30 of that night",
        "second 02:30 of that night", "day the clock goes forward", "03:30, an hour after 01:30",
    ],
)  # fmt: skip
def test_slot_hour(service_date, departure, hour):
    frame = pl.DataFrame({"departure": [departure], "service_date": [service_date]})
    assert frame.select(slot_hour("departure", "service_date", "Europe/Oslo")).item() == hour


def test_departure_minute_follows_clock_changes():
    times = [datetime(2026, 10, 24, 6, 15, tzinfo=UTC), datetime(2026, 10, 25, 7, 15, tzinfo=UTC)]
    frame = pl.DataFrame({"departure": times, "day": [time.date() for time in times]})
    hours = frame.with_columns(slot_hour("departure", "day", "Europe/Oslo").alias("slot_hour"))
    minute = departure_minute("departure", "slot_hour", "Europe/Oslo", frame["day"].to_list())
    assert hours.select(minute).to_series().to_list() == [8 * 60 + 15, 8 * 60 + 15]


@pytest.mark.parametrize("zone", ["Europe/Oslo", "Asia/Kolkata", "Asia/Kathmandu", "Australia/Lord_Howe"])
def test_minute_follows_the_clock_in_every_zone(zone: str) -> None:
    """Lord Howe's clock moves by half an hour."""
    days = [date(2026, 9, 1) + timedelta(days) for days in range(60)]
    times = [datetime(day.year, day.month, day.day, 2, 7, tzinfo=UTC) for day in days]
    frame = pl.DataFrame({"departure": times, "slot_hour": 0}, schema_overrides={"slot_hour": pl.Int32})
    expected = [time.astimezone(ZoneInfo(zone)).minute for time in times]
    for known in (days[:20], days):
        minutes = frame.head(len(known)).select(departure_minute("departure", "slot_hour", zone, known))
        assert minutes.to_series().to_list() == expected[: len(known)]
