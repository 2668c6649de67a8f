"""SageMaker jobs that no run waits for are stopped, and jobs of other runs are not. The double runs the jobs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from dagster import DagsterInstance, DagsterRun, DagsterRunStatus, DefaultSensorStatus, SensorDefinition
from dagster._core.remote_origin import (
    RegisteredCodeLocationOrigin,
    RemoteJobOrigin,
    RemoteRepositoryOrigin,
)
from dagster._core.test_utils import create_run_for_test

from dagster_sagemaker import sensor as sensor_module
from dagster_sagemaker.calls import Calls
from dagster_sagemaker.folder import Attempt, Folder, Record
from ruter_dagster.config.settings import load_settings
from ruter_dagster.sensors.unawaited_jobs import unawaited_job_sensors
from sagemaker_double.control import Remote
from sagemaker_double.requests import processing, training
from sagemaker_double.settings import Settings as Double
from tests.sensors.conftest import Tick

SETTINGS = load_settings(
    _env_file=None,
    environment="dev",
    lake="s3://lake",
    aws_region=Double.region,
    mlflow_tracking_uri="https://mlflow.example.org",
)
LOCATION = RegisteredCodeLocationOrigin("ruter_dagster")
LONG = "import time; time.sleep(600)"
Launch = Callable[..., None]


@pytest.fixture
def sensor(sagemaker_double: Remote, aws: Any, tick: Tick) -> SensorDefinition:
    aws("s3").create_bucket(Bucket="lake", CreateBucketConfiguration={"LocationConstraint": Double.region})
    (sensor,) = unawaited_job_sensors(SETTINGS)
    return sensor


@pytest.fixture
def launch(aws: Any, sensor: SensorDefinition) -> Launch:
    """Creates what a lost supervisor leaves behind: the record of a job and, unless `kind` is empty, the job."""

    def create(
        run: DagsterRun, name: str, kind: str = "Processing", code: str = LONG, ended: str = ""
    ) -> None:
        folder = Folder(aws("s3"), Calls(), SETTINGS.artifacts_location, run.run_id, f"folder-of-{name}")
        attempt = Attempt(0, name, "ml.m5.large", False, run.run_id, ended)
        folder.write_record(Record(name, [attempt]))
        if kind == "Processing":
            aws("sagemaker").create_processing_job(**processing(name, code))
        if kind == "Training":
            aws("sagemaker").create_training_job(**training(name, code))

    return create


def lost(instance: DagsterInstance) -> DagsterRun:
    """Records a run whose worker was lost."""
    return create_run_for_test(instance, job_name="counts", status=DagsterRunStatus.FAILURE)


def retry_of(
    run: DagsterRun,
    instance: DagsterInstance,
    status: DagsterRunStatus = DagsterRunStatus.QUEUED,
    resumes: bool = True,
) -> DagsterRun:
    """Records a queued run that continues a lost run, or that repeats it if not `resumes`."""
    return create_run_for_test(
        instance,
        job_name="counts",
        status=status,
        parent_run_id=run.run_id,
        root_run_id=run.root_run_id or run.run_id,
        tags={
            "dagster/parent_run_id": run.run_id,
            "dagster/root_run_id": run.root_run_id or run.run_id,
            **({"dagster/is_resume_retry": "true"} if resumes else {}),
        },
        remote_job_origin=RemoteJobOrigin(RemoteRepositoryOrigin(LOCATION, "__repository__"), "counts"),
    )


def cancel(run: DagsterRun, instance: DagsterInstance) -> None:
    """Cancels the run as the UI does when the run has no process."""
    instance.report_run_canceling(run)
    instance.report_run_canceled(run)


def log_of(run: DagsterRun, instance: DagsterInstance) -> str:
    entries = instance.all_logs(run.run_id)
    return "\n".join((e.dagster_event and e.dagster_event.message) or e.user_message for e in entries)


def status(double: Remote, job: str) -> str:
    return double.job(job)["status"]


def calls_of_sagemaker(double: Remote) -> set[str]:
    return {call for call in double.calls()["total"] if call.startswith("sagemaker.")}


@pytest.mark.parametrize("kind", ["Processing", "Training"])
def test_cancelling_queued_retry_stops_job_of_lost_run(
    sagemaker_double: Remote,
    instance: DagsterInstance,
    tick: Tick,
    sensor: SensorDefinition,
    launch: Launch,
    kind: str,
) -> None:
    origin = lost(instance)
    launch(origin, "job", kind)
    second = retry_of(origin, instance)
    instance.report_run_failed(second)
    third = retry_of(second, instance)
    cancel(third, instance)
    assert "job stopped" in (tick(sensor).skip_message or "")
    sagemaker_double.wait_for("job", "Stopped")
    assert "job stopped: no run waits for it" in log_of(third, instance)
    assert not [call for call in calls_of_sagemaker(sagemaker_double) if call.startswith("sagemaker.List")]


def test_job_of_run_marked_as_cancelled_is_stopped(
    sagemaker_double: Remote, instance: DagsterInstance, tick: Tick, sensor: SensorDefinition, launch: Launch
) -> None:
    run = create_run_for_test(instance, job_name="counts", status=DagsterRunStatus.STARTED)
    launch(run, "job")
    tick(sensor)
    assert status(sagemaker_double, "job") == "InProgress", "a running run keeps its job"
    instance.report_run_canceled(run)
    tick(sensor)
    sagemaker_double.wait_for("job", "Stopped")


def test_each_cancellation_is_checked_once(
    sagemaker_double: Remote, instance: DagsterInstance, tick: Tick, sensor: SensorDefinition, launch: Launch
) -> None:
    origin = lost(instance)
    launch(origin, "ended", code="pass")
    launch(origin, "recorded", code="pass", ended="completed")
    launch(origin, "stopping")
    sagemaker_double.wait_for("ended", "Completed")
    sagemaker_double.fault("slow_stop", jobs="stopping", seconds=60)
    sagemaker_double.stop("stopping")
    sagemaker_double.clear_calls()
    cancel(retry_of(origin, instance), instance)
    tick(sensor)
    assert calls_of_sagemaker(sagemaker_double) == {"sagemaker.StopProcessingJob"}
    assert sagemaker_double.calls()["total"]["sagemaker.StopProcessingJob"] == 2, (
        "no call is made for a job whose record has an end"
    )
    sagemaker_double.clear_calls()
    assert (
        tick(sensor).skip_message
        == "No job is left of a cancelled run, or of a run that ended over 3,600 s ago"
    )
    assert not sagemaker_double.calls()["total"]


@pytest.mark.parametrize("status_of_other", [DagsterRunStatus.QUEUED, DagsterRunStatus.STARTED])
def test_jobs_that_another_run_continues_are_kept(
    sagemaker_double: Remote,
    instance: DagsterInstance,
    tick: Tick,
    sensor: SensorDefinition,
    launch: Launch,
    status_of_other: DagsterRunStatus,
) -> None:
    origin = lost(instance)
    launch(origin, "job")
    first, second = retry_of(origin, instance), retry_of(origin, instance, status_of_other)
    cancel(first, instance)
    tick(sensor)
    assert status(sagemaker_double, "job") == "InProgress"
    cancel(second, instance)
    tick(sensor)
    sagemaker_double.wait_for("job", "Stopped")


def test_cancelled_whole_retry_keeps_jobs_of_original(
    sagemaker_double: Remote, instance: DagsterInstance, tick: Tick, sensor: SensorDefinition, launch: Launch
) -> None:
    origin = create_run_for_test(instance, job_name="counts", status=DagsterRunStatus.STARTED)
    launch(origin, "of-origin")
    repeated = retry_of(origin, instance, resumes=False)
    launch(repeated, "of-repeated")
    cancel(repeated, instance)
    tick(sensor)
    sagemaker_double.wait_for("of-repeated", "Stopped")
    assert status(sagemaker_double, "of-origin") == "InProgress"


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        ({"kind": "throttle"}, "ThrottlingException"),
        ({"kind": "error", "code": "AccessDeniedException"}, "AccessDeniedException"),
    ],
)
def test_failed_stop_is_reported_and_tried_again(
    sagemaker_double: Remote,
    instance: DagsterInstance,
    tick: Tick,
    sensor: SensorDefinition,
    launch: Launch,
    fault: dict[str, str],
    reason: str,
) -> None:
    origin = lost(instance)
    launch(origin, "job")
    retried = retry_of(origin, instance)
    cancel(retried, instance)
    sagemaker_double.fault(operations="StopProcessingJob", count=2, **fault)
    for _ in range(2):
        message = tick(sensor).skip_message or ""
        assert "job may still run, at a cost" in message and reason in message
        assert status(sagemaker_double, "job") == "InProgress"
    assert log_of(retried, instance).count("may still run") == 1, "the run's log has one message"
    tick(sensor)
    sagemaker_double.wait_for("job", "Stopped")


def test_unreadable_records_are_read_by_next_tick(
    sagemaker_double: Remote, instance: DagsterInstance, tick: Tick, sensor: SensorDefinition, launch: Launch
) -> None:
    origin = lost(instance)
    launch(origin, "job")
    cancel(retry_of(origin, instance), instance)
    sagemaker_double.fault("error", operations="s3.ListObjects*", code="SlowDown", status=503)
    assert "SlowDown" in (tick(sensor).skip_message or "")
    tick(sensor)
    sagemaker_double.wait_for("job", "Stopped")


def test_job_created_after_cancellation_is_stopped(
    sagemaker_double: Remote, instance: DagsterInstance, tick: Tick, sensor: SensorDefinition, launch: Launch
) -> None:
    origin = lost(instance)
    launch(origin, "job", kind="")
    cancel(retry_of(origin, instance), instance)
    tick(sensor)
    launch(origin, "job")
    tick(sensor)
    sagemaker_double.wait_for("job", "Stopped")


def test_job_that_is_never_created_is_dropped(
    instance: DagsterInstance,
    tick: Tick,
    sensor: SensorDefinition,
    launch: Launch,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    origin = lost(instance)
    launch(origin, "never", kind="")
    cancel(retry_of(origin, instance), instance)
    assert "never" in (tick(sensor).cursor or "")
    monkeypatch.setattr(sensor_module, "CREATION_SECONDS", -1.0)
    assert "never" not in (tick(sensor).cursor or "")


def test_job_that_cannot_be_stopped_is_given_up(
    sagemaker_double: Remote,
    instance: DagsterInstance,
    tick: Tick,
    sensor: SensorDefinition,
    launch: Launch,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    origin = lost(instance)
    launch(origin, "job")
    retried = retry_of(origin, instance)
    cancel(retried, instance)
    sagemaker_double.fault("error", operations="StopProcessingJob", code="AccessDeniedException", count=2)
    tick(sensor)
    monkeypatch.setattr(sensor_module, "MAX_AGE_SECONDS", -1e9)
    assert "job may still run: given up" in (tick(sensor).skip_message or "")
    assert "job may still run: given up" in log_of(retried, instance)
    assert retried.run_id not in (tick(sensor).cursor or "")


def test_skipped_runs_are_checked_last(
    sagemaker_double: Remote,
    instance: DagsterInstance,
    tick: Tick,
    sensor: SensorDefinition,
    launch: Launch,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name, kind in (("unknown", ""), ("job", "Processing")):
        origin = lost(instance)
        launch(origin, name, kind)
        cancel(retry_of(origin, instance), instance)
    sagemaker_double.fault("slow", operations="Stop*", jobs="unknown", count=None, seconds=3)
    monkeypatch.setattr(sensor_module, "MAX_TICK_SECONDS", 2.0)
    tick(sensor)
    assert status(sagemaker_double, "job") == "InProgress"
    tick(sensor)
    sagemaker_double.wait_for("job", "Stopped")


def test_run_without_time_in_tick_is_checked_by_next(
    sagemaker_double: Remote,
    instance: DagsterInstance,
    tick: Tick,
    sensor: SensorDefinition,
    launch: Launch,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    origin = lost(instance)
    launch(origin, "job")
    cancel(retry_of(origin, instance), instance)
    with monkeypatch.context() as patches:
        patches.setattr(sensor_module, "MAX_TICK_SECONDS", -1.0)
        tick(sensor)
    assert status(sagemaker_double, "job") == "InProgress"
    tick(sensor)
    sagemaker_double.wait_for("job", "Stopped")


def test_sensor_is_on_wherever_jobs_run_in_sagemaker() -> None:
    local = load_settings(_env_file=None, environment="local")
    assert unawaited_job_sensors(local) == []
    for environment in ("s-line1-0a1b2c", "dev", "prod"):
        (sensor,) = unawaited_job_sensors(SETTINGS.model_copy(update={"environment": environment}))
        assert sensor.default_status == DefaultSensorStatus.RUNNING
