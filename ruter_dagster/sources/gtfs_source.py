"""Counts of one source, plan of GTFS feeds: what counts are matched to, and whose vehicles planned journeys are taken to have.

Which feed plans which date is gtfs_timetable.py, how counts find their planned journey matching.py.
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
"""A date is planned first on the issue date three days before it, and the counts known then are those of the day before."""
CAPACITY_DATES = 7
"""Newest dates with counts whose trips say which vehicles a line has."""
PLANS_AT_ONCE = 7
"""Stored plans that are held at a time: at 500,000 departures a date some 400 MB."""
_CAPACITY = ("seats", "total_capacity")
_TRIPS_SCHEMA = {
    "service_date": pl.Date, "trip_id_performed": pl.String, "line_id": pl.String, "mode": pl.String, "added": pl.Boolean,
    "seats": pl.Int64, "total_capacity": pl.Int64,
}  # fmt: skip

TripsOfDates = Callable[[Sequence[date]], pl.DataFrame]
"""Performed trips of dates: columns service_date, trip_id_performed, line_id, mode, added, seats, total_capacity."""

StoredPlans = Callable[[Sequence[date]], pl.DataFrame]
"""The planned departures that are stored of dates, as far as there are any: `matching.PLAN_COLUMNS`."""


def _no_plans(dates: Sequence[date]) -> pl.DataFrame:
    return empty_frame(PLANNED_DEPARTURES)


class GtfsPlannedSource:
    """Counts of a source; its plan is GTFS's where a feed is valid, elsewhere what the source itself says of the date.

    - Visits of planned dates get the trip ids and stop sequences of the journeys that they are matched to: matching.py.
      Lines and stops may be called by route_short_name and stop_code.
    - Visits are matched to the plan that is stored of their date: forecasts have its ids, and a newer feed may have others.
      Only where none is stored are they matched to the feed's.
    - Seats and capacity are those that most trips of the line had, on the `CAPACITY_DATES` newest dates with counts up
      to `CAPACITY_LAG_DAYS` days before: what was known when the date was first forecast. A line without trips then has
      what most trips of its mode had, else the operator's default capacities.
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
        self._trips_known: frozenset[date] = frozenset()

    @classmethod
    def of(
        cls, settings: Settings, operator: Operator, location: str, stored_plans: StoredPlans | None = None
    ) -> GtfsPlannedSource:
        """The TIDES tables that the settings name, planned by the feeds at `location`."""
        counts = TidesSource.of(settings, operator)
        timetable = Timetable(location, operator.time_zone, operator.route_types)
        trips = trips_of_dates(settings.tides_path or "", operator)
        return cls(counts, timetable, trips, stored_plans, operator.capacities)

    def available_dates(self) -> frozenset[date] | None:
        return self._counts.available_dates()

    def plans(self, day: date) -> bool:
        """Whether the date has a plan: of a feed, or of the counts."""
        if self.timetable.feed_of(day):
            return True
        known = self._known_dates
        return (known is None or day in known) and self.timetable.refusal(day) is None

    def stop_visits(self, service_date: date) -> pl.DataFrame:
        return self.read_table(STOP_VISITS, [service_date]).rows

    def planned_departures(self, service_date: date) -> pl.DataFrame:
        return self.read_table(PLANNED_DEPARTURES, [service_date]).rows

    def weather_forecasts(self, issue_date: date) -> pl.DataFrame:
        return self._counts.weather_forecasts(issue_date)

    def read_table(self, table: Table, dates: Sequence[date]) -> Reading:
        """One raw table of `dates`. Raises `DateAbsent` where none has rows, or `BadInput`."""
        if table.name == STOP_VISITS.name:
            return self._read_visits(dates)
        if table.name == PLANNED_DEPARTURES.name:
            return self._read_plan(dates)
        return read_dates(self._counts, table, dates)

    @cached_property
    def _known_dates(self) -> frozenset[date] | None:
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
            renamed = self.timetable.aliases(day).applied(visits.pop(day))
            if plan is not None:
                others = added.filter(pl.col("service_date") == day)["trip_id_performed"]
                renamed, matched_trips[day] = match(renamed, plan, others)
                counts.update(matched_trips[day])
            frames.append(renamed)
        rows = conform(pl.concat(frames), STOP_VISITS) if frames else reading.rows
        rejected = self._with_plans_lines(reading.rejected)
        feeds = self.timetable.set_aside
        return replace(
            reading,
            rows=rows,
            rejected=rejected,
            counts={**reading.counts, **counts},
            matched=matched_trips,
            feeds=feeds,
        )

    def _with_plans_lines(self, rejected: pl.DataFrame) -> pl.DataFrame:
        """Rows set aside, by the lines that their date's visits have: shares by line are of both together."""
        renamed = [self.timetable.aliases(day).applied(rows) for day, rows in _by_date(rejected).items()]
        return pl.concat(renamed) if renamed else rejected

    def _plans_to_match(
        self, days: Sequence[date], batch: Sequence[date]
    ) -> Iterator[tuple[date, pl.DataFrame | None]]:
        """Each date with the plan that its counts are matched to: the stored one, else its feed's, else none."""
        for first in range(0, len(days), PLANS_AT_ONCE):
            part = days[first : first + PLANS_AT_ONCE]
            stored = self._stored(part)
            for day in part:
                yield day, stored.pop(day) if day in stored else self.timetable.departures(day, batch)

    def _stored(self, days: Sequence[date]) -> dict[date, pl.DataFrame]:
        """Stored plans by date, without those that only say what ran: there is nothing to match with them."""
        plans = _by_date(self._stored_plans(days))
        own = self._plan_of_counts([day for day in plans if self.timetable.feed_of(day) is None])
        ran = {day: own[day]["trip_id"].unique().implode() for day in own}
        return {
            day: plan
            for day, plan in plans.items()
            if day not in ran or not plan["trip_id"].is_in(ran[day]).all()
        }

    def _read_plan(self, dates: Sequence[date]) -> Reading:
        """Each date's plan by its feed; dates without a feed by the counts, where there are some."""
        frames: dict[date, pl.DataFrame] = {}
        for day in dates:
            plan = self.timetable.departures(day, dates)
            if plan is not None:
                frames[day] = plan
            elif refusal := self.timetable.refusal(day):
                raise refusal
        planned = self._with_capacities(frames)
        planned |= self._plan_of_counts([day for day in dates if day not in frames])
        absent = tuple(day for day in dates if day not in planned or planned[day].is_empty())
        if len(absent) == len(dates):
            raise self.timetable.absent(dates[0])
        rows = pl.concat([planned[day] for day in dates if day not in absent])
        plan = with_default_capacities(conform(rows, PLANNED_DEPARTURES), self._capacities)
        return Reading(plan, absent, feeds=self.timetable.uses(dates))

    def _plan_of_counts(self, dates: Sequence[date]) -> dict[date, pl.DataFrame]:
        known = self._known_dates
        there = [day for day in dates if known is None or day in known]
        if not there:
            return {}
        try:
            rows = read_dates(self._counts, PLANNED_DEPARTURES, there).rows
        except DateAbsent:
            return {}
        return {day: self.timetable.aliases(day).applied(frame) for day, frame in _by_date(rows).items()}

    def _with_capacities(self, plan: Mapping[date, pl.DataFrame]) -> dict[date, pl.DataFrame]:
        windows = {day: capacity_dates(day, self._known_dates) for day in plan}
        needed = sorted({other for window in windows.values() for other in window})
        trips = self._trips_on(needed)
        return {
            day: with_capacities(frame, trips.filter(pl.col("service_date").is_in(list(windows[day]))))
            for day, frame in plan.items()
        }

    def _trips_on(self, dates: Sequence[date]) -> pl.DataFrame:
        """Performed trips of dates, each date read once; lines by the ids of the plan."""
        missing = [day for day in dates if day not in self._trips_known]
        if missing:
            found = self._trips_of_dates(missing).select(
                pl.col(name).cast(kind) for name, kind in _TRIPS_SCHEMA.items()
            )
            lines = self.timetable.aliases(missing[-1]).lines
            self._trips = pl.concat([self._trips, found.with_columns(pl.col("line_id").replace(lines))])
            self._trips_known |= frozenset(missing)
        return self._trips.filter(pl.col("service_date").is_in(list(dates)))


def _by_date(rows: pl.DataFrame) -> dict[date, pl.DataFrame]:
    parts = rows.partition_by("service_date", as_dict=True, maintain_order=True)
    return {day: part for (day,), part in parts.items()}


def capacity_dates(day: date, known: frozenset[date] | None) -> tuple[date, ...]:
    """The dates whose vehicles a date is planned with, of those that have counts (None: any date has)."""
    last = day - timedelta(CAPACITY_LAG_DAYS)
    if known is None:
        return tuple(last - timedelta(back) for back in range(CAPACITY_DATES))
    return tuple(sorted((other for other in known if other <= last), reverse=True)[:CAPACITY_DATES])


def with_capacities(plan: pl.DataFrame, trips: pl.DataFrame) -> pl.DataFrame:
    """Planned departures with the most frequent (seats, total_capacity) of the line's trips, else of its mode's; ties take the smaller."""
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
