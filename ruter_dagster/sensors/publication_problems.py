"""Detects forecasts that are not published by their time, that are published without the model, or whose feeds are not written."""

from __future__ import annotations

from collections.abc import Collection
from datetime import UTC, date, datetime, timedelta

from dagster import AssetKey, AssetMaterialization, AssetRecordsFilter, JsonMetadataValue

from ruter_dagster.config.gtfs_location import plans_ahead
from ruter_dagster.contracts.jobs import FEEDS, PUBLISHED_FORECASTS, asset_of
from ruter_dagster.contracts.tables import LOAD_FORECASTS
from ruter_dagster.notifications.incidents import Key, Problem, Severity
from ruter_dagster.orchestration.event_log import content_hash, newest_materialisation
from ruter_dagster.sensors.problems import Findings, Observation, is_partition

FORECASTS_ASSET = asset_of(LOAD_FORECASTS.name)
_LATE_REMEDY = "Look for a failed or waiting run of the issue date: counts, plan, forecasting. Without counts the chain waits for the source"
_DEGRADED_REMEDY = (
    "The baseline is published. Correct the model (docs/runbook.md), then materialise forecasts/load_forecasts and "
    "forecasts/published_forecasts of the issue date again"
)
_DEGRADED_SUBJECT = " without the model"
"""End of the subject of forecasts that are published without the model. They may be late before, which is another incident."""
FEEDS_SUBJECT = "feeds "
"""Beginning of the subject of feeds that are not written, before the issue date."""
FEEDS_TIME = timedelta(minutes=30)
"""Time after a publication within which its feeds are to be written."""
_FEEDS_REMEDY = (
    "Look for a failed or waiting run of forecasts/feeds. Fix the cause, then materialise forecasts/feeds of the issue date. "
    "Consumers on Kafka have the forecasts"
)


def publication_problems(observation: Observation) -> Findings:
    """The state of the publication of today's issue date, of the newest one and its feeds, and of those with an open incident."""
    published = _published_dates(observation)
    newest = max(published, default=None)
    # No forecasts are due before the first publication of a new deployment.
    due = _due_date(observation) if published else None
    open_dates = {
        incident.problem.subject.removesuffix(_DEGRADED_SUBJECT)
        for incident in observation.open_incidents("failed_publication")
        if not incident.problem.subject.startswith(FEEDS_SUBJECT)
    }
    findings = _feeds(observation, newest) if newest else Findings()
    for day in sorted({*open_dates, *filter(None, (newest, due))}):
        if day == due and day not in published:
            findings.active.append(_late(observation, day))
        elif newest is not None and newest > day:
            superseded = f"superseded by issue date {newest}"
            findings.over |= {_late_key(day): superseded, _degraded_key(day): superseded}
        else:
            findings.add(_published(observation, day, published))
    return findings


def _published(observation: Observation, issue_date: str, published: Collection[str]) -> Findings:
    """Whether an issue date is published, and whether with the model."""
    if issue_date not in published:
        return Findings()
    findings = Findings(
        over={_late_key(issue_date): f"the forecasts of issue date {issue_date} are published"}
    )
    if degraded := _degraded(observation, issue_date):
        findings.active.append(_degraded_problem(observation, issue_date, degraded))
    else:
        findings.over[_degraded_key(issue_date)] = (
            f"the model's forecasts of issue date {issue_date} are published"
        )
    return findings


def _feeds(observation: Observation, newest: str) -> Findings:
    """Whether the feeds of the newest published issue date are those of its publication. Earlier feeds are no longer needed."""
    instance, findings = observation.instance, Findings()
    key: Key = ("failed_publication", FEEDS_SUBJECT + newest)
    for incident in observation.open_incidents("failed_publication"):
        day = incident.problem.subject.removeprefix(FEEDS_SUBJECT)
        if incident.problem.subject.startswith(FEEDS_SUBJECT) and day < newest:
            findings.over[incident.problem.key] = f"superseded by issue date {newest}"
    version = content_hash(instance, PUBLISHED_FORECASTS, newest)
    if version is None or content_hash(instance, FEEDS, newest) == version:
        findings.over[key] = f"the feeds of issue date {newest} are written"
    elif (
        _writes_feeds(observation)
        and (since := _published_at(observation, newest)) + FEEDS_TIME < observation.now
    ):
        findings.active.append(_feeds_problem(observation, newest, since))
    return findings


def _writes_feeds(observation: Observation) -> bool:
    """Whether the deployment has feeds. A new one has none before the first run that writes them."""
    feeds = AssetKey.from_user_string(FEEDS)
    return bool(observation.settings.enabled_feeds) and observation.instance.has_asset_key(feeds)


def _published_at(observation: Observation, issue_date: str) -> datetime:
    """When the newest publication of an issue date that is published was recorded."""
    records_filter = AssetRecordsFilter(
        AssetKey.from_user_string(PUBLISHED_FORECASTS), asset_partitions=[issue_date]
    )
    record = observation.instance.fetch_materializations(records_filter, limit=1).records[0]
    return datetime.fromtimestamp(record.timestamp, UTC)


def _feeds_problem(observation: Observation, issue_date: str, since: datetime) -> Problem:
    return Problem(
        kind="failed_publication",
        subject=FEEDS_SUBJECT + issue_date,
        severity=Severity.ERROR,
        title=f"Not written: feeds of issue date {issue_date}",
        since=since,
        affected=_affected(
            issue_date, "Readers of feeds/latest.json have the forecasts of an earlier publication"
        ),
        details=f"The forecasts of {issue_date} are published on Kafka, and their feeds are not written",
        links=(observation.link("Feeds", f"assets/{FEEDS}?partition={issue_date}"),),
        remedy=_FEEDS_REMEDY,
    )


def _late_key(issue_date: str) -> Key:
    return "failed_publication", issue_date


def _degraded_key(issue_date: str) -> Key:
    return "failed_publication", issue_date + _DEGRADED_SUBJECT


def _published_dates(observation: Observation) -> set[str]:
    return observation.instance.get_materialized_partitions(AssetKey.from_user_string(PUBLISHED_FORECASTS))


def _due_date(observation: Observation) -> str | None:
    """Today's issue date, if its forecasts should be published by now."""
    today = observation.local_now.date()
    is_due = observation.local_now >= observation.local(
        today, observation.settings.publish_by
    ) and is_partition(observation.deployment.partitions.issue, today)
    # Without a timetable, forecasts follow late counts of past dates, so that no time is due.
    return today.isoformat() if is_due and plans_ahead(observation.settings) else None


def _degraded(observation: Observation, issue_date: str) -> AssetMaterialization | None:
    """The newest forecasts of the issue date, if they are published without the model."""
    forecasts = newest_materialisation(observation.instance, FORECASTS_ASSET, issue_date)
    if forecasts is None:
        return None
    entry, dates = (forecasts.metadata.get(name) for name in ("degraded", "degraded_dates"))
    # The model may fail for some dates of a range only.
    concerns_date = not isinstance(dates, JsonMetadataValue) or issue_date in (dates.data or ())
    return forecasts if entry is not None and entry.value is True and concerns_date else None


def _late(observation: Observation, issue_date: str) -> Problem:
    by = observation.settings.publish_by
    return Problem(
        kind="failed_publication",
        subject=issue_date,
        severity=Severity.ERROR,
        title=f"Not published: forecasts of issue date {issue_date}",
        since=observation.local(date.fromisoformat(issue_date), by),
        affected=_affected(issue_date, "Readers have the forecasts of an earlier issue date"),
        details=f"The forecasts of {issue_date} were due at {by} and are not published",
        links=(observation.link("Published forecasts", f"assets/{PUBLISHED_FORECASTS}"),),
        remedy=_LATE_REMEDY,
    )


def _degraded_problem(observation: Observation, issue_date: str, forecasts: AssetMaterialization) -> Problem:
    reason = forecasts.metadata.get("degraded_reason")
    return Problem(
        kind="failed_publication",
        subject=issue_date + _DEGRADED_SUBJECT,
        severity=Severity.WARNING,
        title=f"Published without the model: forecasts of issue date {issue_date}",
        since=_since(observation, issue_date),
        affected=_affected(issue_date, "All forecasts are fallbacks, less accurate than the model's"),
        details=str(reason.value) if reason else "The model failed",
        links=(observation.link("Load forecasts", f"assets/{FORECASTS_ASSET}?partition={issue_date}"),),
        remedy=_DEGRADED_REMEDY,
    )


def _since(observation: Observation, issue_date: str) -> datetime:
    """When the degraded publication of the issue date was first seen: now, if it is new."""
    beginnings = (
        incident.problem.since
        for incident in observation.open_incidents("failed_publication")
        if incident.problem.key == _degraded_key(issue_date)
    )
    return next(beginnings, observation.now)


def _affected(issue_date: str, readers: str) -> tuple[str, ...]:
    return (f"Issue date: {issue_date}", readers)
