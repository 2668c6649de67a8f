"""Sensors that send alerts of failed runs, blocking checks and drift. `notifications/slack.py` formats and sends them.

These are plain sensors, because Dagster's `run_failure_sensor` advances its cursor when its function fails: an alert that
Slack refused would be lost. Here the tick fails, and the next tick sends the alert again. A tag of the run records that
its alert was sent.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from dagster import (
    DagsterEventType,
    DagsterInstance,
    DagsterRun,
    DefaultSensorStatus,
    RunsFilter,
    RunStatusChangeRecordsFilter,
    SensorDefinition,
    SensorEvaluationContext,
    SkipReason,
    sensor,
)

from ruter_dagster.compat.tags import AUTO_RETRY_RUN_ID_TAG, ROOT_RUN_ID_TAG
from ruter_dagster.config.settings import Settings
from ruter_dagster.notifications.slack import Alert, send_alert
from ruter_dagster.orchestration.event_log import (
    blocking_checks,
    describe_check,
    describe_dates,
    failure_cause,
    report_addresses,
)
from ruter_dagster.sensors.chain import INTERVAL_SECONDS, sensor_status
from ruter_dagster.sensors.drift import DRIFT_ASSET, Drift, newest_drift
from ruter_dagster.sensors.drift import INTERVAL_SECONDS as DRIFT_INTERVAL_SECONDS
from ruter_dagster.sensors.retries import waits_for_retry

FAILURE_TAG, DRIFT_TAG = "ruter/alert", "ruter/drift_alert"
"""Tags of a run whose failure, or whose drift, was sent: a hash that identifies the alert."""
MAX_FAILURES_PER_TICK = 50
NO_TOKEN = "RUTER_SLACK_TOKEN is not set: no alert is sent"


def alert_sensors(settings: Settings) -> list[SensorDefinition]:
    """The sensors `failure_alerts` and `drift_alerts`. Without a Slack token they send nothing and log one warning."""
    status = sensor_status(settings) if settings.slack_token else DefaultSensorStatus.STOPPED

    @sensor(
        minimum_interval_seconds=INTERVAL_SECONDS,
        default_status=status,
        description="Sends one Slack message for each run that failed and will not be retried, or that a check blocked.",
    )
    def failure_alerts(context: SensorEvaluationContext) -> Iterator[SkipReason]:
        yield _send_new(context, settings, _newest_failure, _send_failures)

    @sensor(
        minimum_interval_seconds=DRIFT_INTERVAL_SECONDS,
        default_status=status,
        description="Sends one Slack message for the drift of an operating date, with the metrics that warn or require action.",
    )
    def drift_alerts(context: SensorEvaluationContext) -> Iterator[SkipReason]:
        yield _send_new(context, settings, _newest_run, _send_drift)

    return [failure_alerts, drift_alerts]


SendAfter = Callable[[SensorEvaluationContext, Settings, int], tuple[int, int]]
"""Sends the alerts of records after a cursor. Returns the number of alerts sent, and the next cursor."""


def _send_new(
    context: SensorEvaluationContext,
    settings: Settings,
    newest: Callable[[DagsterInstance], int],
    send_after: SendAfter,
) -> SkipReason:
    """Sends the alerts of records after the cursor. The first tick, and ticks without a token, only move the cursor."""
    if settings.slack_token is None:
        if context.cursor is None:
            context.log.warning(NO_TOKEN)
        context.update_cursor(str(newest(context.instance)))
        return SkipReason(NO_TOKEN)
    if context.cursor is None:
        context.update_cursor(str(newest(context.instance)))
        return SkipReason("Alerts start now: earlier failures are not sent")
    sent, cursor = send_after(context, settings, int(context.cursor))
    context.update_cursor(str(cursor))
    return SkipReason(f"{sent} alerts sent to {settings.slack_channel}" if sent else "No new alerts")


def _newest_failure(instance: DagsterInstance) -> int:
    records = instance.fetch_run_status_changes(DagsterEventType.RUN_FAILURE, limit=1).records
    return records[0].storage_id if records else 0


def _newest_run(instance: DagsterInstance) -> int:
    records = instance.get_run_records(limit=1)
    return records[0].storage_id if records else 0


def _send_failures(context: SensorEvaluationContext, settings: Settings, cursor: int) -> tuple[int, int]:
    """Sends the failures after the cursor that are final. The cursor stays before the first one that waits for a retry."""
    records_filter = RunStatusChangeRecordsFilter(DagsterEventType.RUN_FAILURE, after_storage_id=cursor)
    records = context.instance.fetch_run_status_changes(
        records_filter, limit=MAX_FAILURES_PER_TICK, ascending=True
    ).records
    sent, any_waits = 0, False
    for record in records:
        run = context.instance.get_run_by_id(record.run_id)
        waits = run is not None and waits_for_retry(context.instance, run, record.timestamp)
        if run and not waits and AUTO_RETRY_RUN_ID_TAG not in run.tags:
            sent += _send_failure(context.instance, run, settings)
        any_waits = any_waits or waits
        if not any_waits:
            cursor = record.storage_id
    return sent, cursor


def _send_failure(instance: DagsterInstance, run: DagsterRun, settings: Settings) -> bool:
    """Sends the failure, unless a run of the same retry group failed for the same reason. Numbers do not distinguish reasons."""
    cause = failure_cause(instance, run.run_id)
    root_id, reason = run.tags.get(ROOT_RUN_ID_TAG, run.run_id), re.sub("[0-9]+", "", cause.reason)
    identity = f"{root_id} {cause.asset} {reason}"
    return _send_once(instance, run, FAILURE_TAG, identity, failure_alert(instance, run, settings), settings)


def _send_drift(context: SensorEvaluationContext, settings: Settings, cursor: int) -> tuple[int, int]:
    """Sends the drift that runs after the cursor measured. The same metrics, dates and verdicts are sent once."""
    sent = 0
    for drift in newest_drift(context.instance):
        if drift.record.storage_id > cursor:
            rows = sorted("{operating_date} {metric} {scope} {verdict}".format(**row) for row in drift.rows)
            alert = drift_alert(drift, settings)
            sent += _send_once(context.instance, drift.run, DRIFT_TAG, " ".join(rows), alert, settings)
    return sent, cursor


def _send_once(
    instance: DagsterInstance, run: DagsterRun, tag: str, identity: str, alert: Alert, settings: Settings
) -> bool:
    """Sends an alert unless a run has the tag of its identity already. Returns whether the alert was sent.

    The tag is written after the message was sent: a tick that fails in between sends the alert twice and never loses it.
    """
    digest = hashlib.sha256(identity.encode()).hexdigest()[:16]
    if instance.get_runs(RunsFilter(tags={tag: digest}), limit=1):
        return False
    send_alert(alert, settings)
    instance.add_run_tags(run.run_id, {tag: digest})
    return True


def failure_alert(instance: DagsterInstance, run: DagsterRun, settings: Settings) -> Alert:
    """The alert of a failed run: which check blocked it, or the error of its first failed step."""
    cause = failure_cause(instance, run.run_id)
    checks = blocking_checks(instance, run.run_id, cause.asset)
    job_and_dates = " ".join(filter(None, (run.job_name, describe_dates(run))))
    run_link = (f"Run {run.run_id[:8]}", f"{_ui_address(settings)}/runs/{run.run_id}")
    if checks:
        return Alert(
            title=f"Blocked by a check: {job_and_dates} ({settings.environment})",
            facts=(f"asset {cause.asset}", "downstream assets did not run, and no job reads these dates"),
            details="\n".join(map(describe_check, checks)),
            links=(*(("Report", address) for address in report_addresses(checks)), run_link),
            remedy=f"Correct the data at the source, then read it again: `ruter-dagster retry {run.run_id} --whole`",
        )
    return Alert(
        title=f"Run failed: {job_and_dates} ({settings.environment})",
        facts=(f"asset {cause.asset}",) if cause.asset else (),
        details=cause.reason,
        links=(run_link,),
        remedy=f"Fix the cause, then continue from the failed step: `ruter-dagster retry {run.run_id}`",
    )


def drift_alert(drift: Drift, settings: Settings) -> Alert:
    """The alert of drift up to an operating date: each metric with its value, verdict and thresholds."""
    remedy = (
        "The sensor drift_check requests a training. The champion stays in use until a new model passes the release gate"
        if drift.requires_action
        else "No training is requested. Watch these metrics. If they concern counts or vehicles, look for an error at the source"
    )
    verdict = "requires action" if drift.requires_action else "warning"
    return Alert(
        title=f"Drift {verdict}: {drift.operating_date} ({settings.environment})",
        facts=(),
        details="\n".join(map(_describe_drift, sorted(drift.rows, key=_urgency))),
        links=(("Drift checks", f"{_ui_address(settings)}/assets/{DRIFT_ASSET}?view=checks"),),
        remedy=remedy,
    )


def _describe_drift(row: Mapping[str, Any]) -> str:
    """One row of monitoring.drift as a line of text."""
    line = "{operating_date} {metric} of {scope}: {value:.3g}, {verdict} (warns at {warn:g}".format(**row)
    acts = row.get("act")
    return f"{line}, acts at {acts:g})" if isinstance(acts, (int, float)) else f"{line}, never acts)"


def _urgency(row: Mapping[str, Any]) -> tuple[bool, str]:
    """Sort key: rows that require action first."""
    return row["verdict"] != "act", f"{row['metric']} {row['scope']} {row['operating_date']}"


def _ui_address(settings: Settings) -> str:
    return settings.dagster_url.rstrip("/")
