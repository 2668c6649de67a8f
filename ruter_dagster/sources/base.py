"""What every source of raw data offers, whatever lies behind it. No source's own reading belongs here."""

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
    """The source has nothing for the date that was asked for; a range leaves such a date out and lists it."""


class PlanUnreadable(BadInput):
    """No feed that can be read plans the date, and one that cannot may do so: once it is replaced, the date has a plan."""


@runtime_checkable
class Source(Protocol):
    """Raw data by service date or issue date, each frame with exactly its contract's columns and types.

    A source knows no clock: it answers every date that it has. Frames pass `contracts.validation.conform`; whether their
    rows keep the contract is for the caller to check, so that a fault is shown and not repaired.
    """

    def available_dates(self) -> frozenset[date] | None:
        """Service dates with stop visits; None where the source answers any date."""
        ...

    def stop_visits(self, service_date: date) -> pl.DataFrame:
        """Contract `raw.stop_visits`. Raises `DateAbsent`, or `BadInput` where the data cannot be read."""
        ...

    def planned_departures(self, service_date: date) -> pl.DataFrame:
        """Contract `raw.planned_departures`, future dates included where the source has a timetable.

        Raises `DateAbsent`, or `BadInput` where the data cannot be read.
        """
        ...

    def weather_forecasts(self, issue_date: date) -> pl.DataFrame:
        """Contract `raw.weather_forecasts`: a frame of no rows where the source has no weather."""
        ...


@dataclass(frozen=True)
class SourceQuery:
    """A query that a warehouse ran for one date: where people see it, and what it took. `cost` is an estimate, US dollars."""

    date: date
    query_id: str
    link: str
    scanned_bytes: int
    seconds: float
    cost: float


@dataclass(frozen=True)
class FeedUse:
    """A GTFS feed, and the dates that it plans. `remarks` say what was set aside in it, and where it is expired or overlapped.

    A feed that cannot be read has no version and no dates.
    """

    name: str
    version: str | None
    first: date | None
    last: date | None
    dates: tuple[date, ...] = ()
    remarks: tuple[str, ...] = ()


@dataclass(frozen=True)
class Reading:
    """Rows of one raw table on some dates. `counts` says how many rows of the source were left out or mended, and why.

    `rejected`: stop visits or planned departures that were set aside, contract `raw.rejected_visits`.
    """

    rows: pl.DataFrame
    absent: tuple[date, ...] = ()
    counts: Mapping[str, int] = field(default_factory=dict)
    matched: Mapping[date, Mapping[str, int]] = field(default_factory=dict)
    """How many trips of each date were matched to its plan, by the kinds of `matching`; empty without a timetable."""
    queries: tuple[SourceQuery, ...] = ()
    rejected: pl.DataFrame = field(default_factory=lambda: empty_frame(REJECTED_VISITS))
    feeds: tuple[FeedUse, ...] = ()


@runtime_checkable
class RangeSource(Protocol):
    """A source that reads many dates in one pass."""

    def read_table(self, table: Table, dates: Sequence[date]) -> Reading:
        """Rows of the dates that are there. Raises `DateAbsent` where none is, or `BadInput`."""
        ...


@runtime_checkable
class SizedSource(Protocol):
    """A source that knows how much it has of a date before it reads it."""

    def date_sizes(self, dates: Sequence[date]) -> Mapping[date, int]:
        """Bytes of stop visits of each date, as they would be in CSV."""
        ...


def batches_of(source: Source, dates: Sequence[date], most_dates: int, most_bytes: int) -> list[list[date]]:
    """Dates in order, in as few batches as may be: of so many dates and bytes at most, or of one date."""
    sizes = source.date_sizes(dates) if isinstance(source, SizedSource) else {}
    batches: list[list[date]] = []
    size = 0
    for day in dates:
        size += sizes.get(day, 0)
        if not batches or len(batches[-1]) == most_dates or size > most_bytes:
            batches.append([])
            size = sizes.get(day, 0)
        batches[-1].append(day)
    return batches


def read_dates(source: Source, table: Table, dates: Sequence[date]) -> Reading:
    """A raw table on `dates`: in one pass where the source can, else date by date. Raises `DateAbsent` where none is there."""
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
        except DateAbsent as reason:
            absent[day] = reason
    if absent and not frames:
        raise absent[dates[0]]
    return Reading(pl.concat(frames), tuple(absent))


def read_apart(
    source: Source, table: Table, dates: Sequence[date]
) -> tuple[list[Reading], dict[date, BadInput]]:
    """A raw table on `dates`, and the dates that cannot be read, each with its reason. A date without rows is in neither.

    In one pass, as `read_dates`; where that fails, date by date, so that a broken file costs no more than its own dates.
    Raises `DateAbsent` where none of the dates is there, and none is refused.
    """
    try:
        return [read_dates(source, table, dates)], {}
    except DateAbsent:
        raise
    except BadInput:
        pass
    readings: list[Reading] = []
    refused: dict[date, BadInput] = {}
    for day in dates:
        try:
            readings.append(read_dates(source, table, [day]))
        except DateAbsent:
            readings.append(Reading(empty_frame(table), (day,)))
        except BadInput as fault:
            refused[day] = fault
    return readings, refused


def split_by_availability(source: Source, dates: Iterable[date]) -> tuple[list[date], list[date]]:
    """The dates that the source has visits for, and those that it lacks, each in order."""
    available, ordered = source.available_dates(), sorted(set(dates))
    if available is None:
        return ordered, []
    return [day for day in ordered if day in available], [day for day in ordered if day not in available]
