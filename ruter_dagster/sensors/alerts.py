"""The sensor of alerts: detects problems, tracks their incidents, and sends a notice when one begins, gets worse or ends.

The tick stores incidents and notices before it sends anything, and again after each notice. A tick that is killed, or a channel
that does not answer, therefore loses no notice. `notifications/` decides what is sent and how.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from datetime import timedelta

from dagster import (
    AssetsDefinition,
    DefaultSensorStatus,
    SensorDefinition,
    SensorEvaluationContext,
    SkipReason,
    sensor,
)

from ruter_dagster.compat.clock import get_current_datetime
from ruter_dagster.config.operator import Operator
from ruter_dagster.config.settings import Settings
from ruter_dagster.contracts.errors import PermanentFailure
from ruter_dagster.notifications.email import email_channels
from ruter_dagster.notifications.incidents import update
from ruter_dagster.notifications.message import without_secrets
from ruter_dagster.notifications.outbox import Channel, Delivery, deliver
from ruter_dagster.notifications.slack import slack_channels
from ruter_dagster.orchestration.partitions import partitions_of
from ruter_dagster.sensors.alert_state import AlertState, clear_state, load_state, save_state
from ruter_dagster.sensors.chain import INTERVAL_SECONDS, sensor_status
from ruter_dagster.sensors.data_problems import backlog, drift, late_data, missed_freshness
from ruter_dagster.sensors.problems import Deployment, Findings, Observation, readers_of
from ruter_dagster.sensors.publication_problems import publication_problems
from ruter_dagster.sensors.run_problems import RunCursor, newest_failure, run_problems

SENDING_SECONDS = 15.0
"""No notice is begun later, counted from the end of the observation. Dagster ends a tick after 60 s."""
NO_CHANNEL = "RUTER_SLACK_TOKEN, RUTER_SMTP_HOST and RUTER_ALERTS_TOPIC are not set: no alert is sent"
DETECTORS: tuple[Callable[[Observation], Findings], ...] = (
    publication_problems,
    late_data,
    missed_freshness,
    drift,
    backlog,
)


def alert_sensors(
    settings: Settings, operator: Operator, assets: Sequence[AssetsDefinition]
) -> list[SensorDefinition]:
    """The sensor `alerts`. Without a channel in the settings it sends nothing and logs one warning."""
    deployment = Deployment(settings, operator, partitions_of(settings, operator), readers_of(assets))
    channels: list[Channel] = [
        *slack_channels(settings, deployment.zone),
        *email_channels(settings, deployment.zone),
    ]

    @sensor(
        minimum_interval_seconds=INTERVAL_SECONDS,
        default_status=sensor_status(settings) if channels else DefaultSensorStatus.STOPPED,
        description="Sends one message when a problem begins, gets worse or ends: failed runs, blocking checks, drift, late data, "
        "missed freshness, a backlog, and failed publications (docs/alerts.md).",
    )
    def alerts(context: SensorEvaluationContext) -> Iterator[SkipReason]:
        if not channels:
            _warn_once(context)
            yield SkipReason(NO_CHANNEL)
            return
        yield SkipReason(_tick(context, deployment, channels))

    return [alerts]


def _warn_once(context: SensorEvaluationContext) -> None:
    """Logs that no channel is set, and forgets the state: later alerts begin with later failures."""
    if context.cursor is None:
        context.log.warning(NO_CHANNEL)
        context.update_cursor("warned")
    clear_state(context.instance)


def _tick(context: SensorEvaluationContext, deployment: Deployment, channels: Sequence[Channel]) -> str:
    """One observation and one delivery. Returns what was done.

    Raises PermanentFailure after that, if a detector failed or a channel did not accept a notice, so that Dagster shows it.
    """
    instance = context.instance
    state = load_state(instance, context.log.error) or AlertState(failures_read_to=newest_failure(instance))
    state, faults = _observe(context, deployment, channels, state)
    save_state(instance, state)
    started = time.monotonic()
    delivery = deliver(
        state.outbox,
        channels,
        lambda outbox: save_state(instance, state.model_copy(update={"outbox": outbox})),
        lambda: time.monotonic() - started < SENDING_SECONDS,
    )
    faults += [f"{reason}. A later tick sends the alert again" for reason in delivery.failures.values()]
    faults += delivery.missed
    if faults:
        raise PermanentFailure("\n".join(faults))
    return _summary(delivery, state)


def _observe(
    context: SensorEvaluationContext, deployment: Deployment, channels: Sequence[Channel], state: AlertState
) -> tuple[AlertState, list[str]]:
    """The state with new notices, and why detectors failed. A detector that fails does not stop the others."""
    now = get_current_datetime("UTC")
    observation = Observation(context.instance, deployment, state.incidents, now)
    findings, faults = Findings(), []
    cursor = RunCursor(state.failures_read_to, state.next_incident)
    try:
        of_runs, cursor = run_problems(observation, cursor)
        findings.add(of_runs)
    except Exception as error:
        faults.append(f"Failed runs cannot be read: {type(error).__name__}: {error}")
    for detector in DETECTORS:
        try:
            findings.add(detector(observation))
        except Exception as error:
            faults.append(f"The detector {detector.__name__} failed: {type(error).__name__}: {error}")
    active = [without_secrets(problem, deployment.settings) for problem in findings.active]
    quiet = timedelta(minutes=deployment.settings.alert_quiet_minutes)
    incidents, notices = update(state.incidents, active, findings.over, now, quiet)
    outbox = state.outbox.with_notices(notices, channels)
    new_state = AlertState(
        failures_read_to=cursor.failure, next_incident=cursor.incident, incidents=incidents, outbox=outbox
    )
    return new_state, faults


def _summary(delivery: Delivery, state: AlertState) -> str:
    open_incidents = len(state.incidents.open)
    return f"{delivery.sent} messages sent, {open_incidents} open incidents"
