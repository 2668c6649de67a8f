"""The calendar of a GTFS feed: the services of each date, and the first and last valid date of the feed."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date

import polars as pl

from ruter_dagster.contracts.errors import BadInput
from ruter_dagster.sources.gtfs_files import FeedFiles
from ruter_dagster.sources.gtfs_schema import CALENDAR, CALENDAR_DATES, FEED_INFO, WEEKDAYS
from ruter_dagster.sources.gtfs_tables import parse_column, parse_date, read_table


@dataclass(frozen=True)
class ServiceCalendar:
    """Services by date: weekly periods and exceptions to them."""

    weekly: pl.DataFrame
    exceptions: pl.DataFrame

    def services(self, day: date) -> frozenset[str]:
        """Ids of the services that run on a date."""
        period = pl.col("start_date").le(day) & pl.col("end_date").ge(day)
        regular = self.weekly.filter(period & pl.col(WEEKDAYS[day.weekday()]))["service_id"]
        on_day = self.exceptions.filter(pl.col("date") == day)
        added, removed = (
            on_day.filter(pl.col("exception_type") == kind)["service_id"].to_list() for kind in ("1", "2")
        )
        return frozenset(regular.to_list()) - frozenset(removed) | frozenset(added)

    @property
    def ids(self) -> pl.Series:
        """Ids of all services with a period or an exception."""
        return pl.concat([self.weekly["service_id"], self.exceptions["service_id"]]).unique()

    @property
    def span(self) -> tuple[date, date] | None:
        """First and last date of all periods and added dates; None if there are no dates."""
        added = self.exceptions.filter(pl.col("exception_type") == "1")["date"]
        dates = pl.concat([self.weekly["start_date"], self.weekly["end_date"], added]).drop_nulls()
        return (dates.min(), dates.max()) if dates.len() else None  # pyright: ignore[reportReturnType]


def read_calendar(files: FeedFiles) -> ServiceCalendar:
    """Reads calendar.txt and calendar_dates.txt. Raises `BadInput` if both are missing, or a cell is wrong."""
    if not {"calendar.txt", "calendar_dates.txt"} & files.names:
        raise BadInput(
            f"GTFS feed {files.name} has neither calendar.txt nor calendar_dates.txt, so the dates of its trips are "
            "unknown; export the complete feed again"
        )
    return ServiceCalendar(_read_weekly(files), _read_exceptions(files))


def _read_weekly(files: FeedFiles) -> pl.DataFrame:
    """Weekly services of calendar.txt: service_id, start_date, end_date and a column per weekday."""
    name = CALENDAR.name
    days = dict.fromkeys(WEEKDAYS, pl.Boolean)
    empty = pl.DataFrame(schema={"service_id": pl.String, "start_date": pl.Date, "end_date": pl.Date} | days)
    if name not in files.names:
        return empty
    rows = read_table(files, name, CALENDAR.required)
    for column in ("start_date", "end_date"):
        rows = parse_column(rows, files, name, column, parse_date(column), "a date (YYYYMMDD)")
    for column in WEEKDAYS:
        rows = parse_column(rows, files, name, column, _flag(column), "0 or 1")
    return rows.select(empty.columns)


def _read_exceptions(files: FeedFiles) -> pl.DataFrame:
    """Exceptions of calendar_dates.txt: service_id, date and exception_type (1 added, 2 removed)."""
    name = CALENDAR_DATES.name
    empty = pl.DataFrame(schema={"service_id": pl.String, "date": pl.Date, "exception_type": pl.String})
    if name not in files.names:
        return empty
    rows = read_table(files, name, CALENDAR_DATES.required)
    rows = parse_column(rows, files, name, "date", parse_date("date"), "a date (YYYYMMDD)")
    kind = pl.col("exception_type")
    known = pl.when(kind.is_in(["1", "2"])).then(kind)
    return parse_column(rows, files, name, "exception_type", known, "1 or 2").select(empty.columns)


def read_validity(files: FeedFiles, calendar: ServiceCalendar) -> tuple[str, date, date]:
    """Version, first and last valid date: those of the calendar, limited by the dates of feed_info.txt."""
    span = calendar.span
    if span is None:
        raise BadInput(f"GTFS feed {files.name}: its calendar has no dates; export the feed again")
    version, (first, last) = files.content, span
    if "feed_info.txt" in files.names:
        info = read_table(files, FEED_INFO.name, FEED_INFO.required, FEED_INFO.optional)
        if info.height:
            version = info["feed_version"][0] or version
            starts, ends = (
                info.select(parse_date(name)).item(0, 0) for name in ("feed_start_date", "feed_end_date")
            )
            first, last = max(first, starts or first), min(last, ends or last)
    return version, first, last


def _flag(column: str) -> pl.Expr:
    return pl.when(pl.col(column).is_in(["0", "1"])).then(pl.col(column) == "1")
