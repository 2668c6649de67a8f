"""Data of the page Tomorrow: the published forecasts of one operating date."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import date, datetime, timedelta
from typing import Any

import polars as pl

from ruter_dagster.contracts.date_windows import HORIZON_DAYS
from ruter_dagster.contracts.errors import PermanentFailure
from ruter_dagster.contracts.tables import LOAD_FORECASTS, PUBLICATIONS, Table
from ruter_dagster.dashboards.data.names import stops_of
from ruter_dagster.dashboards.data.words import LEVELS, Names, local_time, reasons_in_words, share
from ruter_dagster.dashboards.engine import Query, Reader, Value
from ruter_dagster.dashboards.queries import (
    FORECAST_TOTALS,
    JOURNEY_FORECAST,
    MOST_CROWDED,
    NEWEST_PUBLICATION,
    STOP_CROWDING,
)

LAST_HOUR = 47
MAP_STOPS = 1000
"""Stops on the map: more take a browser over a second."""


@dataclass(frozen=True)
class Published:
    """The newest publication: its issue date, the snapshot of its forecasts, and when it was published, in UTC.

    `published_at` is None if the state has forecasts that no publication has recorded.
    """

    issue_date: date
    snapshot_id: int | None = None
    published_at: datetime | None = None
    degraded: bool = False

    @property
    def snapshots(self) -> Mapping[Table, int | None]:
        return {LOAD_FORECASTS: self.snapshot_id}

    @property
    def operating_dates(self) -> list[date]:
        return [self.issue_date + timedelta(days) for days in range(HORIZON_DAYS + 1)]


@dataclass(frozen=True)
class Selection:
    """Which departures to show. None selects all; `stop` is a stop's name, or its id if it has no name. Hours are local."""

    operating_date: date
    mode: str | None = None
    line: str | None = None
    stop: str | None = None
    first_hour: int = 0
    last_hour: int = LAST_HOUR


def newest_published(reader: Reader) -> Published | None:
    """The newest publication; without any, the newest issue date with forecasts. None if there are no forecasts.

    Raises `PermanentFailure` if the published forecasts no longer exist.
    """
    if issue_dates := reader.dates(PUBLICATIONS):
        rows = reader.run(NEWEST_PUBLICATION, issue_date=issue_dates[-1])
        for row in rows.iter_rows(named=True):
            snapshot_id = _snapshot(reader, row)
            return Published(row["issue_date"], snapshot_id, row["published_at"], row["degraded"])
    forecast_dates = reader.dates(LOAD_FORECASTS)
    return Published(forecast_dates[-1]) if forecast_dates else None


def _snapshot(reader: Reader, publication: Mapping[str, Any]) -> int | None:
    """The snapshot with the published rows; None for the newest one, if it has the same rows."""
    issue_date = publication["issue_date"]
    if reader.version(LOAD_FORECASTS, issue_date) == publication["content_hash"]:
        return None
    if reader.has_snapshot(LOAD_FORECASTS, publication["snapshot_id"]):
        return publication["snapshot_id"]
    raise PermanentFailure(
        f"The forecasts of publication {publication['publication_id']} ({issue_date}) no longer exist: they were replaced, and "
        f"their snapshot has expired. Materialise forecasts/published_forecasts for {issue_date}."
    )


def totals(
    reader: Reader, published: Published, selection: Selection, crowded_probability: float
) -> dict[str, float | None]:
    """departures, journeys, mean, expected_above_seats, crowded and fallback of the selected departures.

    expected_above_seats and crowded are None if no departure has a known number of seats. A departure counts as crowded from
    P(load > seats) = crowded_probability on.
    """
    rows = _run(reader, FORECAST_TOTALS, published, selection, crowded_probability=crowded_probability)
    (row,) = rows.iter_rows(named=True)
    return dict(row)


def crowded_departures(
    reader: Reader, published: Published, selection: Selection, names: Names, time_zone: str
) -> pl.DataFrame:
    """The 100 most crowded of the selected journeys, one row each at its most crowded stop.

    With line, stop, time, interval, level and reason in words. `above_seats` is the probability in percent.
    """
    rows = names.labelled(_run(reader, MOST_CROWDED, published, selection))
    return rows.with_columns(
        time=local_time(time_zone),
        interval=pl.format("{}-{}", pl.col("p10").round().cast(pl.Int64), pl.col("p90").round().cast(pl.Int64)),
        above_seats=100 * pl.col("prob_above_seats"),
        level=pl.col("occupancy_level").replace(LEVELS),
        reason=pl.col("reasons").map_elements(reasons_in_words, pl.String, skip_nulls=False),
    )  # fmt: skip


def crowded_stops(reader: Reader, published: Published, selection: Selection, names: Names) -> pl.DataFrame:
    """The 1,000 stops with the most crowding of the selected departures, with name and coordinates, the most crowded last.

    Stops without coordinates are left out.
    """
    rows = names.labelled(_run(reader, STOP_CROWDING, published, selection))
    coordinates = (
        stops_of(reader, selection.operating_date).select("stop_id", "latitude", "longitude").drop_nulls()
    )
    return rows.join(coordinates, on="stop_id").sort("expected_above_seats", nulls_last=False).tail(MAP_STOPS)


def journey(
    reader: Reader, published: Published, operating_date: date, trip: str, names: Names, time_zone: str
) -> pl.DataFrame:
    """The forecasts along a service journey in stop order, with the columns line, stop and time."""
    rows = reader.run(
        JOURNEY_FORECAST,
        snapshots=published.snapshots,
        issue_date=published.issue_date,
        operating_date=operating_date,
        trip=trip,
    )
    return names.labelled(rows).with_columns(time=local_time(time_zone))


def most_crowded_sentence(departures: pl.DataFrame) -> str:
    """The answer to the page's first question, in Markdown."""
    if departures.is_empty():
        return "No departure matches. Remove a filter."
    row = departures.row(0, named=True)
    sentence = (
        f"The most crowded departure is **line {row['line']} at {row['time']} from {row['stop']}**: "
        f"{row['mean']:.0f} passengers expected ({row['interval']} in 8 of 10 cases)"
    )
    if row["seats"] is None:
        return f"{sentence}. The number of seats is unknown."
    return f"{sentence} for {row['seats']} seats. The probability of more passengers than seats is {share(row['prob_above_seats'])}."


def _run(
    reader: Reader, query: Query, published: Published, selection: Selection, **parameters: Value
) -> pl.DataFrame:
    return reader.run(
        query,
        snapshots=published.snapshots,
        issue_date=published.issue_date,
        **asdict(selection),
        **parameters,
    )
