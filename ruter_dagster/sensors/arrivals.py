"""The sensor that starts the chain when the source has a new operating date, or corrected files of a recent one.

If S3 sends its events to a queue (RUTER_ARRIVALS_QUEUE), the events only decide when to list the source: what to request
follows from the listing. `sources/listing.py` lists the source.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
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
from pydantic import BaseModel

from ruter_dagster.compat.clock import get_current_datetime
from ruter_dagster.config.gtfs_location import plans_ahead
from ruter_dagster.config.operator import Operator
from ruter_dagster.config.settings import Settings
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
from ruter_dagster.sensors.child_process import run_module

INTERVAL_SECONDS = 300
"""Time between two listings of the source without an event."""
EVENTS_SECONDS = 30
"""Time between two reads of the event queue."""
MAX_EVENTS_PER_TICK = 100
LISTING_SECONDS = 45
"""The longest time for a listing. Dagster ends a tick after 60 s."""

ENDED = (DagsterRunStatus.SUCCESS, DagsterRunStatus.FAILURE, DagsterRunStatus.CANCELED)


@dataclass(frozen=True)
class Listing:
    """What the source has.

    `dates`: operating dates with counts; None if the source answers any date. `file_versions`: of each recent date, the
    version of the files whose paths name the date. `timetable_version`: None without a timetable.
    """

    dates: frozenset[date] | None
    file_versions: Mapping[date, str] = field(default_factory=dict)
    timetable_version: str | None = None


class Cursor(BaseModel, frozen=True):
    """The state of the sensor between two ticks.

    `requested_dates`: requested and not materialised yet. `requested_versions`: of recent dates, the file versions that
    were requested. `listed_at`, `listed_versions`: time and file versions of the last listing. `has_more`: list again in
    the next tick. `timetable_version`: the timetable of the last requested plan.
    """

    requested_dates: frozenset[date] = frozenset()
    requested_versions: dict[date, str] = {}
    listed_at: datetime = datetime(2000, 1, 1, tzinfo=UTC)
    listed_versions: dict[date, str] = {}
    has_more: bool = False
    timetable_version: str | None = None

    def needs_listing(self, now: datetime) -> bool:
        return self.has_more or now - self.listed_at >= timedelta(seconds=INTERVAL_SECONDS)


def arrival_sensors(
    settings: Settings, operator: Operator, jobs: Mapping[str, Any]
) -> list[SensorDefinition]:
    """The sensor `new_operating_dates`."""
    has_queue = settings.arrivals_queue is not None

    @sensor(
        jobs=[jobs["counts"], jobs["plan"]],
        minimum_interval_seconds=EVENTS_SECONDS if has_queue else INTERVAL_SECONDS,
        default_status=sensor_status(settings),
        description="Requests counts and plan of each new operating date at the source: once, in order, one date at a time, "
        "because features of a date read the dates before. Dates before the first materialised one are history: "
        f"materialise them as a range. Of the {RECENT_DATES} newest dates, those with corrected files are requested "
        "again. A new timetable requests the plan of the dates ahead again.",
    )
    def new_operating_dates(context: SensorEvaluationContext) -> Iterator[RunRequest | SkipReason]:
        if not starts_on_arrival(settings):
            yield SkipReason(f"The source {settings.source} answers any date: the schedules start its days")
            return
        cursor = Cursor.model_validate_json(context.cursor or "{}")
        now = get_current_datetime("UTC")
        with _receive_events(settings) as has_events:
            if has_queue and not has_events and not cursor.needs_listing(now):
                yield SkipReason(f"No event of new data at {settings.tides_path}")
                return
            yield from _list_and_request(context, cursor, settings, operator, now)

    return [new_operating_dates]


def _list_and_request(
    context: SensorEvaluationContext, cursor: Cursor, settings: Settings, operator: Operator, now: datetime
) -> Iterator[RunRequest | SkipReason]:
    """Lists the source, unless the counts of a requested date still run, and requests the next runs."""
    materialised = _materialised_dates(context.instance)
    if not materialised:
        yield SkipReason(
            "No operating date is materialised yet: run `ruter-dagster demo`, or materialise a range"
        )
        return
    cursor = cursor.model_copy(update={"requested_dates": cursor.requested_dates - materialised})
    requested = {*cursor.requested_dates, *cursor.requested_versions}
    if running := _first_running(context.instance, requested, settings):
        context.update_cursor(cursor.model_copy(update={"has_more": True}).model_dump_json())
        yield SkipReason(f"The counts of {running} have not ended yet")
        return
    builder = _RequestBuilder(context.instance, settings, operator, list_source(settings), materialised, now)
    yield from builder.build(cursor)
    context.update_cursor(builder.next_cursor.model_dump_json())


class _RequestBuilder:
    """Builds the requests of one tick from a listing of the source and the materialised dates."""

    def __init__(
        self,
        instance: DagsterInstance,
        settings: Settings,
        operator: Operator,
        listing: Listing,
        materialised: frozenset[date],
        now: datetime,
    ) -> None:
        self.instance, self.settings, self.operator, self.listing = instance, settings, operator, listing
        self.materialised, self.now = materialised, now
        self.next_cursor = Cursor()

    def build(self, cursor: Cursor) -> Iterator[RunRequest | SkipReason]:
        """The first new date, else the first corrected date, else the plan by a new timetable. Sets `next_cursor`."""
        versions, timetable = self.listing.file_versions, self.listing.timetable_version
        self.next_cursor = Cursor(
            requested_dates=cursor.requested_dates,
            requested_versions={
                day: version for day, version in cursor.requested_versions.items() if day in versions
            },
            listed_at=self.now,
            listed_versions=dict(versions),
            timetable_version=cursor.timetable_version or timetable,
        )
        read_versions = self._read_versions()
        if new := self._new_dates(read_versions):
            yield from self._request_new(min(new))
        elif corrected := self._corrected_dates(read_versions, cursor.listed_versions):
            yield from self._request_corrected(min(corrected))
        elif timetable != self.next_cursor.timetable_version:
            yield self._request_plan()
        else:
            count = len(self.listing.dates or ())
            yield SkipReason(f"Nothing new among {count} dates at {self.settings.tides_path}")

    def _read_versions(self) -> dict[date, str]:
        """Of each recent date, the version of its own files that a run read, also if a check blocked the date."""
        days = [day.isoformat() for day in self.listing.file_versions]
        recorded = source_versions(self.instance, asset_of(STOP_VISITS.name), days)
        return {
            date.fromisoformat(day): own for day, version in recorded.items() if (own := own_version(version))
        }

    def _new_dates(self, read_versions: Mapping[date, str]) -> list[date]:
        """Closed dates that no run has read, after the first materialised date."""
        dates = (self.listing.dates or frozenset()) - self.materialised - self.next_cursor.requested_dates
        # A date without own files is read again: its rows may have been added to a shared file.
        blocked = {
            day
            for day, version in self.listing.file_versions.items()
            if version == read_versions.get(day) != NO_VERSION
        }
        return [day for day in dates - blocked if day > min(self.materialised) and self._is_closed(day)]

    def _corrected_dates(
        self, read_versions: Mapping[date, str], listed_versions: Mapping[date, str]
    ) -> list[date]:
        """Recent dates whose files differ from the version that was read or requested last.

        Files that changed since the last listing may still be written, and wait for the next listing.
        """
        requested_versions = self.next_cursor.requested_versions
        return [
            day
            for day, version in self.listing.file_versions.items()
            if version == listed_versions.get(day)
            and (day in read_versions or day in requested_versions)
            and version not in (read_versions.get(day), requested_versions.get(day))
            and day > min(self.materialised)
        ]

    def _request_new(self, day: date) -> Iterator[RunRequest]:
        """Counts and plan of a new date."""
        # The plan of a late date has no dates ahead: the next tick requests these by the new timetable.
        if day > self._newest_date():
            self._update_cursor(timetable_version=self.listing.timetable_version)
        yield counts_request(day, self.settings)
        yield plan_request(day, self.settings, self.operator)
        self._record_request(day)

    def _request_corrected(self, day: date) -> Iterator[RunRequest]:
        """Counts of a corrected date; its plan too, if the plan is derived from the counts."""
        version = self.listing.file_versions[day]
        correction = f"{version}{run_suffix(self._newest_run('counts', day))}"
        yield counts_request(day, self.settings, correction)
        if not plans_ahead(self.settings):
            yield plan_request(day, self.settings, self.operator, correction)
        self._record_request(day)

    def _request_plan(self) -> RunRequest | SkipReason:
        """The plan of the dates ahead by a new timetable, once the former plan has ended."""
        newest, timetable = self._newest_date(), self.listing.timetable_version
        former = self._newest_run("plan", newest)
        if former is not None and former.dagster_run.status not in ENDED:
            return SkipReason(f"The timetable has changed, and the plan after {newest} has not ended yet")
        self._update_cursor(timetable_version=timetable)
        return plan_request(newest, self.settings, self.operator, f"{timetable}{run_suffix(former)}")

    def _newest_date(self) -> date:
        """The newest date that is materialised or requested."""
        return max(self.materialised | self.next_cursor.requested_dates)

    def _newest_run(self, job: str, day: date) -> RunRecord | None:
        """The newest run of a job in the chain of an operating date."""
        return newest_runs(self.instance, job).get(issue_date_of(day, self.settings).isoformat())

    def _record_request(self, day: date) -> None:
        versions = self.listing.file_versions
        version = {day: versions[day]} if day in versions else {}
        self._update_cursor(
            requested_dates=self.next_cursor.requested_dates | {day},
            requested_versions=self.next_cursor.requested_versions | version,
            has_more=True,
        )

    def _update_cursor(self, **values: Any) -> None:
        self.next_cursor = self.next_cursor.model_copy(update=values)

    def _is_closed(self, day: date) -> bool:
        """Whether the operating day has ended. The files of an open day are incomplete."""
        zone = ZoneInfo(self.operator.time_zone)
        closes_at = datetime.combine(day + timedelta(1), self.operator.day_closes_at, zone)
        return closes_at <= self.now.astimezone(zone)


@contextmanager
def _receive_events(settings: Settings) -> Iterator[bool]:
    """Whether the queue has events of objects at the source. The events are deleted if the body raises no error."""
    if settings.arrivals_queue is None:
        yield False
        return
    from ruter_dagster.aws.clients import client
    from ruter_dagster.aws.queues import EventQueue

    queue = EventQueue(settings.arrivals_queue, client("sqs", settings.aws_region))
    events = queue.receive(MAX_EVENTS_PER_TICK)
    yield any(_is_of_source(event.detail, settings.tides_path or "") for event in events)
    queue.delete(events)


def _is_of_source(detail: Mapping[str, Any], source_address: str) -> bool:
    """Whether an event concerns an object below the address of the source."""
    address = f"s3://{detail.get('bucket', {}).get('name')}/{detail.get('object', {}).get('key')}"
    return address.startswith(f"{source_address.rstrip('/')}/")


def _materialised_dates(instance: DagsterInstance) -> frozenset[date]:
    """Dates with stop visits. Dates without data in a materialised range are not among them."""
    return frozenset(map(date.fromisoformat, content_hashes(instance, asset_of(STOP_VISITS.name))))


def _first_running(instance: DagsterInstance, dates: Iterable[date], settings: Settings) -> date | None:
    """The first of these dates whose newest run of counts is queued or running."""
    runs = newest_runs(instance, "counts")
    for day in sorted(dates):
        record = runs.get(issue_date_of(day, settings).isoformat())
        if record is not None and record.dagster_run.status not in ENDED:
            return day
    return None


def list_source(settings: Settings) -> Listing:
    """Lists the source in a child process, so that the code location loads no data library and the time is limited.

    Raises PermanentFailure if the listing fails or takes too long.
    """
    too_slow = (
        f"{settings.tides_path} could not be listed in {LISTING_SECONDS} s; the next tick tries again. Put each date into "
        "its own files in fewer folders, or check that the address answers"
    )
    listed = run_module(settings, "ruter_dagster.sources.listing", seconds=LISTING_SECONDS, too_slow=too_slow)
    return _parse_listing(listed)


def _parse_listing(listed: Mapping[str, Any]) -> Listing:
    dates = listed["dates"]
    return Listing(
        None if dates is None else frozenset(map(date.fromisoformat, dates)),
        {date.fromisoformat(day): version for day, version in listed["files"].items()},
        listed["timetable"],
    )
