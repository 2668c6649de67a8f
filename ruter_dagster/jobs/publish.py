"""Publishes forecasts on Kafka, in one transaction for each issue date. A repeated publication changes nothing."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

import polars as pl

from ruter_dagster.contracts.errors import PermanentFailure
from ruter_dagster.contracts.jobs import PUBLISHED_FORECASTS, Publish, asset_of
from ruter_dagster.contracts.tables import LOAD_FORECASTS
from ruter_dagster.contracts.validation import empty_frame
from ruter_dagster.forecasting.occupancy import OccupancyThresholds
from ruter_dagster.forecasting.reasons import model_failed
from ruter_dagster.jobs.context import JobContext
from ruter_dagster.jobs.pipes import DateReport, json_value
from ruter_dagster.publishing.cluster import open_cluster_connection
from ruter_dagster.publishing.connection import KafkaConnection
from ruter_dagster.publishing.kafka import Message, PublicationResult, publish
from ruter_dagster.publishing.markers import Marker
from ruter_dagster.publishing.messages import SCHEMA_VERSION
from ruter_dagster.publishing.status import MODEL_FAILED, deadline
from ruter_dagster.publishing.status_messages import publication_messages
from ruter_dagster.publishing.topics import ensure_topics
from ruter_dagster.storage.publications import (
    Publication,
    find_published_snapshot,
    publications_of,
    record_publication,
)

log = logging.getLogger("ruter_dagster.jobs")


def run(parameters: Publish, context: JobContext) -> None:
    versions = context.tables.versions(LOAD_FORECASTS, parameters.dates, verdict="ignore")
    results: dict[date, PublicationResult] = {}
    with open_cluster_connection(context.settings) as connection:
        ensure_topics(connection)
        # An issue date is never published after a newer one.
        for issue_date in sorted(parameters.dates):
            results[issue_date] = _publish_date(
                issue_date, versions[issue_date], parameters, context, connection
            )
    _report_publication(results, versions, context)


def _publish_date(
    issue_date: date, version: str, parameters: Publish, context: JobContext, connection: KafkaConnection
) -> PublicationResult:
    """Publishes an issue date, and records the publication in the table."""
    forecasts = context.tables.read(LOAD_FORECASTS, [issue_date], verdict="ignore")
    thresholds = context.operator.occupancy.model_dump()
    _require_thresholds(forecasts, OccupancyThresholds(**thresholds).version, issue_date)

    def read_former(marker: Marker, columns: Sequence[str], where: pl.Expr) -> pl.DataFrame | None:
        # 0 is no snapshot's id.
        snapshot = find_published_snapshot(
            context.store, marker.issue_date, marker.snapshot_id or 0, marker.content_hash
        )
        return snapshot and snapshot.read([marker.issue_date], columns, ordered=False, where=where)

    result = publish(
        forecasts,
        connection,
        issue_date=issue_date,
        issued_at=_issued_at(issue_date, parameters.issued_at, context.operator.time_zone),
        data_cutoff=issue_date - timedelta(days=1),
        content_hash=version,
        thresholds=thresholds,
        snapshot_id=context.tables.snapshot(LOAD_FORECASTS).snapshot_id,
        read_former=read_former,
        extra_messages=lambda marker: _statuses(marker, model_failed(forecasts), context, connection),
        progress=_progress,
    )
    _record_publications(issue_date, result, forecasts, context)
    return result


def _record_publications(
    issue_date: date, result: PublicationResult, forecasts: pl.DataFrame, context: JobContext
) -> None:
    """Records the publication, and before it those of its issue date whose job ended between commit and record."""
    recorded = {publication.publication_id for publication in publications_of(context.store, issue_date)}
    own = () if result.outcome == "superseded" else (result.marker,)
    markers = {marker.publication_id: marker for marker in (*result.of_date, *own)}
    for marker in markers.values():
        if marker.schema_version == SCHEMA_VERSION and marker.publication_id not in recorded:
            is_own = marker.publication_id == result.publication_id
            publication = _publication(marker, forecasts if is_own else _published_rows(marker, context))
            record_publication(context.store, publication, code_version=context.parameters.code_version)


def _published_rows(marker: Marker, context: JobContext) -> pl.DataFrame:
    """What `_publication` reads of a publication's forecasts; no rows if they no longer exist."""
    columns = ("reasons", "thresholds_version")
    day, snapshot_id = marker.issue_date, marker.snapshot_id or 0
    snapshot = find_published_snapshot(context.store, day, snapshot_id, marker.content_hash)
    return (
        snapshot.read([day], columns, ordered=False)
        if snapshot
        else empty_frame(LOAD_FORECASTS).select(columns)
    )


def _statuses(
    marker: Marker, degraded: bool, context: JobContext, connection: KafkaConnection
) -> list[Message]:
    """The statuses of the publication, which are in its transaction."""
    expected_by = deadline(marker.issue_date, context.settings.publish_by, context.operator.time_zone)
    messages = publication_messages(
        connection,
        marker.issue_date,
        marker.publication_id,
        marker.published_at,
        expected_by,
        MODEL_FAILED if degraded else None,
    )
    return [Message(*message) for message in messages]


def _require_thresholds(forecasts: pl.DataFrame, version: str, issue_date: date) -> None:
    """Messages state the operator's thresholds, so the levels must follow from these."""
    others = set(forecasts["thresholds_version"].drop_nulls().unique()) - {version}
    if others:
        raise PermanentFailure(
            f"The forecasts of {issue_date} have occupancy levels by thresholds {', '.join(sorted(others))}, and the operator "
            f"file now has thresholds {version}. Nothing was published. Materialise {asset_of(LOAD_FORECASTS.name)} of that "
            "date again, or restore the thresholds."
        )


def _publication(marker: Marker, forecasts: pl.DataFrame) -> Publication:
    """The row of forecasts.publications. Without rows, the thresholds are `unknown`."""
    return Publication(
        issue_date=marker.issue_date,
        publication_id=marker.publication_id,
        content_hash=marker.content_hash,
        snapshot_id=marker.snapshot_id or 0,
        schema_version=marker.schema_version,
        issued_at=marker.issued_at or marker.published_at,
        published_at=marker.published_at,
        journeys=marker.journeys,
        calls=marker.calls,
        tombstones=marker.tombstones,
        thresholds_version=forecasts["thresholds_version"].drop_nulls().max() or "unknown",  # type: ignore[arg-type]
        degraded=model_failed(forecasts),
        supersedes=marker.supersedes,
    )


def _issued_at(issue_date: date, local_time: str, time_zone: str) -> datetime:
    """The time of issue. It follows from the job's parameters, so that a repeated publication has the same time."""
    local = datetime.combine(issue_date, time.fromisoformat(local_time), ZoneInfo(time_zone))
    return local.astimezone(UTC)


def _progress(sent: int, total: int) -> None:
    log.info("Publishing: %d of %d departures", sent, total)


def _outcome(result: PublicationResult, version: str) -> str:
    """What was sent; or why nothing was."""
    marker = result.marker
    if result.outcome == "already_published":
        time_sent = f"{marker.published_at:%Y-%m-%d %H:%M:%S} UTC"
        return f"already published on {time_sent}, version {version}; nothing was sent"
    if result.outcome == "superseded":
        return (
            f"not published, because consumers read the newer issue date {marker.issue_date} already "
            f"(publication {marker.publication_id})"
        )
    sent = (
        f"{marker.messages} of {marker.journeys} journeys"
        if marker.supersedes
        else f"{marker.journeys} journeys"
    )
    return f"published {sent}, {marker.tombstones} tombstones"


def _report_publication(
    results: dict[date, PublicationResult], versions: Mapping[date, str], context: JobContext
) -> None:
    outcomes = [f"{day}: {_outcome(result, versions[day])}" for day, result in results.items()]
    for outcome in outcomes:
        log.info("Forecasts of %s", outcome)
    last = list(results.values())[-1]
    not_sent = [day.isoformat() for day, result in results.items() if result.outcome != "published"]
    context.report.materialised(
        PUBLISHED_FORECASTS,
        dates={day: _date_report(result, versions[day]) for day, result in results.items()},
        publication_ids=json_value(
            {day.isoformat(): result.publication_id for day, result in results.items()}
        ),
        outcome="; ".join(outcomes),
        already_published=json_value(not_sent),
        superseded=json_value(
            [day.isoformat() for day, result in results.items() if result.outcome == "superseded"]
        ),
        topics=json_value(list(last.topics)),
        **context.provenance(),
    )


def _date_report(result: PublicationResult, version: str) -> DateReport:
    """Departures that consumers read, and the version of these forecasts."""
    marker, is_read = result.marker, result.outcome != "superseded"
    sent = result.outcome == "published"
    numbers = {
        "journeys": marker.journeys if is_read else 0,
        "messages": marker.messages if sent else 0,
        "tombstones": marker.tombstones if sent else 0,
    }
    return DateReport(marker.calls if is_read else 0, version, numbers)
