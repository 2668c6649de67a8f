"""Publishes forecasts on Kafka, in one transaction for each issue date. A repeated publication changes nothing."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

from ruter_dagster.contracts.jobs import PUBLISHED_FORECASTS, Publish
from ruter_dagster.contracts.tables import LOAD_FORECASTS
from ruter_dagster.jobs.context import JobContext
from ruter_dagster.jobs.pipes import DateReport, json_value
from ruter_dagster.publishing.cluster import open_cluster_connection
from ruter_dagster.publishing.kafka import PublicationResult, publish
from ruter_dagster.publishing.topics import ensure_topics

log = logging.getLogger("ruter_dagster.jobs")


def run(parameters: Publish, context: JobContext) -> None:
    versions = context.tables.versions(LOAD_FORECASTS, parameters.dates, verdict="ignore")
    results: dict[date, PublicationResult] = {}
    with open_cluster_connection(context.settings) as connection:
        ensure_topics(connection)
        for issue_date in parameters.dates:
            forecasts = context.tables.read(LOAD_FORECASTS, [issue_date], verdict="ignore")
            results[issue_date] = publish(
                forecasts,
                connection,
                issue_date=issue_date,
                issued_at=_issued_at(issue_date, parameters.issued_at, context.operator.time_zone),
                data_cutoff=issue_date - timedelta(days=1),
                content_hash=versions[issue_date],
                progress=_progress,
            )
    _report_publication(results, versions, context)


def _issued_at(issue_date: date, local_time: str, time_zone: str) -> datetime:
    """The time of issue. It follows from the job's parameters, so that a repeated publication has the same time."""
    local = datetime.combine(issue_date, time.fromisoformat(local_time), ZoneInfo(time_zone))
    return local.astimezone(UTC)


def _progress(sent: int, total: int) -> None:
    log.info("Publishing: %d of %d departures", sent, total)


def _outcome(result: PublicationResult, version: str) -> str:
    """`published`, or that an earlier call published the same version, and when."""
    if result.published_at is None:
        return "published"
    return f"already published on {result.published_at:%Y-%m-%d %H:%M:%S} UTC, version {version}; nothing was sent"


def _report_publication(
    results: dict[date, PublicationResult], versions: Mapping[date, str], context: JobContext
) -> None:
    outcomes = [f"{day}: {_outcome(result, versions[day])}" for day, result in results.items()]
    for outcome in outcomes:
        log.info("Forecasts of %s", outcome)
    last = list(results.values())[-1]
    context.report.materialised(
        PUBLISHED_FORECASTS,
        dates={day: DateReport(result.messages, result.publication_id) for day, result in results.items()},
        publication_ids=json_value(
            {day.isoformat(): result.publication_id for day, result in results.items()}
        ),
        outcome="; ".join(outcomes),
        already_published=json_value(
            [day.isoformat() for day, result in results.items() if result.already_published]
        ),
        topics=json_value(list(last.topics)),
        **context.provenance(),
    )
