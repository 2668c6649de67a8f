"""Detects late counts, assets that are too old, drift, and a backlog of runs."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta
from typing import Any

from dagster import AssetKey, AssetRecordsFilter, DagsterInstance, DagsterRunStatus, RunsFilter

from ruter_dagster.contracts.jobs import asset_of
from ruter_dagster.contracts.tables import STOP_VISITS
from ruter_dagster.notifications.drift_problems import drift_problems
from ruter_dagster.notifications.incidents import Key, Problem, Severity
from ruter_dagster.notifications.message import describe_duration
from ruter_dagster.orchestration.event_log import content_hash, evaluated_checks, newest_partition
from ruter_dagster.sensors.drift import DRIFT_ASSET, drift_rows
from ruter_dagster.sensors.problems import Findings, Observation, is_partition

COUNTS_ASSET = asset_of(STOP_VISITS.name)
AWAITED_DAYS = 7
"""Days for which late counts are awaited. Later, their incident is over, whether they came or not."""
MAX_QUEUED = 1000
"""Queued runs that are read."""


def late_data(observation: Observation) -> Findings:
    """The newest closed operating date without counts after the time in the settings, and open dates whose counts came."""
    findings = Findings()
    for incident in observation.open_incidents("late_data"):
        day = date.fromisoformat(incident.problem.subject)
        if _has_counts(observation, day):
            findings.over[incident.problem.key] = f"the counts of {day} were read"
        elif not _is_due(observation, day) or observation.local_now.date() - day > timedelta(AWAITED_DAYS):
            findings.over[incident.problem.key] = f"the counts of {day} are no longer awaited"
        else:
            findings.active.append(_late_counts(observation, day))
    day = observation.newest_closed_date()
    if _is_due(observation, day) and _is_expected(observation, day) and not _has_counts(observation, day):
        findings.active.append(_late_counts(observation, day))
    return findings


def _is_due(observation: Observation, day: date) -> bool:
    by = observation.settings.data_by
    return by != "off" and observation.local_now >= observation.local(day + timedelta(1), by)


def _has_counts(observation: Observation, day: date) -> bool:
    return content_hash(observation.instance, COUNTS_ASSET, day.isoformat()) is not None


def _is_expected(observation: Observation, day: date) -> bool:
    """Whether the date is a partition and an earlier one was read. A new deployment waits for no counts."""
    if not is_partition(observation.deployment.partitions.operating, day):
        return False
    read = observation.instance.get_materialized_partitions(AssetKey.from_user_string(COUNTS_ASSET))
    return any(key < day.isoformat() for key in read)


def _late_counts(observation: Observation, day: date) -> Problem:
    """A warning, and an error once the forecasts that need the counts are due."""
    issue_date = day + timedelta(1)
    is_urgent = observation.local_now >= observation.local(issue_date, observation.settings.publish_by)
    return Problem(
        kind="late_data",
        subject=day.isoformat(),
        severity=Severity.ERROR if is_urgent else Severity.WARNING,
        title=f"No counts of {day}",
        since=observation.local(issue_date, observation.settings.data_by),
        affected=(
            f"Operating date: {day}",
            f"Forecasts of issue date {issue_date}",
            observation.deployment.not_updated(COUNTS_ASSET),
        ),
        details=f"The counts of {day} should have been read by {observation.settings.data_by}",
        links=(observation.link("Stop visits", f"assets/{COUNTS_ASSET}?partition={day}"),),
        remedy="Look whether the source has delivered the date, and whether a run of the job counts failed or waits",
    )


def missed_freshness(observation: Observation) -> Findings:
    """Assets whose last materialisation is older than the hours in the settings. Assets that were never materialised are left out."""
    findings = Findings()
    for asset, hours in observation.settings.freshness_hours.items():
        event = observation.instance.get_latest_materialization_event(AssetKey.from_user_string(asset))
        if event is None:
            continue
        last = datetime.fromtimestamp(event.timestamp, UTC)
        if observation.now - last > timedelta(hours=hours):
            findings.active.append(_stale_asset(observation, asset, last, hours))
        else:
            key: Key = ("missed_freshness", asset)
            findings.over[key] = f"{asset} was materialised"
    return findings


def _stale_asset(observation: Observation, asset: str, last: datetime, hours: float) -> Problem:
    age = describe_duration(timedelta(hours=int((observation.now - last).total_seconds() // 3600)))
    local = last.astimezone(observation.deployment.zone)
    return Problem(
        kind="missed_freshness",
        subject=asset,
        severity=Severity.ERROR,
        title=f"Not materialised for {age}: {asset}",
        since=last + timedelta(hours=hours),
        affected=tuple(filter(None, (f"Asset: {asset}", observation.deployment.not_updated(asset)))),
        details=f"Last materialised on {local:%Y-%m-%d %H:%M %Z}. At most {hours:g} hours are allowed",
        links=(observation.link("Asset", f"assets/{asset}"),),
        remedy="Look whether schedules and sensors are on, and whether a run failed or waits in the queue",
    )


def drift(observation: Observation) -> Findings:
    """Drift metrics that warn or act on the newest measured date, and those that are ok in each scope that warned."""
    open_scopes = {
        incident.problem.subject: incident.problem.scopes for incident in observation.open_incidents("drift")
    }
    rows = _newest_drift(observation.instance)
    active, over = drift_problems(rows, observation.deployment.zone, open_scopes)
    link = observation.link("Drift checks", f"assets/{DRIFT_ASSET}?view=checks")
    linked = [problem.model_copy(update={"links": (link,)}) for problem in active]
    return Findings(linked, dict(over))


def _newest_drift(instance: DagsterInstance) -> list[Mapping[str, Any]]:
    """The verdicts of the newest operating date: from the checks of the run that measured it last."""
    day = newest_partition(instance, DRIFT_ASSET)
    if day is None:
        return []
    records_filter = AssetRecordsFilter(AssetKey.from_user_string(DRIFT_ASSET), asset_partitions=[day])
    records = instance.fetch_materializations(records_filter, limit=1).records
    rows: list[Mapping[str, Any]] = []
    for check in evaluated_checks(instance, records[0].run_id) if records else []:
        if check.asset_key.to_user_string() == DRIFT_ASSET:
            others = (row for row in drift_rows(check, "scopes") if row["verdict"] not in ("warn", "act"))
            rows += [*drift_rows(check), *({"metric": check.check_name, **row} for row in others)]
    return [row for row in rows if row["operating_date"] == day]


def backlog(observation: Observation) -> Findings:
    """Too many runs in the queue, or a run that waits too long. Twice as many, or twice as long, is an error."""
    settings, now = observation.settings, observation.now
    records = observation.instance.get_run_records(
        RunsFilter(statuses=[DagsterRunStatus.QUEUED]), limit=MAX_QUEUED, ascending=True
    )
    key: Key = ("backlog", "run queue")
    oldest = min((record.create_timestamp.replace(tzinfo=UTC) for record in records), default=now)
    excess = max(
        len(records) / settings.backlog_runs, (now - oldest) / timedelta(minutes=settings.backlog_minutes)
    )
    if excess <= 1:
        return Findings(over={key: f"{len(records)} runs wait in the queue"})
    jobs = sorted({record.dagster_run.job_name for record in records})
    problem = Problem(
        kind="backlog",
        subject="run queue",
        severity=Severity.ERROR if excess >= 2 else Severity.WARNING,
        title=f"{len(records)} runs wait in the queue",
        since=oldest,
        affected=(f"Jobs: {', '.join(jobs)}",),
        details=f"The oldest run has waited for {describe_duration(now - oldest)}. At most {settings.backlog_runs} runs may wait, "
        f"and a run at most {settings.backlog_minutes} minutes",
        links=(observation.link("Queued runs", "runs?view=queued"),),
        remedy="Look for a run that hangs or holds a pool (docs/operation.md), and whether Dagster's daemon runs",
    )
    return Findings([problem])
