"""Starts the day's chain when a new raw day appears at the source. What is listed and how belongs in sources.

Where S3's events come through a queue (RUTER_ARRIVALS_QUEUE), they only say when to list: the listing is the truth.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from dagster import (
    DagsterRunStatus,
    RunRequest,
    SensorDefinition,
    SensorEvaluationContext,
    SkipReason,
    sensor,
)

from ruter_dagster.contracts.errors import PermanentFailure
from ruter_dagster.contracts.jobs import asset_of
from ruter_dagster.contracts.tables import STOP_VISITS
from ruter_dagster.operator import Operator
from ruter_dagster.records import content_hashes
from ruter_dagster.sensors.chain import (
    counts_request,
    issue_date_of,
    newest_runs,
    plan_request,
    sensor_status,
    starts_on_arrival,
)
from ruter_dagster.settings import Settings

INTERVAL_SECONDS = 300
"""Between two listings of the source where no event has come."""
EVENTS_SECONDS = 30
"""Between two looks for events."""
EVENTS_AT_ONCE = 100
LISTING_SECONDS = 45
"""How long a listing may take: less than the minute that Dagster gives a sensor."""

DatesAtSource = Callable[[Settings], "frozenset[date] | None"]


@dataclass(frozen=True)
class Memory:
    """The sensor's cursor: dates asked for that are not materialised yet, when the source was last listed, and whether
    there was more to do than one date."""

    asked: frozenset[date] = frozenset()
    listed: datetime = datetime(2000, 1, 1, tzinfo=UTC)
    more: bool = False

    @classmethod
    def of(cls, cursor: str | None) -> Memory:
        if not cursor:
            return cls()
        kept = json.loads(cursor)
        asked = frozenset(map(date.fromisoformat, kept["asked"]))
        return cls(asked, datetime.fromisoformat(kept["listed"]), kept["more"])

    def to_cursor(self) -> str:
        asked = sorted(day.isoformat() for day in self.asked)
        return json.dumps({"asked": asked, "listed": self.listed.isoformat(), "more": self.more})

    def is_due(self, now: datetime) -> bool:
        return self.more or now - self.listed >= timedelta(seconds=INTERVAL_SECONDS)


def arrival_sensors(
    settings: Settings,
    operator: Operator,
    jobs: Mapping[str, Any],
    dates_at_source: DatesAtSource | None = None,
    now: Callable[[], datetime] = lambda: datetime.now(UTC),
) -> list[SensorDefinition]:
    """The sensor `new_operating_dates`."""
    list_dates = dates_at_source or _list_dates
    queued = settings.arrivals_queue is not None

    @sensor(
        jobs=[jobs["counts"], jobs["plan"]],
        minimum_interval_seconds=EVENTS_SECONDS if queued else INTERVAL_SECONDS,
        default_status=sensor_status(settings),
        description="Asks for counts and plan of an operating date that is new at the source: each date once, in order, "
        "one at a time, because features of a date look back at the dates before. Days that were there before the "
        "first materialised one are history: materialise those by a range.",
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
            yield from _look(context, memory, settings, operator, list_dates, now())

    return [new_operating_dates]


def _look(
    context: SensorEvaluationContext,
    memory: Memory,
    settings: Settings,
    operator: Operator,
    list_dates: DatesAtSource,
    now: datetime,
) -> Iterator[RunRequest | SkipReason]:
    """Lists the source and asks for the first new date; the cursor then knows what was asked for."""
    known = _materialised(context)
    if not known:
        yield SkipReason(
            "No operating date is materialised yet: run `ruter-dagster demo`, or materialise a range"
        )
        return
    asked = memory.asked - known
    underway = _unfinished(context, asked, settings)
    if underway:
        context.update_cursor(Memory(asked, memory.listed, more=True).to_cursor())
        yield SkipReason(f"The counts of {underway} have not ended yet")
        return
    at_source = list_dates(settings) or frozenset()
    new = [day for day in _closed(at_source - known - asked, operator, now) if day > min(known)]
    if not new:
        context.update_cursor(Memory(asked, now).to_cursor())
        yield SkipReason(f"Nothing new among {len(at_source)} dates at {settings.tides_path}")
        return
    day = min(new)
    yield counts_request(day, settings)
    yield plan_request(day, settings, operator)
    context.update_cursor(Memory(asked | {day}, now, more=True).to_cursor())


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
    ended = (DagsterRunStatus.SUCCESS, DagsterRunStatus.FAILURE, DagsterRunStatus.CANCELED)
    for day in sorted(asked):
        record = newest.get(issue_date_of(day, settings).isoformat())
        if record and record.dagster_run.status not in ended:
            return day
    return None


def _closed(days: Iterable[date], operator: Operator, now: datetime) -> list[date]:
    """Dates whose operating day has ended: a day that is still being written is not asked for."""
    zone = ZoneInfo(operator.time_zone)
    return [
        day
        for day in days
        if datetime.combine(day + timedelta(1), operator.day_closes_at, zone) <= now.astimezone(zone)
    ]


def _list_dates(settings: Settings) -> frozenset[date] | None:
    """Asks the source in a process of its own: the code location loads no data library, and waits no longer than it may."""
    listing = subprocess.run(
        [sys.executable, "-m", "ruter_dagster.sources.listing"],
        env={**os.environ, **settings.to_environment()},
        capture_output=True,
        text=True,
        timeout=LISTING_SECONDS,
        check=False,
    )
    if listing.returncode:
        raise PermanentFailure(
            listing.stderr.strip() or f"The listing ended with exit code {listing.returncode}"
        )
    dates = json.loads(listing.stdout)
    return None if dates is None else frozenset(map(date.fromisoformat, dates))
