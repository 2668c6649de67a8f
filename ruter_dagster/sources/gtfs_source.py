"""A source with the counts of another source and the plan of GTFS feeds. It matches counts to the plan and adds capacities to it.

gtfs_timetable.py selects the feed of a date, and matching.py matches trips to planned journeys.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import date, timedelta
from functools import cached_property

import polars as pl

from ruter_dagster.config.operator import Capacities, Operator
from ruter_dagster.config.settings import Settings
from ruter_dagster.contracts.date_windows import HORIZON_DAYS
from ruter_dagster.contracts.tables import PLANNED_DEPARTURES, STOP_VISITS, Table
from ruter_dagster.contracts.validation import conform, empty_frame
from ruter_dagster.sources.base import (
    DateAbsent,
    Reading,
    SizedSource,
    Source,
    read_dates,
)
from ruter_dagster.sources.default_capacities import with_default_capacities
from ruter_dagster.sources.gtfs_timetable import Timetable
from ruter_dagster.sources.matching import match
from ruter_dagster.sources.tides import TidesSource
from ruter_dagster.sources.tides_fleet import trips_of_dates

CAPACITY_LAG_DAYS = HORIZON_DAYS + 1
"""Days between a date and the newest counts for its capacities. A date is first planned three days ahead, with counts of the day before."""
CAPACITY_DATES = 7
"""Number of dates with counts whose trips define the usual vehicle of a line."""
PLANS_IN_MEMORY = 7
"""Number of stored plans in memory at the same time. With 500,000 departures a date, they take about 400 MB."""
_CAPACITY = ("seats", "total_capacity")
_TRIPS_SCHEMA = {
    "service_date": pl.Date, "trip_id_performed": pl.String, "line_id": pl.String, "mode": pl.String, "added": pl.Boolean,
    "seats": pl.Int64, "total_capacity": pl.Int64,
}  # fmt: skip

TripsOfDates = Callable[[Sequence[date]], pl.DataFrame]
"""Performed trips of dates: columns service_date, trip_id_performed, line_id, mode, added, seats, total_capacity."""

StoredPlans = Callable[[Sequence[date]], pl.DataFrame]
"""Stored planned departures of dates: columns `matching.PLAN_COLUMNS`, no rows for a date without a stored plan."""


def _no_plans(dates: Sequence[date]) -> pl.DataFrame:
    return empty_frame(PLANNED_DEPARTURES)


class GtfsPlannedSource:
    """Counts of a source, planned by GTFS if a feed is valid on the date, else by the source's own plan.

    - Matched visits get the trip ids and stop sequences of their planned journeys (matching.py). Counts may identify lines
      by route_short_name and stops by stop_code.
    - Visits are matched to the stored plan of their date, because forecasts have its ids and a newer feed may have others.
      Without a stored plan, they are matched to the feed's plan.
    - Capacities are the most frequent ones of the line's trips, on the `CAPACITY_DATES` newest dates with counts that are at
      least `CAPACITY_LAG_DAYS` days earlier. These counts exist when the date is first forecast. A line without such trips
      gets the most frequent capacity of its mode, else the operator's default.
    """

    def __init__(
        self,
        counts: Source,
        timetable: Timetable,
        trips_of_dates: TripsOfDates,
        stored_plans: StoredPlans | None = None,
        capacities: Capacities | None = None,
    ) -> None:
        self._capacities = capacities or Capacities()
        self._counts, self.timetable, self._trips_of_dates = counts, timetable, trips_of_dates
        self._stored_plans = stored_plans or _no_plans
        self._trips = pl.DataFrame(schema=_TRIPS_SCHEMA)
        self._loaded_trip_dates: frozenset[date] = frozenset()

    @classmethod
    def of(
        cls, settings: Settings, operator: Operator, location: str, stored_plans: StoredPlans | None = None
    ) -> GtfsPlannedSource:
        """The TIDES tables of the settings, planned by the feeds at `location`."""
        counts = TidesSource.of(settings, operator)
        timetable = Timetable(location, operator.time_zone, operator.route_types)
        trips = trips_of_dates(settings.tides_path or "", operator)
        return cls(counts, timetable, trips, stored_plans, operator.capacities)

    def available_dates(self) -> frozenset[date] | None:
        return self._counts.available_dates()

    def plans(self, day: date) -> bool:
        """Whether the date has a plan, from a feed or from the counts."""
        if self.timetable.feed_of(day):
            return True
        dates = self._count_dates
        return (dates is None or day in dates) and self.timetable.unreadable_plan(day) is None

    def stop_visits(self, service_date: date) -> pl.DataFrame:
        return self.read_table(STOP_VISITS, [service_date]).rows

    def planned_departures(self, service_date: date) -> pl.DataFrame:
        return self.read_table(PLANNED_DEPARTURES, [service_date]).rows

    def weather_forecasts(self, issue_date: date) -> pl.DataFrame:
        return self._counts.weather_forecasts(issue_date)

    def read_table(self, table: Table, dates: Sequence[date]) -> Reading:
        """Reads one raw table on `dates`. Raises `DateAbsent` if all dates are absent, or `BadInput`."""
        if table.name == STOP_VISITS.name:
            return self._read_visits(dates)
        if table.name == PLANNED_DEPARTURES.name:
            return self._read_plan(dates)
        return read_dates(self._counts, table, dates)

    @cached_property
    def _count_dates(self) -> frozenset[date] | None:
        return self._counts.available_dates()

    def date_sizes(self, dates: Sequence[date]) -> Mapping[date, int]:
        return self._counts.date_sizes(dates) if isinstance(self._counts, SizedSource) else {}

    def _read_visits(self, dates: Sequence[date]) -> Reading:
        reading = read_dates(self._counts, STOP_VISITS, dates)
        added = self._trips_on(dates).filter("added")
        frames: list[pl.DataFrame] = []
        counts: Counter[str] = Counter()
        matched_trips: dict[date, dict[str, int]] = {}
        visits = _by_date(reading.rows)
        for day, plan in self._plans_to_match(list(visits), dates):
            rows = self.timetable.aliases(day).apply(visits.pop(day))
            if plan is not None:
                added_trips = added.filter(pl.col("service_date") == day)["trip_id_performed"]
                rows, matched_trips[day] = match(rows, plan, added_trips)
                counts.update(matched_trips[day])
            frames.append(rows)
        return replace(
            reading,
            rows=conform(pl.concat(frames), STOP_VISITS) if frames else reading.rows,
            rejected=self._with_plan_lines(reading.rejected),
            counts={**reading.counts, **counts},
            matched=matched_trips,
            feeds=self.timetable.unreadable_feeds,
        )

    def _with_plan_lines(self, rejected: pl.DataFrame) -> pl.DataFrame:
        """Rejected rows with the line ids of the plan, so that the share of rejected rows of a line can be computed."""
        renamed = [self.timetable.aliases(day).apply(rows) for day, rows in _by_date(rejected).items()]
        return pl.concat(renamed) if renamed else rejected

    def _plans_to_match(
        self, days: Sequence[date], batch: Sequence[date]
    ) -> Iterator[tuple[date, pl.DataFrame | None]]:
        """Each date with the plan for matching: the stored plan, else the feed's plan, else None."""
        for first in range(0, len(days), PLANS_IN_MEMORY):
            chunk = days[first : first + PLANS_IN_MEMORY]
            stored = self._load_stored_plans(chunk)
            for day in chunk:
                yield day, stored.pop(day) if day in stored else self.timetable.departures(day, batch)

    def _load_stored_plans(self, days: Sequence[date]) -> dict[date, pl.DataFrame]:
        """Stored plans by date, without plans that were derived from counts: matching counts to them is pointless."""
        plans = _by_date(self._stored_plans(days))
        from_counts = self._plan_of_counts([day for day in plans if self.timetable.feed_of(day) is None])
        performed_ids = {day: plan["trip_id"].unique().implode() for day, plan in from_counts.items()}
        return {
            day: plan
            for day, plan in plans.items()
            if day not in performed_ids or not plan["trip_id"].is_in(performed_ids[day]).all()
        }

    def _read_plan(self, dates: Sequence[date]) -> Reading:
        """The plan of each date: from its feed, else from its counts."""
        frames: dict[date, pl.DataFrame] = {}
        for day in dates:
            plan = self.timetable.departures(day, dates)
            if plan is not None:
                frames[day] = plan
            elif error := self.timetable.unreadable_plan(day):
                raise error
        planned = self._with_capacities(frames)
        planned |= self._plan_of_counts([day for day in dates if day not in frames])
        absent = tuple(day for day in dates if day not in planned or planned[day].is_empty())
        if len(absent) == len(dates):
            raise self.timetable.absence(dates[0])
        rows = pl.concat([planned[day] for day in dates if day not in absent])
        plan = with_default_capacities(conform(rows, PLANNED_DEPARTURES), self._capacities)
        return Reading(plan, absent, feeds=self.timetable.feed_uses(dates))

    def _plan_of_counts(self, dates: Sequence[date]) -> dict[date, pl.DataFrame]:
        count_dates = self._count_dates
        present = [day for day in dates if count_dates is None or day in count_dates]
        if not present:
            return {}
        try:
            rows = read_dates(self._counts, PLANNED_DEPARTURES, present).rows
        except DateAbsent:
            return {}
        return {day: self.timetable.aliases(day).apply(frame) for day, frame in _by_date(rows).items()}

    def _with_capacities(self, plan: Mapping[date, pl.DataFrame]) -> dict[date, pl.DataFrame]:
        windows = {day: capacity_dates(day, self._count_dates) for day in plan}
        needed = sorted({other for window in windows.values() for other in window})
        trips = self._trips_on(needed)
        return {
            day: with_capacities(frame, trips.filter(pl.col("service_date").is_in(list(windows[day]))))
            for day, frame in plan.items()
        }

    def _trips_on(self, dates: Sequence[date]) -> pl.DataFrame:
        """Performed trips of dates, with the line ids of the plan. Each date is read once."""
        missing = [day for day in dates if day not in self._loaded_trip_dates]
        if missing:
            trips = self._trips_of_dates(missing).select(
                pl.col(name).cast(kind) for name, kind in _TRIPS_SCHEMA.items()
            )
            lines = self.timetable.aliases(missing[-1]).lines
            self._trips = pl.concat([self._trips, trips.with_columns(pl.col("line_id").replace(lines))])
            self._loaded_trip_dates |= frozenset(missing)
        return self._trips.filter(pl.col("service_date").is_in(list(dates)))


def _by_date(rows: pl.DataFrame) -> dict[date, pl.DataFrame]:
    frames = rows.partition_by("service_date", as_dict=True, maintain_order=True)
    return {day: frame for (day,), frame in frames.items()}


def capacity_dates(day: date, count_dates: frozenset[date] | None) -> tuple[date, ...]:
    """The dates whose trips define the capacities of a date, newest first. `count_dates` are dates with counts (None: all)."""
    last = day - timedelta(CAPACITY_LAG_DAYS)
    if count_dates is None:
        return tuple(last - timedelta(back) for back in range(CAPACITY_DATES))
    return tuple(sorted((other for other in count_dates if other <= last), reverse=True)[:CAPACITY_DATES])


def with_capacities(plan: pl.DataFrame, trips: pl.DataFrame) -> pl.DataFrame:
    """Adds the most frequent (seats, total_capacity) of the line's trips, else of the mode's trips. The smaller one wins a tie."""
    known = trips.filter(pl.col("seats").is_not_null())
    filled = plan.drop(_CAPACITY)
    for key in ("line_id", "mode"):
        usual = (
            known.group_by(key, *_CAPACITY)
            .len()
            .sort(key, "len", *_CAPACITY, descending=[False, True, False, False])
            .unique(key, keep="first", maintain_order=True)
            .select(key, pl.col(_CAPACITY).cast(pl.Int32).name.suffix(f"_of_{key}"))
        )
        filled = filled.join(usual, on=key, how="left", maintain_order="left")
    by_line = pl.col("seats_of_line_id").is_not_null()
    columns = {
        name: pl.when(by_line).then(f"{name}_of_line_id").otherwise(f"{name}_of_mode") for name in _CAPACITY
    }
    return filled.with_columns(**columns).select(plan.columns)
