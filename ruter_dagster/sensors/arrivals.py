"""Starts the day's chain when a new raw day appears at the source, or a recent one is corrected there. What is listed and how belongs in sources.

Where S3's events come through a queue (RUTER_ARRIVALS_QUEUE), they only say when to list: the listing is the truth.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from dagster import (
    DagsterInstance,
    DagsterRunStatus,
    RunRecord,
    RunRequest,
    SensorDefinition,
    SensorEvaluationContext,
    SkipReason,
    sensor,
)

from ruter_dagster.config.gtfs_location import plans_ahead
from ruter_dagster.config.operator import Operator
from ruter_dagster.config.settings import Settings
from ruter_dagster.contracts.errors import PermanentFailure
from ruter_dagster.contracts.file_versions import NO_VERSION, RECENT_DATES, own_version
from ruter_dagster.contracts.jobs import asset_of
from ruter_dagster.contracts.tables import STOP_VISITS
from ruter_dagster.orchestration.event_log import content_hashes, source_versions
from ruter_dagster.sensors.chain import (
    counts_request,
    issue_date_of,
    newest_runs,
    plan_request,
    run_suffix,
    sensor_status,
    starts_on_arrival,
)

INTERVAL_SECONDS = 300
"""Between two listings of the source where no event has come."""
EVENTS_SECONDS = 30
"""Between two looks for events."""
EVENTS_AT_ONCE = 100
LISTING_SECONDS = 45
"""How long a listing may take: less than the minute that Dagster gives a sensor."""

ENDED = (DagsterRunStatus.SUCCESS, DagsterRunStatus.FAILURE, DagsterRunStatus.CANCELED)


@dataclass(frozen=True)
class Listing:
    """What the source has: dates with counts (None where it answers any), versions of the newest dates' own files if it has
    files, and what identifies its timetable, if it has one."""

    dates: frozenset[date] | None
    files: Mapping[date, str] = field(default_factory=dict)
    timetable: str | None = None


ListSource = Callable[[Settings], Listing]


@dataclass(frozen=True)
class Memory:
    """The sensor's cursor: dates asked for that are not materialised yet, when the source was last listed, whether there was
    more to do than one date, of recent dates the version of their files when they were asked for and when they were last listed
    (`seen`), and the timetable that dates ahead were last planned by."""

    asked: frozenset[date] = frozenset()
    listed: datetime = datetime(2000, 1, 1, tzinfo=UTC)
    more: bool = False
    versions: Mapping[date, str] = field(default_factory=dict)
    timetable: str | None = None
    seen: Mapping[date, str] = field(default_factory=dict)

    @classmethod
    def of(cls, cursor: str | None) -> Memory:
        if not cursor:
            return cls()
        kept = json.loads(cursor)
        asked = frozenset(map(date.fromisoformat, kept["asked"]))
        versions, seen = (
            {date.fromisoformat(day): version for day, version in kept.get(name, {}).items()}
            for name in ("versions", "seen")
        )
        listed = datetime.fromisoformat(kept["listed"])
        return cls(asked, listed, kept["more"], versions, kept.get("timetable"), seen)

    def to_cursor(self) -> str:
        kept = {
            "asked": sorted(day.isoformat() for day in self.asked),
            "listed": self.listed.isoformat(),
            "more": self.more,
            "versions": {day.isoformat(): version for day, version in self.versions.items()},
            "timetable": self.timetable,
            "seen": {day.isoformat(): version for day, version in self.seen.items()},
        }
        return json.dumps(kept)

    def is_due(self, now: datetime) -> bool:
        return self.more or now - self.listed >= timedelta(seconds=INTERVAL_SECONDS)


def arrival_sensors(
    settings: Settings,
    operator: Operator,
    jobs: Mapping[str, Any],
    list_source: ListSource | None = None,
    now: Callable[[], datetime] = lambda: datetime.now(UTC),
) -> list[SensorDefinition]:
    """The sensor `new_operating_dates`."""
    list_source = list_source or _list_source
    queued = settings.arrivals_queue is not None

    @sensor(
        jobs=[jobs["counts"], jobs["plan"]],
        minimum_interval_seconds=EVENTS_SECONDS if queued else INTERVAL_SECONDS,
        default_status=sensor_status(settings),
        description="Asks for counts and plan of an operating date that is new at the source: each date once, in order, "
        "one at a time, because features of a date look back at the dates before. Days that were there before the "
        f"first materialised one are history: materialise those by a range. Of the {RECENT_DATES} newest dates, those are asked "
        "for again whose files at the source have changed. A changed timetable has the dates ahead planned anew.",
    )
    def new_operating_dates(context: SensorEvaluationContext) -> Iterator[RunRequest | SkipReason]:
        if not starts_on_arrival(settings):
            yield SkipReason(f"The source {settings.source} answers any date: the schedules start its days")
            return
        memory = Memory.of(context.cursor)
        with _events(settings) as news:
            if queued and not news and not memory.is_due(now()):
                yield SkipReason(f"No event of new data at {settings.tides_path}")
                return
            yield from _look(context, memory, settings, operator, list_source, now())

    return [new_operating_dates]


def _look(
    context: SensorEvaluationContext,
    memory: Memory,
    settings: Settings,
    operator: Operator,
    list_source: ListSource,
    now: datetime,
) -> Iterator[RunRequest | SkipReason]:
    """Lists the source and asks for the first new date, else the first corrected one, else for the plan by a new timetable; the
    cursor then knows what was asked for."""
    known = _materialised(context)
    if not known:
        yield SkipReason(
            "No operating date is materialised yet: run `ruter-dagster demo`, or materialise a range"
        )
        return
    memory = replace(memory, asked=memory.asked - known)
    if underway := _unfinished(context, {*memory.asked, *memory.versions}, settings):
        context.update_cursor(replace(memory, more=True).to_cursor())
        yield SkipReason(f"The counts of {underway} have not ended yet")
        return
    yield from _ask(context, memory, list_source(settings), known, settings, operator, now)


def _ask(
    context: SensorEvaluationContext,
    memory: Memory,
    listing: Listing,
    known: frozenset[date],
    settings: Settings,
    operator: Operator,
    now: datetime,
) -> Iterator[RunRequest | SkipReason]:
    """Asks for what comes first; `known` are the dates that are materialised."""
    at_source, asked = listing.dates or frozenset(), memory.asked
    versions = {day: version for day, version in memory.versions.items() if day in listing.files}
    read, settled = _read_before(context, listing), _settled(listing, memory.seen)
    memory = Memory(asked, now, False, versions, memory.timetable or listing.timetable, listing.files)
    unread = at_source - known - asked - _refused(read, listing)
    new = [day for day in _closed(unread, operator, now) if day > min(known)]
    newest = max(known | asked)
    if new:
        day = min(new)
        yield counts_request(day, settings)
        yield plan_request(day, settings, operator)
        # A late date's plan says nothing of the dates ahead: a new timetable is for the next tick then.
        memory = _asked(memory, day, listing, listing.timetable if day > newest else memory.timetable)
    elif corrected := [day for day in _corrected(settled, read, versions) if day > min(known)]:
        yield from _again(min(corrected), listing, settings, operator, context.instance)
        memory = _asked(memory, min(corrected), listing, memory.timetable)
    elif listing.timetable == memory.timetable:
        yield SkipReason(f"Nothing new among {len(at_source)} dates at {settings.tides_path}")
    elif _is_under_way(newest_runs(context.instance, "plan"), newest, settings):
        yield SkipReason(f"The timetable has changed, and the plan after {newest} has not ended yet")
    else:
        former = _newest_run(context.instance, "plan", newest, settings)
        yield plan_request(newest, settings, operator, f"{listing.timetable}{run_suffix(former)}")
        memory = replace(memory, timetable=listing.timetable)
    context.update_cursor(memory.to_cursor())


def _asked(memory: Memory, day: date, listing: Listing, timetable: str | None) -> Memory:
    """The memory once counts and plan of a date were asked for."""
    version = {day: listing.files[day]} if day in listing.files else {}
    asked, versions = memory.asked | {day}, {**memory.versions, **version}
    return replace(memory, asked=asked, more=True, versions=versions, timetable=timetable)


def _again(
    day: date, listing: Listing, settings: Settings, operator: Operator, instance: DagsterInstance
) -> Iterator[RunRequest]:
    """Counts of a corrected date, and its plan if the plan is what ran."""
    correction = f"{listing.files[day]}{run_suffix(_newest_run(instance, 'counts', day, settings))}"
    yield counts_request(day, settings, correction)
    if not plans_ahead(settings):
        yield plan_request(day, settings, operator, correction)


def _newest_run(instance: DagsterInstance, job: str, day: date, settings: Settings) -> RunRecord | None:
    """The newest run of a job that belongs to the counts of a date."""
    return newest_runs(instance, job).get(issue_date_of(day, settings).isoformat())


def _read_before(context: SensorEvaluationContext, listing: Listing) -> dict[date, str]:
    """Of recent dates the version of their own files that a run read, whether it kept the date or blocked it."""
    days = [day.isoformat() for day in listing.files]
    recorded = source_versions(context.instance, asset_of(STOP_VISITS.name), days)
    return {
        date.fromisoformat(day): own for day, version in recorded.items() if (own := own_version(version))
    }


def _settled(listing: Listing, seen: Mapping[date, str]) -> dict[date, str]:
    """The files that were the same at the listing before: those of a day that is being written still change."""
    return {day: version for day, version in listing.files.items() if seen.get(day) == version}


def _refused(read: Mapping[date, str], listing: Listing) -> set[date]:
    """Dates that a run has read in these very files; those that have none of their own may have come since."""
    return {day for day, version in listing.files.items() if version == read.get(day) != NO_VERSION}


def _corrected(
    settled: Mapping[date, str], read: Mapping[date, str], asked: Mapping[date, str]
) -> list[date]:
    """Recent dates whose own files are others than those that were read last, and that were asked for since."""
    return [
        day
        for day, version in settled.items()
        if (day in read or day in asked) and version not in (read.get(day), asked.get(day))
    ]


@contextmanager
def _events(settings: Settings) -> Iterator[bool]:
    """Whether events have come of objects where the source lies; taken from the queue once they were acted on."""
    if settings.arrivals_queue is None:
        yield False
        return
    from ruter_dagster.aws.clients import client
    from ruter_dagster.aws.queues import EventQueue

    queue = EventQueue(settings.arrivals_queue, client("sqs", settings.aws_region))
    events = queue.receive(EVENTS_AT_ONCE)
    yield any(_is_of_source(event.detail, settings.tides_path or "") for event in events)
    queue.delete(events)


def _is_of_source(detail: Mapping[str, Any], place: str) -> bool:
    address = f"s3://{detail.get('bucket', {}).get('name')}/{detail.get('object', {}).get('key')}"
    return address.startswith(f"{place.rstrip('/')}/")


def _materialised(context: SensorEvaluationContext) -> frozenset[date]:
    """Dates whose visits were read; those that a range of dates found absent at the source may still come."""
    return frozenset(map(date.fromisoformat, content_hashes(context.instance, asset_of(STOP_VISITS.name))))


def _unfinished(context: SensorEvaluationContext, asked: Iterable[date], settings: Settings) -> date | None:
    """A date whose counts were asked for and are queued or running."""
    newest = newest_runs(context.instance, "counts")
    return next((day for day in sorted(asked) if _is_under_way(newest, day, settings)), None)


def _is_under_way(newest: Mapping[str, RunRecord], day: date, settings: Settings) -> bool:
    """Whether the newest run that followed the counts of a date (by issue date) is queued or running."""
    record = newest.get(issue_date_of(day, settings).isoformat())
    return record is not None and record.dagster_run.status not in ENDED


def _closed(days: Iterable[date], operator: Operator, now: datetime) -> list[date]:
    """Dates whose operating day has ended: a day that is still being written is not asked for."""
    zone = ZoneInfo(operator.time_zone)
    return [
        day
        for day in days
        if datetime.combine(day + timedelta(1), operator.day_closes_at, zone) <= now.astimezone(zone)
    ]


def _list_source(settings: Settings) -> Listing:
    """Asks the source in a process of its own: the code location loads no data library, and waits no longer than it may."""
    try:
        listing = subprocess.run(
            [sys.executable, "-m", "ruter_dagster.sources.listing"],
            env={**os.environ, **settings.to_environment()},
            capture_output=True,
            text=True,
            timeout=LISTING_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise PermanentFailure(
            f"{settings.tides_path} could not be listed in {LISTING_SECONDS} s; the next tick tries again. Put each date into files of "
            "its own below fewer folders, or see whether the place answers"
        ) from None
    if listing.returncode:
        raise PermanentFailure(
            listing.stderr.strip() or f"The listing ended with exit code {listing.returncode}"
        )
    return _parsed(json.loads(listing.stdout))


def _parsed(listed: Mapping[str, Any]) -> Listing:
    dates = listed["dates"]
    return Listing(
        None if dates is None else frozenset(map(date.fromisoformat, dates)),
        {date.fromisoformat(day): version for day, version in listed["files"].items()},
        listed["timetable"],
    )
