"""The GTFS feeds at a place: which of them plans which date, and which cannot be read.

What a feed says is gtfs.py, how its files are found and fetched gtfs_files.py.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import date
from typing import TypeVar

import polars as pl

from ruter_dagster.contracts.errors import BadInput
from ruter_dagster.sources.base import DateAbsent, FeedUse, PlanUnreadable
from ruter_dagster.sources.gtfs import Feed
from ruter_dagster.sources.gtfs_files import FeedFiles, FeedUnreachable, find_feeds, identity_of
from ruter_dagster.sources.matching import Aliases

T = TypeVar("T")
_SHOWN = 5
"""Feeds that an error names, the newest."""


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
