"""The interface of every source of raw data. Code of a single source belongs in its own module."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import Protocol, runtime_checkable

import polars as pl

from ruter_dagster.contracts.errors import BadInput
from ruter_dagster.contracts.tables import (
    PLANNED_DEPARTURES,
    REJECTED_VISITS,
    STOP_VISITS,
    WEATHER_FORECASTS,
    Table,
)
from ruter_dagster.contracts.validation import empty_frame


class DateAbsent(BadInput):
    """The source has no rows of the requested date. A range leaves such a date out and lists it."""


class PlanUnreadable(BadInput):
    """No readable feed plans the date, but an unreadable one may. The date gets a plan once that feed is replaced."""


@runtime_checkable
class Source(Protocol):
    """Raw data by service date or issue date, each frame with exactly the columns and types of its contract.

    A source does not read the clock and returns every date that it has. Its frames pass `contracts.validation.conform`.
    Callers check whether the rows keep the contract, so that faults are shown and not repaired.
    """

    def available_dates(self) -> frozenset[date] | None:
        """Service dates with stop visits; None if the source may have any date."""
        ...

    def stop_visits(self, service_date: date) -> pl.DataFrame:
        """Contract `raw.stop_visits`. Raises `DateAbsent`, or `BadInput` if the data cannot be read."""
        ...

    def planned_departures(self, service_date: date) -> pl.DataFrame:
        """Contract `raw.planned_departures`, with future dates if the source has a timetable.

        Raises `DateAbsent`, or `BadInput` if the data cannot be read.
        """
        ...

    def weather_forecasts(self, issue_date: date) -> pl.DataFrame:
        """Contract `raw.weather_forecasts`; an empty frame if the source has no weather."""
        ...


@dataclass(frozen=True)
class SourceQuery:
    """A query that a warehouse ran for one date. `link` opens it in the console; `cost` is an estimate in US dollars."""

    date: date
    query_id: str
    link: str
    scanned_bytes: int
    seconds: float
    cost: float


@dataclass(frozen=True)
class FeedUse:
    """A GTFS feed and the dates that it plans. `remarks` list rejected rows, expiry and overlaps with other feeds.

    An unreadable feed has no version and no dates.
    """

    name: str
    version: str | None
    first: date | None
    last: date | None
    dates: tuple[date, ...] = ()
    remarks: tuple[str, ...] = ()


@dataclass(frozen=True)
class Reading:
    """Rows of one raw table on some dates.

    - `absent`: requested dates without rows.
    - `counts`: how many rows of the source were left out or repaired, by reason.
    - `matched`: how many trips of each date were matched to its plan, by the kinds of matching.py; empty without a timetable.
    - `queries`: the queries of a warehouse; `feeds`: the GTFS feeds that were used or are unreadable.
    - `rejected`: rejected stop visits or planned departures, contract `raw.rejected_visits`.
    """

    rows: pl.DataFrame
    absent: tuple[date, ...] = ()
    counts: Mapping[str, int] = field(default_factory=dict)
    matched: Mapping[date, Mapping[str, int]] = field(default_factory=dict)
    queries: tuple[SourceQuery, ...] = ()
    rejected: pl.DataFrame = field(default_factory=lambda: empty_frame(REJECTED_VISITS))
    feeds: tuple[FeedUse, ...] = ()


@runtime_checkable
class RangeSource(Protocol):
    """A source that reads several dates in one pass."""

    def read_table(self, table: Table, dates: Sequence[date]) -> Reading:
        """Rows of those dates that the source has. Raises `DateAbsent` if it has none of them, or `BadInput`."""
        ...


@runtime_checkable
class SizedSource(Protocol):
    """A source that knows the size of a date before it reads it."""

    def date_sizes(self, dates: Sequence[date]) -> Mapping[date, int]:
        """Size of the stop visits of each date, in bytes of CSV."""
        ...


def date_batches(source: Source, dates: Sequence[date], max_dates: int, max_bytes: int) -> list[list[date]]:
    """Splits dates, in order, into as few batches as possible. A batch keeps both limits, or has one date."""
    sizes = source.date_sizes(dates) if isinstance(source, SizedSource) else {}
    batches: list[list[date]] = []
    size = 0
    for day in dates:
        size += sizes.get(day, 0)
        if not batches or len(batches[-1]) == max_dates or size > max_bytes:
            batches.append([])
            size = sizes.get(day, 0)
        batches[-1].append(day)
    return batches


def read_dates(source: Source, table: Table, dates: Sequence[date]) -> Reading:
    """Reads a raw table on `dates`: in one pass if the source can, else date by date. Raises `DateAbsent` if all are absent."""
    if isinstance(source, RangeSource):
        return source.read_table(table, dates)
    read = {
        STOP_VISITS.name: source.stop_visits,
        PLANNED_DEPARTURES.name: source.planned_departures,
        WEATHER_FORECASTS.name: source.weather_forecasts,
    }[table.name]
    frames: list[pl.DataFrame] = []
    absent: dict[date, DateAbsent] = {}
    for day in dates:
        try:
            frames.append(read(day))
        except DateAbsent as error:
            absent[day] = error
    if absent and not frames:
        raise absent[dates[0]]
    return Reading(pl.concat(frames), tuple(absent))


def read_readable_dates(
    source: Source, table: Table, dates: Sequence[date]
) -> tuple[list[Reading], dict[date, BadInput]]:
    """Reads a raw table on `dates`. Returns the readings, and the error of each date that cannot be read.

    It reads in one pass like `read_dates`. If that fails, it reads date by date, so that a broken file affects only its own
    dates. Raises `DateAbsent` if all dates are absent and none is unreadable.
    """
    try:
        return [read_dates(source, table, dates)], {}
    except DateAbsent:
        raise
    except BadInput:
        pass
    readings: list[Reading] = []
    errors: dict[date, BadInput] = {}
    for day in dates:
        try:
            readings.append(read_dates(source, table, [day]))
        except DateAbsent:
            readings.append(Reading(empty_frame(table), (day,)))
        except BadInput as error:
            errors[day] = error
    return readings, errors


def split_by_availability(source: Source, dates: Iterable[date]) -> tuple[list[date], list[date]]:
    """The dates with visits, and the dates without, each in order."""
    available, ordered = source.available_dates(), sorted(set(dates))
    if available is None:
        return ordered, []
    return [day for day in ordered if day in available], [day for day in ordered if day not in available]
