"""Writes the standard feeds of issue dates: what Kafka's consumers read, as files of SIRI-ET and GTFS."""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import date

from ruter_dagster.contracts.errors import NoDataForDates
from ruter_dagster.contracts.jobs import FEEDS, PUBLISHED_FORECASTS, Feeds
from ruter_dagster.feeds.calls import CALL_COLUMNS, Calls, FeedHeader, calls_by_day
from ruter_dagster.feeds.formats import FeedFile, feed_files
from ruter_dagster.feeds.gtfs_occupancies import require_first_stop_sequence
from ruter_dagster.feeds.gtfs_realtime import ambiguous_journeys
from ruter_dagster.feeds.siri import invalid_identifiers
from ruter_dagster.jobs.context import JobContext
from ruter_dagster.jobs.pipes import DateReport, days_value, json_value, link
from ruter_dagster.storage.feed_files import FeedFiles, FeedPublication, StoredFile, folder_of, total_bytes
from ruter_dagster.storage.publications import (
    Publication,
    newest_publication,
    publications_of,
    read_published,
)

log = logging.getLogger("ruter_dagster.jobs")

DAYS_AT_ONCE = 2
"""Operating days whose files are made at the same time. Each needs about 0.5 GB at Ruter's size."""

SUPERSEDED = "superseded"
"""Version of a date without feeds, because a newer issue date was published before it."""
OUTDATED = "outdated"
"""Version of a date without feeds, because they would be deleted at once (`RUTER_FEEDS_KEEP_DAYS`)."""


def run(parameters: Feeds, context: JobContext) -> None:
    store = FeedFiles(context.artifacts)
    publications = _publications(parameters, context)
    superseded = _superseded(parameters, publications, context)
    keep_days = context.settings.feeds_keep_days
    first_kept = store.first_kept(keep_days, *publications)
    written = {
        day: _write(publication, store, context)
        for day, publication in publications.items()
        if day >= first_kept
    }
    is_latest = {day: store.make_latest(feeds, _former(feeds, context)) for day, feeds in written.items()}
    for feeds in written.values():
        store.delete_leftovers(feeds)
    deleted = store.delete_old(keep_days)
    versions = {day: publications[day].content_hash for day in written}
    without = dict.fromkeys(superseded, SUPERSEDED) | dict.fromkeys(publications.keys() - written, OUTDATED)
    _report(parameters, written, versions, without, context)
    log.info(
        "Latest feeds: %s. Deleted: %s",
        ", ".join(str(day) for day, latest in is_latest.items() if latest) or "unchanged",
        ", ".join(map(str, deleted)) or "none",
    )


def _publications(parameters: Feeds, context: JobContext) -> dict[date, Publication]:
    """The newest publication of each date that has one."""
    newest = {day: newest_publication(context.store, day) for day in sorted(parameters.dates)}
    return {day: publication for day, publication in newest.items() if publication}


def _former(feeds: FeedPublication, context: JobContext) -> list[str]:
    """The ids of the publications before that of the feeds, of the same issue date."""
    ids = [other.publication_id for other in publications_of(context.store, feeds.issue_date)]
    return ids[: ids.index(feeds.publication_id)]


def _superseded(parameters: Feeds, publications: Collection[date], context: JobContext) -> list[date]:
    """The dates that were never published, because a newer issue date was. They have no feeds.

    Raises `NoDataForDates` if another date has no publication; in a range, if no date has one.
    """
    newest = newest_publication(context.store)
    without = sorted(set(parameters.dates) - set(publications))
    superseded = [day for day in without if newest and day < newest.issue_date]
    missing = sorted(set(without) - set(superseded))
    if missing and not (parameters.of_range and (publications or superseded)):
        raise NoDataForDates(
            f"No forecasts were published for {', '.join(map(str, missing))}. Materialise {PUBLISHED_FORECASTS} first"
        )
    return superseded


def _write(publication: Publication, store: FeedFiles, context: JobContext) -> FeedPublication:
    """Writes the files of a publication. Until `make_latest`, no reader of `latest.json` sees them."""
    header = _header(publication, context)
    days = calls_by_day(read_published(context.store, publication, CALL_COLUMNS))
    _warn_of_identifiers(days)
    _check_stop_sequences(days, header, context.settings.enabled_feeds)
    folder = folder_of(publication.issue_date, publication.publication_id)

    def write_day(calls: Calls) -> list[StoredFile]:
        files = feed_files(calls, header, context.settings.enabled_feeds)
        return [_stored(file, store.put(folder, file.path, file.content)) for file in files]

    with ThreadPoolExecutor(DAYS_AT_ONCE) as writers:
        files = [file for of_day in writers.map(write_day, days) for file in of_day]
    feeds = FeedPublication(
        publication_id=publication.publication_id,
        issue_date=publication.issue_date,
        issued_at=publication.issued_at,
        published_at=publication.published_at,
        files=tuple(sorted(files, key=lambda file: file.path)),
    )
    store.complete(feeds)
    return feeds


def _header(publication: Publication, context: JobContext) -> FeedHeader:
    operator = context.operator
    return FeedHeader(
        publication_id=publication.publication_id,
        published_at=publication.published_at,
        codespace=operator.codespace,
        operator_ref=operator.feed_identifiers.operator_ref or operator.codespace,
        time_zone=operator.time_zone,
        first_stop_sequence=operator.feed_identifiers.first_stop_sequence,
    )


def _warn_of_identifiers(days: list[Calls]) -> None:
    invalid = sorted({value for calls in days for value in invalid_identifiers(calls)})
    if invalid:
        log.warning(
            "SIRI's XML schema allows no spaces and few signs in identifiers. The feed siri-et has %d that break it, for instance %r. "
            "A reader that validates refuses the feed",
            len(invalid),
            invalid[0],
        )


def _check_stop_sequences(days: list[Calls], header: FeedHeader, feeds: Collection[str]) -> None:
    """Warns of journeys that feeds leave out, or refuses a feed, if GTFS's numbers of stops are unknown."""
    if header.first_stop_sequence is not None:
        return
    if "gtfs-occupancies" in feeds:
        require_first_stop_sequence(header)
    left_out = sum(ambiguous_journeys(calls).len() for calls in days)
    if left_out and "gtfs-realtime" in feeds:
        log.warning(
            "The feed gtfs-realtime leaves out %d journeys that call at a stop twice: it names such calls by GTFS's stop_sequence. "
            "State first_stop_sequence in [feed_identifiers] of the operator file",
            left_out,
        )


def _stored(file: FeedFile, sha256: str) -> StoredFile:
    return StoredFile(
        feed=file.feed,
        operating_day=file.calls.operating_day,
        path=file.path,
        media_type=file.media_type,
        bytes=len(file.content),
        sha256=sha256,
        journeys=file.calls.journeys,
        calls=file.calls.rows.height,
    )


def _report(
    parameters: Feeds,
    written: dict[date, FeedPublication],
    versions: dict[date, str],
    without: dict[date, str],
    context: JobContext,
) -> None:
    """`versions`: the version of the forecasts that each publication has. It is also that of the feeds.

    `without`: why other dates have no feeds.
    """
    reports = {day: DateReport(_calls(feeds), versions[day]) for day, feeds in written.items()}
    reports |= {day: DateReport(0, reason) for day, reason in without.items()}
    files = [file for day in sorted(written)[-1:] for file in _largest_first(written[day])]
    context.report.materialised(
        FEEDS,
        dates=dict(sorted(reports.items())),
        dates_absent=days_value(set(parameters.dates) - reports.keys()),
        dates_superseded=days_value([day for day, version in without.items() if version == SUPERSEDED]),
        dates_outdated=days_value([day for day, version in without.items() if version == OUTDATED]),
        publication_ids=json_value({day.isoformat(): feeds.publication_id for day, feeds in written.items()}),
        files=json_value({file.path: file.bytes for file in files}),
        megabytes=total_bytes(files) / 1e6,
        folder=link(context.artifacts.uri(written[max(written)].folder)) if written else None,
        **context.provenance(),
    )


def _largest_first(feeds: FeedPublication) -> Iterator[StoredFile]:
    yield from sorted(feeds.files, key=lambda file: (-file.bytes, file.path))


def _calls(feeds: FeedPublication) -> int:
    """Number of calls in the feeds, each counted once."""
    return sum({file.operating_day: file.calls for file in feeds.files}.values())
