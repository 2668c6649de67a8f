"""What is worth an alert: a failed run, a blocked check, drift. How a message looks and is sent: notifications/slack.py.

Plain sensors, not Dagster's run_failure_sensor: that one moves on when its function fails, so that an alert which Slack did
not take would be lost. Here the tick fails and comes again. A run carries as a tag what was told of its group.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from dagster import (
    AssetCheckSeverity,
    DagsterEventType,
    DagsterInstance,
    DagsterRun,
    DefaultSensorStatus,
    EventLogRecord,
    RunsFilter,
    RunStatusChangeRecordsFilter,
    SensorDefinition,
    SensorEvaluationContext,
    SkipReason,
    sensor,
)

from ruter_dagster.compat.tags import AUTO_RETRY_RUN_ID_TAG, ROOT_RUN_ID_TAG
from ruter_dagster.config.settings import Settings
from ruter_dagster.notifications.slack import Alert, send
from ruter_dagster.orchestration.event_log import (
    describe_check,
    describe_dates,
    failed_checks,
    failure_cause,
    report_addresses,
)
from ruter_dagster.sensors.chain import INTERVAL_SECONDS, sensor_status
from ruter_dagster.sensors.drift import DRIFT_ASSET, Drift, newest_drift
from ruter_dagster.sensors.drift import INTERVAL_SECONDS as DRIFT_INTERVAL_SECONDS
from ruter_dagster.sensors.retries import is_due

FAILURE_TAG, DRIFT_TAG = "ruter/alert", "ruter/drift_alert"
"""Tags of a run whose failure, or drift, was told: a hash of what exactly."""
BATCH = 50
RETRY_COMES_WITHIN = timedelta(minutes=10)
"""A run that waits longer than this for its retry is told as failed."""
NO_TOKEN = "RUTER_SLACK_TOKEN is not set: no alert is sent"


def alert_sensors(settings: Settings) -> list[SensorDefinition]:
    """The sensors `failure_alerts` and `drift_alerts`; without a Slack token they send nothing and say so once."""
    status = sensor_status(settings) if settings.slack_token else DefaultSensorStatus.STOPPED

    @sensor(
        minimum_interval_seconds=INTERVAL_SECONDS,
        default_status=status,
        description="Tells Slack of each run that failed and will not be retried, or was blocked by a check, once.",
    )
    def failure_alerts(context: SensorEvaluationContext) -> Iterator[SkipReason]:
        yield _tick(context, settings, _newest_failure, _tell_failures)

    @sensor(
        minimum_interval_seconds=DRIFT_INTERVAL_SECONDS,
        default_status=status,
        description="Tells Slack of drift: which metrics warn or call for action on an operating date, once.",
    )
    def drift_alerts(context: SensorEvaluationContext) -> Iterator[SkipReason]:
        yield _tick(context, settings, _newest_run, _tell_drift)

    return [failure_alerts, drift_alerts]


Tell = Callable[[SensorEvaluationContext, Settings, int], tuple[int, int]]


def _tick(
    context: SensorEvaluationContext, settings: Settings, newest: Callable[[DagsterInstance], int], tell: Tell
) -> SkipReason:
    """Tells what came since the cursor; what was there before the first tick, or without a token, is never told."""
    if settings.slack_token is None:
        if context.cursor is None:
            context.log.warning(NO_TOKEN)
        context.update_cursor(str(newest(context.instance)))
        return SkipReason(NO_TOKEN)
    if context.cursor is None:
        context.update_cursor(str(newest(context.instance)))
        return SkipReason("Alerts begin now: what failed before is not told")
    told, cursor = tell(context, settings, int(context.cursor))
    context.update_cursor(str(cursor))
    return SkipReason(f"{told} alerts sent to {settings.slack_channel}" if told else "Nothing to tell")


def _newest_failure(instance: DagsterInstance) -> int:
    records = instance.fetch_run_status_changes(DagsterEventType.RUN_FAILURE, limit=1).records
    return records[0].storage_id if records else 0


def _newest_run(instance: DagsterInstance) -> int:
    records = instance.get_run_records(limit=1)
    return records[0].storage_id if records else 0


def _tell_failures(context: SensorEvaluationContext, settings: Settings, cursor: int) -> tuple[int, int]:
    """Tells each failure after the cursor that is final; the cursor stays before the first that still waits for a retry."""
    wanted = RunStatusChangeRecordsFilter(DagsterEventType.RUN_FAILURE, after_storage_id=cursor)
    records = context.instance.fetch_run_status_changes(wanted, limit=BATCH, ascending=True).records
    told, waiting = 0, False
    for record in records:
        run = context.instance.get_run_by_id(record.run_id)
        awaited = run is not None and _awaits_retry(context.instance, run, record)
        if run and not awaited and AUTO_RETRY_RUN_ID_TAG not in run.tags:
            told += _tell_failure(context.instance, run, settings)
        waiting = waiting or awaited
        if not waiting:
            cursor = record.storage_id
    return told, cursor


def _awaits_retry(instance: DagsterInstance, run: DagsterRun, record: EventLogRecord) -> bool:
    """Whether Dagster has promised a retry, or will be reminded of one."""
    age = datetime.now(UTC) - datetime.fromtimestamp(record.timestamp, UTC)
    return age < RETRY_COMES_WITHIN and (run.is_complete_and_waiting_to_retry or is_due(instance, run))


def _tell_failure(instance: DagsterInstance, run: DagsterRun, settings: Settings) -> bool:
    """Tells the failure unless the same was told of a run that this one retries."""
    fault = failure_cause(instance, run.run_id)
    identity = (
        f"{run.tags.get(ROOT_RUN_ID_TAG, run.run_id)} {fault.asset} {re.sub('[0-9]+', '', fault.reason)}"
    )
    return _tell_once(
        instance, run, (FAILURE_TAG, identity), failure_alert(instance, run, settings), settings
    )


def _tell_drift(context: SensorEvaluationContext, settings: Settings, cursor: int) -> tuple[int, int]:
    """Tells drift that runs after the cursor found, the same metrics, dates and verdicts once."""
    told = 0
    for drift in newest_drift(context.instance):
        if drift.record.storage_id > cursor:
            found = sorted("{operating_date} {metric} {scope} {verdict}".format(**row) for row in drift.rows)
            identity = (DRIFT_TAG, " ".join(found))
            told += _tell_once(context.instance, drift.run, identity, drift_alert(drift, settings), settings)
    return told, cursor


def _tell_once(
    instance: DagsterInstance, run: DagsterRun, identity: tuple[str, str], alert: Alert, settings: Settings
) -> bool:
    """Whether it was told now: first sent, then noted on the run, so that a tick that fails in between tells it again."""
    tag, what = identity
    mark = hashlib.sha256(what.encode()).hexdigest()[:16]
    if instance.get_runs(RunsFilter(tags={tag: mark}), limit=1):
        return False
    send(alert, settings)
    instance.add_run_tags(run.run_id, {tag: mark})
    return True


def failure_alert(instance: DagsterInstance, run: DagsterRun, settings: Settings) -> Alert:
    """A run that failed: by a blocking check, or otherwise."""
    fault = failure_cause(instance, run.run_id)
    blocking = [
        check
        for check in failed_checks(instance, run.run_id)
        if check.severity == AssetCheckSeverity.ERROR and check.asset_key.to_user_string() == fault.asset
    ]
    place = " ".join(filter(None, (run.job_name, describe_dates(run))))
    in_ui = (f"Run {run.run_id[:8]}", f"{_ui(settings)}/runs/{run.run_id}")
    if blocking:
        return Alert(
            title=f"Blocked by a check: {place} ({settings.environment})",
            facts=(f"asset {fault.asset}", "nothing downstream ran, and every reader refuses these dates"),
            words="\n".join(map(describe_check, blocking)),
            links=(*(("Report", report) for report in report_addresses(blocking)), in_ui),
            remedy=f"Once corrected at the source, read it again: `ruter-dagster retry {run.run_id} --whole`",
        )
    return Alert(
        title=f"Run failed: {place} ({settings.environment})",
        facts=(f"asset {fault.asset}",) if fault.asset else (),
        words=fault.reason,
        links=(in_ui,),
        remedy=f"Once mended, go on from the failed step: `ruter-dagster retry {run.run_id}`",
    )


def drift_alert(drift: Drift, settings: Settings) -> Alert:
    """Drift up to an operating date: each metric, its value, verdict and thresholds."""
    remedy = (
        "A training is asked for (sensor drift_check); forecasts go on with the champion until one passes the gate"
        if drift.acts
        else "No training is asked for: watch it, and where counts or vehicles are named, look for a fault at the source"
    )
    return Alert(
        title=f"Drift {'calls for action' if drift.acts else 'warns'}: {drift.operating_date} ({settings.environment})",
        facts=(),
        words="\n".join(map(_describe_drift, sorted(drift.rows, key=_most_urgent))),
        links=(("Drift checks", f"{_ui(settings)}/assets/{DRIFT_ASSET}?view=checks"),),
        remedy=remedy,
    )


def _describe_drift(row: Mapping[str, Any]) -> str:
    line = "{operating_date} {metric} of {scope}: {value:.3g}, {verdict} (warns at {warn:g}".format(**row)
    acts = row.get("act")
    return f"{line}, acts at {acts:g})" if isinstance(acts, (int, float)) else f"{line}, never acts)"


def _most_urgent(row: Mapping[str, Any]) -> tuple[bool, str]:
    return row["verdict"] != "act", f"{row['metric']} {row['scope']} {row['operating_date']}"


def _ui(settings: Settings) -> str:
    return settings.dagster_url.rstrip("/")
