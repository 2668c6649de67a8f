"""A lost run is launched again, also where Dagster's daemon looked at its failure at the wrong moment and moved on."""

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
from ruter_dagster.sensors.alerts import alert_sensors
from ruter_dagster.sensors.retries import retry_sensors
from tests.sensors.conftest import Tick, settings_for
from tests.slack_stub import SlackStub

(SENSOR,) = retry_sensors()
ORIGIN = RemoteJobOrigin(
    RemoteRepositoryOrigin(RegisteredCodeLocationOrigin("ruter_dagster"), "__repository__"), "counts"
)


class Daemon:
    """Dagster's own, of which only the launch itself is replaced."""

    def __init__(self, instance: DagsterInstance, patch: pytest.MonkeyPatch) -> None:
        self.instance, self.launched, self.error = instance, [], None
        self.consumer = EventLogConsumerDaemon()
        self.consumer._logger = logging.getLogger("daemon")
        patch.setattr(auto_run_reexecution, "retry_run", self._launch)
        self.look()

    def look(self) -> None:
        """Once over all failures after its cursor."""
        list(self.consumer.run_iteration(SimpleNamespace(instance=self.instance)))  # pyright: ignore[reportArgumentType]

    def _launch(self, run: DagsterRun, workspace: Any) -> None:
        if self.error:
            raise self.error
        self.launched.append(run.run_id)


@pytest.fixture
def instance() -> Any:
    with instance_for_test(
        {"run_retries": {"enabled": True, "max_retries": 2, "retry_on_asset_or_op_failure": False}}
    ) as made:
        yield made


@pytest.fixture
def daemon(instance: DagsterInstance, monkeypatch: pytest.MonkeyPatch) -> Daemon:
    monkeypatch.setattr(retries, "OVERDUE_SECONDS", -5.0)
    return Daemon(instance, monkeypatch)


def started(instance: DagsterInstance, **given: Any) -> DagsterRun:
    return create_run_for_test(
        instance,
        job_name="counts",
        **{"status": DagsterRunStatus.STARTED, "remote_job_origin": ORIGIN, **given},
    )


def lose(
    instance: DagsterInstance, run: DagsterRun, reason: RunFailureReason = RunFailureReason.UNKNOWN
) -> None:
    """As the daemon's monitor does with a run whose worker is gone."""
    instance.report_run_failed(run, "The worker is gone", JobFailureData(error=None, failure_reason=reason))


def passed_over(
    instance: DagsterInstance, daemon: Daemon, run: DagsterRun, patch: pytest.MonkeyPatch
) -> None:
    """The run is lost, and the daemon looks while the failure is in the event log and the run's status is the former one."""
    stored = instance.run_storage.handle_run_event

    def look_first(run_id: str, event: DagsterEvent, when: datetime) -> None:
        daemon.look()
        stored(run_id, event, when)

    with patch.context() as within:
        within.setattr(instance.run_storage, "handle_run_event", look_first)
        lose(instance, run)
    daemon.look()


def test_a_retry_that_the_daemon_passed_over_is_launched(
    instance: DagsterInstance, daemon: Daemon, tick: Tick, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = started(instance)
    passed_over(instance, daemon, run, monkeypatch)
    assert daemon.launched == [], "Dagster sees such failures by itself now: the sensor may go"
    assert run.run_id in (tick(SENSOR).skip_message or "")
    daemon.look()
    assert daemon.launched == [run.run_id]


def test_a_retry_is_launched_once_the_code_location_answers(
    instance: DagsterInstance, daemon: Daemon, tick: Tick
) -> None:
    run = started(instance)
    daemon.error = ConnectionError("The code location does not answer")
    lose(instance, run)
    daemon.look()
    daemon.error = None
    daemon.look()
    assert daemon.launched == [], "Dagster tries again by itself now: the sensor may go"
    tick(SENSOR)
    daemon.look()
    assert daemon.launched == [run.run_id]


def test_reminders_end(instance: DagsterInstance, daemon: Daemon, tick: Tick) -> None:
    """Where the launch fails each time, as of a job that was removed."""
    daemon.error = ConnectionError("The code location does not answer")
    lose(instance, started(instance))
    said = []
    while len(said) <= retries.REMINDERS and (not said or said[-1].startswith("Reminded")):
        daemon.look()
        said.append(tick(SENSOR).skip_message or "")
    assert len(said) == retries.REMINDERS + 1
    assert said[-1] == "No retry is overdue"


def test_a_run_is_not_counted_the_reminders_of_the_one_that_it_retries(instance: DagsterInstance) -> None:
    former = started(instance)
    for tag, due in ((f"{former.run_id} {retries.REMINDERS}", True), ("{run_id} 10", False)):
        run = started(instance)
        lose(instance, run)
        instance.add_run_tags(run.run_id, {retries.REMINDED_TAG: tag.format(run_id=run.run_id)})
        lost = instance.get_run_by_id(run.run_id)
        assert lost is not None
        assert retries.is_due(instance, lost) == due


def test_a_failure_is_told_once_its_retry_is_given_up(
    instance: DagsterInstance, daemon: Daemon, tick: Tick, slack: SlackStub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retries, "REMINDERS", 1)
    failures = alert_sensors(settings_for(slack))[0]
    tick(failures)
    daemon.error = ConnectionError("The code location does not answer")
    run = started(instance)
    lose(instance, run)
    for _ in range(2):
        daemon.look()
        assert not slack.texts
        tick(failures)
        tick(SENSOR)
    tick(failures)
    (text,) = slack.texts
    assert run.run_id in text
    assert "The worker is gone" in text


def retried_by_a_person(instance: DagsterInstance, run: DagsterRun) -> None:
    create_run_for_test(
        instance, job_name="counts", parent_run_id=run.run_id, root_run_id=run.run_id,
        tags={"dagster/parent_run_id": run.run_id, "dagster/root_run_id": run.run_id},
    )  # fmt: skip


def retried_by_the_daemon(instance: DagsterInstance, run: DagsterRun) -> None:
    instance.add_run_tags(run.run_id, {"dagster/auto_retry_run_id": "the retry, which somebody has deleted"})


def of_a_backfill_that_was_cancelled(instance: DagsterInstance, run: DagsterRun) -> None:
    backfill = PartitionBackfill(
        backfill_id="stopped", status=BulkActionStatus.CANCELED, from_failure=False, tags=None, backfill_timestamp=0.0,
        asset_selection=[],
    )  # fmt: skip
    instance.add_backfill(backfill)
    instance.add_run_tags(run.run_id, {"dagster/backfill": "stopped"})


def of_a_backfill_that_was_deleted(instance: DagsterInstance, run: DagsterRun) -> None:
    instance.add_run_tags(run.run_id, {"dagster/backfill": "deleted"})


def without_retries(instance: DagsterInstance, run: DagsterRun) -> None:
    instance.add_run_tags(run.run_id, {"dagster/max_retries": "0"})


@pytest.mark.parametrize(
    "since",
    [
        retried_by_a_person,
        retried_by_the_daemon,
        of_a_backfill_that_was_cancelled,
        of_a_backfill_that_was_deleted,
        without_retries,
    ],
)
def test_no_retry_is_launched_that_is_not_due(
    instance: DagsterInstance,
    daemon: Daemon,
    tick: Tick,
    monkeypatch: pytest.MonkeyPatch,
    since: Callable[[DagsterInstance, DagsterRun], None],
) -> None:
    """Also where the daemon is reminded of another run at the same time."""
    other, run = started(instance), started(instance)
    for lost in (other, run):
        passed_over(instance, daemon, lost, monkeypatch)
    since(instance, run)
    assert tick(SENSOR).skip_message == f"Reminded Dagster of the retry of {other.run_id}"
    daemon.look()
    assert daemon.launched == [other.run_id]


def test_a_failed_step_and_a_run_of_the_command_line_are_not_launched_again(
    instance: DagsterInstance, daemon: Daemon, tick: Tick
) -> None:
    lose(instance, started(instance), RunFailureReason.STEP_FAILURE)
    lose(instance, started(instance, remote_job_origin=None))
    daemon.look()
    daemon.launched.clear()
    nothing_is_due(daemon, tick)


def test_the_daemon_is_given_its_time(
    instance: DagsterInstance, daemon: Daemon, tick: Tick, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retries, "OVERDUE_SECONDS", 30.0)
    passed_over(instance, daemon, started(instance), monkeypatch)
    nothing_is_due(daemon, tick)


def test_old_failures_are_left_alone(
    instance: DagsterInstance, daemon: Daemon, tick: Tick, monkeypatch: pytest.MonkeyPatch
) -> None:
    passed_over(instance, daemon, started(instance), monkeypatch)
    monkeypatch.setattr(retries, "LOOK_BACK_SECONDS", 0.0)
    nothing_is_due(daemon, tick)


def test_nobody_is_reminded_where_dagster_has_no_retries(tick: Tick, instance: DagsterInstance) -> None:
    run = started(instance)
    lose(instance, run)
    lost = instance.get_run_by_id(run.run_id)
    assert lost is not None
    assert retries.is_due(instance, lost)
    with instance_for_test({"run_retries": {"enabled": False}}) as without:
        assert not retries.is_due(without, lost)


def nothing_is_due(daemon: Daemon, tick: Tick) -> None:
    assert tick(SENSOR).skip_message == "No retry is overdue"
    daemon.look()
    assert daemon.launched == []


def test_it_is_on_everywhere() -> None:
    assert SENSOR.default_status == DefaultSensorStatus.RUNNING
