"""A lost run is retried, also if Dagster's daemon missed its failure."""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import datetime
from types import SimpleNamespace
from typing import Any

import pytest
from dagster import DagsterInstance, DagsterRun, DagsterRunStatus, DefaultSensorStatus
from dagster._core.events import DagsterEvent, JobFailureData, RunFailureReason
from dagster._core.execution.backfill import BulkActionStatus, PartitionBackfill
from dagster._core.remote_origin import (
    RegisteredCodeLocationOrigin,
    RemoteJobOrigin,
    RemoteRepositoryOrigin,
)
from dagster._core.test_utils import create_run_for_test, instance_for_test
from dagster._daemon.auto_run_reexecution import auto_run_reexecution
from dagster._daemon.auto_run_reexecution.event_log_consumer import EventLogConsumerDaemon

from ruter_dagster.sensors import retries
from ruter_dagster.sensors.retries import retry_sensors
from tests.sensors.conftest import Clock, Tick, alerts_of, settings_for
from tests.slack_stub import SlackStub, block_texts

(SENSOR,) = retry_sensors()
ORIGIN = RemoteJobOrigin(
    RemoteRepositoryOrigin(RegisteredCodeLocationOrigin("ruter_dagster"), "__repository__"), "counts"
)


class Daemon:
    """Dagster's daemon that retries runs. Only the launch is replaced."""

    def __init__(self, instance: DagsterInstance, patch: pytest.MonkeyPatch) -> None:
        self.instance, self.launched, self.error = instance, [], None
        self.consumer = EventLogConsumerDaemon()
        self.consumer._logger = logging.getLogger("daemon")
        patch.setattr(auto_run_reexecution, "retry_run", self._launch)
        self.examine()

    def examine(self) -> None:
        """Examines all failures after its cursor, once."""
        list(self.consumer.run_iteration(SimpleNamespace(instance=self.instance)))  # pyright: ignore[reportArgumentType]

    def _launch(self, run: DagsterRun, workspace: Any) -> None:
        if self.error:
            raise self.error
        self.launched.append(run.run_id)


@pytest.fixture
def instance() -> Any:
    with instance_for_test(
        {"run_retries": {"enabled": True, "max_retries": 2, "retry_on_asset_or_op_failure": False}}
    ) as instance:
        yield instance


@pytest.fixture
def daemon(instance: DagsterInstance, monkeypatch: pytest.MonkeyPatch) -> Daemon:
    monkeypatch.setattr(retries, "OVERDUE_SECONDS", -5.0)
    return Daemon(instance, monkeypatch)


def started(instance: DagsterInstance, **fields: Any) -> DagsterRun:
    return create_run_for_test(
        instance,
        job_name="counts",
        **{"status": DagsterRunStatus.STARTED, "remote_job_origin": ORIGIN, **fields},
    )


def lose(
    instance: DagsterInstance, run: DagsterRun, reason: RunFailureReason = RunFailureReason.UNKNOWN
) -> None:
    """Reports the failure as Dagster's run monitor does when a worker is gone."""
    instance.report_run_failed(run, "The worker is gone", JobFailureData(error=None, failure_reason=reason))


def lose_and_miss(
    instance: DagsterInstance, daemon: Daemon, run: DagsterRun, patch: pytest.MonkeyPatch
) -> None:
    """Loses the run. The daemon examines its failure before the run has its new status, and misses it."""
    handle_run_event = instance.run_storage.handle_run_event

    def examine_first(run_id: str, event: DagsterEvent, when: datetime) -> None:
        daemon.examine()
        handle_run_event(run_id, event, when)

    with patch.context() as patches:
        patches.setattr(instance.run_storage, "handle_run_event", examine_first)
        lose(instance, run)
    daemon.examine()


def test_missed_retry_is_launched_after_reminder(
    instance: DagsterInstance, daemon: Daemon, tick: Tick, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = started(instance)
    lose_and_miss(instance, daemon, run, monkeypatch)
    assert daemon.launched == [], "Dagster no longer misses this failure: remove the sensor"
    assert run.run_id in (tick(SENSOR).skip_message or "")
    daemon.examine()
    assert daemon.launched == [run.run_id]


def test_retry_is_launched_when_code_location_answers_again(
    instance: DagsterInstance, daemon: Daemon, tick: Tick
) -> None:
    run = started(instance)
    daemon.error = ConnectionError("The code location does not answer")
    lose(instance, run)
    daemon.examine()
    daemon.error = None
    daemon.examine()
    assert daemon.launched == [], "Dagster now tries again itself: remove the sensor"
    tick(SENSOR)
    daemon.examine()
    assert daemon.launched == [run.run_id]


def test_number_of_reminders_is_limited(instance: DagsterInstance, daemon: Daemon, tick: Tick) -> None:
    """The launch fails each time, for instance because the job was removed."""
    daemon.error = ConnectionError("The code location does not answer")
    lose(instance, started(instance))
    messages = []
    while len(messages) <= retries.MAX_REMINDERS and (not messages or messages[-1].startswith("Reminded")):
        daemon.examine()
        messages.append(tick(SENSOR).skip_message or "")
    assert len(messages) == retries.MAX_REMINDERS + 1
    assert messages[-1] == "No retry is overdue"


def test_reminders_of_parent_run_do_not_count(instance: DagsterInstance) -> None:
    parent = started(instance)
    for tag, due in ((f"{parent.run_id} {retries.MAX_REMINDERS}", True), ("{run_id} 10", False)):
        run = started(instance)
        lose(instance, run)
        instance.add_run_tags(run.run_id, {retries.REMINDED_TAG: tag.format(run_id=run.run_id)})
        lost = instance.get_run_by_id(run.run_id)
        assert lost is not None
        assert retries.is_due(instance, lost) == due


def test_failure_is_sent_after_last_reminder(
    instance: DagsterInstance,
    daemon: Daemon,
    tick: Tick,
    slack: SlackStub,
    clock: Clock,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(retries, "MAX_REMINDERS", 1)
    failures = alerts_of(settings_for(slack))
    tick(failures)
    daemon.error = ConnectionError("The code location does not answer")
    run = started(instance)
    lose(instance, run)
    for _ in range(2):
        daemon.examine()
        assert not slack.texts
        tick(failures)
        tick(SENSOR)
    tick(failures)
    text = "\n".join(block_texts(slack.messages[0]))
    assert run.run_id in text
    assert "The worker is gone" in text


def retry_by_user(instance: DagsterInstance, run: DagsterRun) -> None:
    create_run_for_test(
        instance, job_name="counts", parent_run_id=run.run_id, root_run_id=run.run_id,
        tags={"dagster/parent_run_id": run.run_id, "dagster/root_run_id": run.run_id},
    )  # fmt: skip


def retry_by_daemon(instance: DagsterInstance, run: DagsterRun) -> None:
    instance.add_run_tags(run.run_id, {"dagster/auto_retry_run_id": "deleted retry"})


def add_to_cancelled_backfill(instance: DagsterInstance, run: DagsterRun) -> None:
    backfill = PartitionBackfill(
        backfill_id="stopped", status=BulkActionStatus.CANCELED, from_failure=False, tags=None, backfill_timestamp=0.0,
        asset_selection=[],
    )  # fmt: skip
    instance.add_backfill(backfill)
    instance.add_run_tags(run.run_id, {"dagster/backfill": "stopped"})


def add_to_deleted_backfill(instance: DagsterInstance, run: DagsterRun) -> None:
    instance.add_run_tags(run.run_id, {"dagster/backfill": "deleted"})


def forbid_retries(instance: DagsterInstance, run: DagsterRun) -> None:
    instance.add_run_tags(run.run_id, {"dagster/max_retries": "0"})


@pytest.mark.parametrize(
    "change_run",
    [
        retry_by_user,
        retry_by_daemon,
        add_to_cancelled_backfill,
        add_to_deleted_backfill,
        forbid_retries,
    ],
)
def test_retry_that_is_not_due_is_not_launched(
    instance: DagsterInstance,
    daemon: Daemon,
    tick: Tick,
    monkeypatch: pytest.MonkeyPatch,
    change_run: Callable[[DagsterInstance, DagsterRun], None],
) -> None:
    """Not even when the daemon is reminded of another run at the same time."""
    other, run = started(instance), started(instance)
    for lost in (other, run):
        lose_and_miss(instance, daemon, lost, monkeypatch)
    change_run(instance, run)
    assert tick(SENSOR).skip_message == f"Reminded Dagster of the retry of {other.run_id}"
    daemon.examine()
    assert daemon.launched == [other.run_id]


def test_failed_step_and_run_without_origin_are_not_retried(
    instance: DagsterInstance, daemon: Daemon, tick: Tick
) -> None:
    lose(instance, started(instance), RunFailureReason.STEP_FAILURE)
    lose(instance, started(instance, remote_job_origin=None))
    daemon.examine()
    daemon.launched.clear()
    assert_nothing_is_due(daemon, tick)


def test_recent_failure_is_left_to_daemon(
    instance: DagsterInstance, daemon: Daemon, tick: Tick, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retries, "OVERDUE_SECONDS", 30.0)
    lose_and_miss(instance, daemon, started(instance), monkeypatch)
    assert_nothing_is_due(daemon, tick)


def test_old_failures_are_ignored(
    instance: DagsterInstance, daemon: Daemon, tick: Tick, monkeypatch: pytest.MonkeyPatch
) -> None:
    lose_and_miss(instance, daemon, started(instance), monkeypatch)
    monkeypatch.setattr(retries, "LOOK_BACK_SECONDS", 0.0)
    assert_nothing_is_due(daemon, tick)


def test_no_retry_is_due_without_run_retries(tick: Tick, instance: DagsterInstance) -> None:
    run = started(instance)
    lose(instance, run)
    lost = instance.get_run_by_id(run.run_id)
    assert lost is not None
    assert retries.is_due(instance, lost)
    with instance_for_test({"run_retries": {"enabled": False}}) as without:
        assert not retries.is_due(without, lost)


def assert_nothing_is_due(daemon: Daemon, tick: Tick) -> None:
    assert tick(SENSOR).skip_message == "No retry is overdue"
    daemon.examine()
    assert daemon.launched == []


def test_sensor_is_always_on() -> None:
    assert SENSOR.default_status == DefaultSensorStatus.RUNNING
