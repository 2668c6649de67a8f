"""Published forecasts for tests of feeds: two operating days, every level, awkward identifiers, journeys past midnight."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import polars as pl

from ruter_dagster.contracts.tables import SIRI_OCCUPANCY
from ruter_dagster.feeds.calls import CALL_COLUMNS, FeedHeader
from ruter_dagster.forecasting.occupancy import GTFS_STATUS

DAY = date(2026, 11, 20)
HEADER = FeedHeader(
    publication_id="0123abcd",
    published_at=datetime(2026, 11, 20, 3, 31, tzinfo=UTC),
    codespace="RUT",
    operator_ref="RUT:Operator:1",
    time_zone="Europe/Oslo",
    first_stop_sequence=1,
)
LEVELS = tuple(level for level in SIRI_OCCUPANCY if level in GTFS_STATUS)

Call = tuple[str, str, int, str, str]
"""Operating day, trip, order, stop and level of a call."""


def forecasts(journeys: int = 40, stops: int = 12, *, awkward: bool = True) -> pl.DataFrame:
    """The calls of `journeys` journeys on each of two days, in no order. The last journeys run past midnight."""
    sign = ' <&>"é|%' if awkward else ""
    rows = [
        (
            DAY + timedelta(day),
            f"RUT:ServiceJourney:31{sign}-{journey}",
            order,
            f"RUT:Line:{31 + journey % 3}{sign}",
            ("bus", "tram", "metro", "boat", "rail")[journey % 5],
            journey % 2,
            f"NSR:Quay:{order * 7 % 1000}{sign}",
            datetime(2026, 11, 20, 5, tzinfo=UTC) + timedelta(day, minutes=28 * journey + 2 * order),
            level := LEVELS[(journey + order + day) % len(LEVELS)],
            GTFS_STATUS[level],
        )
        for day in range(2)
        for journey in range(journeys)
        for order in range(1, stops + 1)
    ]
    types = {"direction_id": pl.Int32, "stop_sequence": pl.Int32, "occupancy_status": pl.Int32}
    frame = pl.DataFrame(rows, schema=CALL_COLUMNS, orient="row", schema_overrides=types)
    return frame.with_columns(pl.col("scheduled_departure_time").cast(pl.Datetime("us", "UTC"))).sample(
        fraction=1, shuffle=True, seed=1
    )


def expected_calls(frame: pl.DataFrame) -> list[Call]:
    """The calls of forecasts in the order that a feed has: by day, trip and order."""
    ordered = frame.sort("operating_date", "trip_id", "stop_sequence")
    columns = ("trip_id", "stop_sequence", "stop_id", "occupancy_level")
    return ordered.select(pl.col("operating_date").cast(pl.String), *columns).rows()
