"""Counts of one source, plan of GTFS feeds: which feed plans which date, and whose vehicles its journeys are taken to have.

What a feed says is gtfs.py, how counts find their planned journey matching.py.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import date, timedelta
from functools import cached_property
from typing import TypeVar

import polars as pl

from ruter_dagster.contracts.errors import BadInput
from ruter_dagster.contracts.frames import conform, empty_frame
from ruter_dagster.contracts.tables import PLANNED_DEPARTURES, STOP_VISITS, Table
from ruter_dagster.operator import Operator
from ruter_dagster.settings import Settings
from ruter_dagster.sources.base import (
    DateAbsent,
    FeedUse,
    PlanUnreadable,
    Reading,
    SizedSource,
    Source,
    read_dates,
)
from ruter_dagster.sources.gtfs import Feed
from ruter_dagster.sources.gtfs_files import FeedFiles, FeedUnreachable, find_feeds, identity_of
from ruter_dagster.sources.matching import Aliases, match
from ruter_dagster.sources.tides import TidesSource
from ruter_dagster.sources.tides_fleet import trips_of_dates

T = TypeVar("T")
HORIZON_DAYS = 3
CAPACITY_LAG_DAYS = HORIZON_DAYS + 1
"""A date is planned first on the issue date three days before it, and the counts known then are those of the day before."""
CAPACITY_DATES = 7
"""Newest dates with counts whose trips say which vehicles a line has."""
PLANS_AT_ONCE = 7
"""Stored plans that are held at a time: at 500,000 departures a date some 400 MB."""
_SHOWN = 5
"""Feeds that an error names, the newest."""
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


class Timetable:
    """The feeds at a location; a date is planned by the newest that is valid on it.

    Feeds whose name carries a date are opened from the newest on, as far as dates need them; others at once, as only their
    calendars say which is newer. `identity` changes when any feed is written, added or removed.

    A feed that cannot be read is set aside, and the next older one that is valid plans its dates.
    """

    def __init__(self, location: str, time_zone: str, route_types: Mapping[str, str] | None = None) -> None:
        """Raises `BadInput` where there is no feed, or none can be read."""
        self.location = location
        self._time_zone, self._route_types = time_zone, route_types
        found = find_feeds(location)
        self.identity = identity_of(found)
        self._opened: list[Feed] = []
        self._set_aside: dict[FeedFiles, BadInput] = {}
        self._unopened = sorted((files for files in found if files.published), key=_published)
        self._open([files for files in found if files.published is None])
        if not self._unopened:
            self._require_feeds()

    @property
    def feeds(self) -> list[Feed]:
        """All that can be read, the newest first. Raises `BadInput` where none can."""
        while self._unopened:
            self._open_next()
        self._require_feeds()
        return self._opened

    def feed_of(self, day: date) -> Feed | None:
        while True:
            found = next((feed for feed in self._opened if feed.is_valid(day)), None)
            if not self._unopened or (found and _published(self._unopened[-1]) < found.order[0]):
                return found
            self._open_next()

    def departures(self, day: date, batch: Sequence[date]) -> pl.DataFrame | None:
        """What the newest feed that is valid and can be read plans on a date; None where there is none. `batch`: see Feed."""
        while feed := self.feed_of(day):
            plan = self._read(feed, lambda feed: feed.departures(day, batch))
            if plan is not None:
                return plan
        return None

    def aliases(self, day: date) -> Aliases:
        """What counts of a date may call lines and stops, by the feed of the date or the one whose validity is nearest.

        Raises `BadInput` where no feed can be read.
        """
        while True:
            found = self._read(self._nearest(day), lambda feed: Aliases.of(feed.routes, feed.stops))
            if found:
                return found

    def refusal(self, day: date) -> PlanUnreadable | None:
        """Why a date has no plan that no feed is valid on: feeds that were set aside and may be valid on it.

        One whose name carries a date is taken to be valid from then on at the earliest.
        """
        if self.feed_of(day):
            return None
        faults = [str(fault) for files, fault in self._set_aside.items() if _published(files) <= day]
        return (
            PlanUnreadable(f"No GTFS feed that can be read is valid on {day}. {'. '.join(faults)}")
            if faults
            else None
        )

    def _nearest(self, day: date) -> Feed:
        return self.feed_of(day) or min(
            self.feeds, key=lambda feed: min(abs((day - end).days) for end in (feed.first, feed.last))
        )

    def absent(self, day: date) -> DateAbsent:
        if feed := self.feed_of(day):
            return DateAbsent(
                f"GTFS feed {feed.name} (version {feed.version}) plans no journey on {day}, though it is valid from "
                f"{feed.first} to {feed.last}"
            )
        spans = [
            f"{feed.name} (version {feed.version}) from {feed.first} to {feed.last}" for feed in self.feeds
        ]
        older = f" and {len(spans) - _SHOWN} older ones" if len(spans) > _SHOWN else ""
        return DateAbsent(
            f"No GTFS feed is valid on {day}, and there are no counts that tell what ran: {', '.join(spans[:_SHOWN])}{older}. "
            f"Add a newer feed at {self.location}"
        )

    def uses(self, dates: Sequence[date]) -> tuple[FeedUse, ...]:
        """The feeds that matter to these dates, newest first: which dates each plans, and what there is to say about it."""
        planned = {day: self.feed_of(day) for day in dates}
        expired = {feed: day for day in sorted(dates) if (feed := self._expired(day))}
        overlapped = {
            older: newer for newer in planned.values() if newer and (older := self._next(newer, dates))
        }
        return (
            tuple(
                FeedUse(
                    feed.name,
                    feed.version,
                    feed.first,
                    feed.last,
                    tuple(day for day, user in planned.items() if user is feed),
                    tuple(_remarks(feed, expired.get(feed), overlapped.get(feed))),
                )
                for feed in self._opened
                if feed in {*planned.values(), *expired, *overlapped}
            )
            + self.set_aside
        )

    @property
    def set_aside(self) -> tuple[FeedUse, ...]:
        """The feeds that could not be read, so far."""
        return tuple(
            FeedUse(files.name, None, None, None, remarks=(f"set aside: {fault}",))
            for files, fault in self._set_aside.items()
        )

    def _expired(self, day: date) -> Feed | None:
        """The feed that ended last, of a date after every feed."""
        if self.feed_of(day):
            return None
        last = max(self.feeds, key=lambda feed: feed.last)
        return last if last.last < day else None

    def _next(self, feed: Feed, dates: Sequence[date]) -> Feed | None:
        """The next older feed that would plan one of the dates as well: of an archive's many one is enough to report."""
        if self._opened[-1] is feed and self._unopened:
            self._open_next()
        older = self._opened[self._opened.index(feed) + 1 :]
        both = [day for day in dates if self.feed_of(day) is feed]
        return next((other for other in older if any(map(other.is_valid, both))), None)

    def _open_next(self) -> None:
        """Opens the newest of those whose names carry a date, and all others of that date."""
        newest = _published(self._unopened[-1])
        self._open([files for files in self._unopened if files.published == newest])
        self._unopened = [files for files in self._unopened if files.published != newest]

    def _open(self, found: Sequence[FeedFiles]) -> None:
        for files in found:
            with self._setting_aside(files):
                self._opened.append(Feed(files, self._time_zone, self._route_types))
        self._opened.sort(key=lambda feed: feed.order, reverse=True)

    def _read(self, feed: Feed, read: Callable[[Feed], T]) -> T | None:
        """What `read` gives of a feed; None where it cannot be read: then it is set aside."""
        with self._setting_aside(feed.files):
            return read(feed)
        self._opened.remove(feed)
        return None

    @contextmanager
    def _setting_aside(self, files: FeedFiles) -> Iterator[None]:
        """Sets a feed aside that cannot be read; an object store that does not answer says nothing about it."""
        try:
            yield
        except FeedUnreachable:
            raise
        except BadInput as fault:
            self._set_aside[files] = fault

    def _require_feeds(self) -> None:
        if not self._opened:
            raise next(iter(self._set_aside.values()))


def _published(files: FeedFiles) -> date:
    return files.published or date.min


def _remarks(feed: Feed, expired_on: date | None, newer: Feed | None) -> list[str]:
    remarks = [f"{name}: {count:,}" for name, count in feed.findings.counts.items()]
    if expired_on:
        remarks.append(f"expired: {expired_on} is after its last date")
    if newer:
        first, last = max(feed.first, newer.first), min(feed.last, newer.last)
        remarks.append(f"overlapped by {newer.name} from {first} to {last}, which is newer and used there")
    return remarks


class GtfsPlannedSource:
    """Counts of a source; its plan is GTFS's where a feed is valid, elsewhere what the source itself says of the date.

    - Visits of planned dates get the trip ids and stop sequences of the journeys that they are matched to: matching.py.
      Lines and stops may be called by route_short_name and stop_code.
    - Visits are matched to the plan that is stored of their date: forecasts have its ids, and a newer feed may have others.
      Only where none is stored are they matched to the feed's.
    - Seats and capacity are those that most trips of the line had, on the `CAPACITY_DATES` newest dates with counts up
      to `CAPACITY_LAG_DAYS` days before: what was known when the date was first forecast. A line without trips then has
      what most trips of its mode had.
    """

    def __init__(
        self,
        counts: Source,
        timetable: Timetable,
        trips_of_dates: TripsOfDates,
        stored_plans: StoredPlans | None = None,
    ) -> None:
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
        return cls(counts, timetable, trips_of_dates(settings.tides_path or "", operator), stored_plans)

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
        visits = _by_date(reading.rows)
        for day, plan in self._plans_to_match(list(visits), dates):
            renamed = self.timetable.aliases(day).applied(visits.pop(day))
            matched: dict[str, int] = {}
            if plan is not None:
                others = added.filter(pl.col("service_date") == day)["trip_id_performed"]
                renamed, matched = match(renamed, plan, others)
            frames.append(renamed)
            counts.update(matched)
        rows = conform(pl.concat(frames), STOP_VISITS) if frames else reading.rows
        rejected = self._with_plans_lines(reading.rejected)
        feeds = self.timetable.set_aside
        return replace(
            reading, rows=rows, rejected=rejected, counts={**reading.counts, **counts}, feeds=feeds
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
        return Reading(conform(rows, PLANNED_DEPARTURES), absent, feeds=self.timetable.uses(dates))

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
