"""The GTFS feeds at a location: selects the feed of each date, and collects unreadable feeds.

gtfs.py reads a feed, and gtfs_files.py finds and fetches its files.
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
_MAX_LISTED_FEEDS = 5
"""Number of feeds that an error lists, newest first."""


class Timetable:
    """The feeds at a location. The newest feed that is valid on a date plans it.

    Feeds with a date in their name are opened from the newest on, until the requested dates have a feed. Other feeds are
    opened immediately, because only their calendars show which is newer. `identity` changes when any feed is written, added or
    removed. The dates of an unreadable feed are planned by the next older valid feed.
    """

    def __init__(self, location: str, time_zone: str, route_types: Mapping[str, str] | None = None) -> None:
        """Raises `BadInput` if there is no feed, or all are unreadable."""
        self.location = location
        self._time_zone, self._route_types = time_zone, route_types
        feeds = find_feeds(location)
        self.identity = identity_of(feeds)
        self._opened: list[Feed] = []
        self._errors: dict[FeedFiles, BadInput] = {}
        self._unopened = sorted((files for files in feeds if files.published), key=_published)
        self._open([files for files in feeds if files.published is None])
        if not self._unopened:
            self._require_feeds()

    @property
    def feeds(self) -> list[Feed]:
        """All readable feeds, newest first. Raises `BadInput` if there are none."""
        while self._unopened:
            self._open_next()
        self._require_feeds()
        return self._opened

    def feed_of(self, day: date) -> Feed | None:
        """The newest feed that is valid on a date; None if there is none."""
        while True:
            newest = next((feed for feed in self._opened if feed.is_valid(day)), None)
            if not self._unopened or (newest and _published(self._unopened[-1]) < newest.order[0]):
                return newest
            self._open_next()

    def departures(self, day: date, batch: Sequence[date]) -> pl.DataFrame | None:
        """Planned departures of a date, from its newest valid and readable feed; None if there is none. `batch`: see `Feed`."""
        while feed := self.feed_of(day):
            plan = self._read(feed, lambda feed: feed.departures(day, batch))
            if plan is not None:
                return plan
        return None

    def aliases(self, day: date) -> Aliases:
        """Other names of lines and stops, from the feed of the date or from the feed whose validity is nearest.

        Raises `BadInput` if no feed is readable.
        """
        while True:
            aliases = self._read(self._nearest(day), lambda feed: Aliases.of(feed.routes, feed.stops))
            if aliases:
                return aliases

    def unreadable_plan(self, day: date) -> PlanUnreadable | None:
        """The error of a date without a feed, if an unreadable feed may plan it; else None.

        A feed with a date in its name cannot plan earlier dates.
        """
        if self.feed_of(day):
            return None
        errors = [str(error) for files, error in self._errors.items() if _published(files) <= day]
        if not errors:
            return None
        return PlanUnreadable(f"No readable GTFS feed is valid on {day}. {'. '.join(errors)}")

    def _nearest(self, day: date) -> Feed:
        return self.feed_of(day) or min(
            self.feeds, key=lambda feed: min(abs((day - end).days) for end in (feed.first, feed.last))
        )

    def absence(self, day: date) -> DateAbsent:
        """The error of a date without planned departures."""
        if feed := self.feed_of(day):
            return DateAbsent(
                f"GTFS feed {feed.name} (version {feed.version}) has no journey on {day}, although it is valid from "
                f"{feed.first} to {feed.last}"
            )
        spans = [
            f"{feed.name} (version {feed.version}) from {feed.first} to {feed.last}" for feed in self.feeds
        ]
        older = f" and {len(spans) - _MAX_LISTED_FEEDS} older ones" if len(spans) > _MAX_LISTED_FEEDS else ""
        return DateAbsent(
            f"No GTFS feed is valid on {day}, and the date has no counts: {', '.join(spans[:_MAX_LISTED_FEEDS])}{older}. "
            f"Add a newer feed at {self.location}"
        )

    def feed_uses(self, dates: Sequence[date]) -> tuple[FeedUse, ...]:
        """The feeds that plan these dates, have expired or are overlapped, newest first; then the unreadable feeds."""
        planned = {day: self.feed_of(day) for day in dates}
        expired = {feed: day for day in sorted(dates) if (feed := self._expired(day))}
        overlapped = {
            older: newer for newer in planned.values() if newer and (older := self._overlapped(newer, dates))
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
            + self.unreadable_feeds
        )

    @property
    def unreadable_feeds(self) -> tuple[FeedUse, ...]:
        """The feeds that could not be read so far."""
        return tuple(
            FeedUse(files.name, None, None, None, remarks=(f"unreadable: {error}",))
            for files, error in self._errors.items()
        )

    def _expired(self, day: date) -> Feed | None:
        """The feed with the last valid date, if the date is after it; else None."""
        if self.feed_of(day):
            return None
        last = max(self.feeds, key=lambda feed: feed.last)
        return last if last.last < day else None

    def _overlapped(self, feed: Feed, dates: Sequence[date]) -> Feed | None:
        """The next older feed that is valid on one of the feed's dates. One is reported, because an archive may have many."""
        if self._opened[-1] is feed and self._unopened:
            self._open_next()
        older = self._opened[self._opened.index(feed) + 1 :]
        planned = [day for day in dates if self.feed_of(day) is feed]
        return next((other for other in older if any(map(other.is_valid, planned))), None)

    def _open_next(self) -> None:
        """Opens the unopened feeds with the newest date in their name."""
        newest = _published(self._unopened[-1])
        self._open([files for files in self._unopened if files.published == newest])
        self._unopened = [files for files in self._unopened if files.published != newest]

    def _open(self, feeds: Sequence[FeedFiles]) -> None:
        for files in feeds:
            with self._collecting_errors(files):
                self._opened.append(Feed(files, self._time_zone, self._route_types))
        self._opened.sort(key=lambda feed: feed.order, reverse=True)

    def _read(self, feed: Feed, read: Callable[[Feed], T]) -> T | None:
        """The result of `read`; None if the feed is unreadable. Such a feed is removed."""
        with self._collecting_errors(feed.files):
            return read(feed)
        self._opened.remove(feed)
        return None

    @contextmanager
    def _collecting_errors(self, files: FeedFiles) -> Iterator[None]:
        """Records the error of an unreadable feed. `FeedUnreachable` passes, because the feed itself may be valid."""
        try:
            yield
        except FeedUnreachable:
            raise
        except BadInput as error:
            self._errors[files] = error

    def _require_feeds(self) -> None:
        if not self._opened:
            raise next(iter(self._errors.values()))


def _published(files: FeedFiles) -> date:
    return files.published or date.min


def _remarks(feed: Feed, expired_on: date | None, newer: Feed | None) -> list[str]:
    remarks = [f"{name}: {count:,}" for name, count in feed.findings.counts.items()]
    if expired_on:
        remarks.append(f"expired: {expired_on} is after its last valid date")
    if newer:
        first, last = max(feed.first, newer.first), min(feed.last, newer.last)
        remarks.append(
            f"overlapped by {newer.name} from {first} to {last}, which is newer and plans these dates"
        )
    return remarks
