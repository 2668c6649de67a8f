"""The sensor on a real Dagster instance: it stops jobs that no run waits for, and leaves the jobs of other runs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from types import SimpleNamespace

import pytest
from dagster import (
    DagsterEvent,
    DagsterEventType,
    DagsterInstance,
    DagsterRun,
    DagsterRunStatus,
    DefaultSensorStatus,
    build_sensor_context,
)
from dagster._core.remote_origin import (
    RegisteredCodeLocationOrigin,
    RemoteJobOrigin,
    RemoteRepositoryOrigin,
)
from dagster._core.test_utils import create_run_for_test

from dagster_sagemaker import create_request, unawaited_jobs_sensor
from dagster_sagemaker import sensor as sensor_module
from dagster_sagemaker.calls import Calls
from dagster_sagemaker.folder import Attempt, Folder, Record
from dagster_sagemaker_tests.conftest import JobRunner, processing, training
from dagster_sagemaker_tests.fake_aws import START, THROTTLED, FakeAws, forever, refusal
from dagster_sagemaker_tests.test_adoption import killed

ARTIFACTS = "s3://bucket/artifacts"
HOUR = 3600.0
DAY = 24 * HOUR
DENIED = refusal("AccessDeniedException", "not authorized to stop")
CANCELLED = DagsterEventType.RUN_CANCELED
FAILED = DagsterEventType.RUN_FAILURE
SUCCEEDED = DagsterEventType.RUN_SUCCESS
ORIGIN = RemoteJobOrigin(
    RemoteRepositoryOrigin(RegisteredCodeLocationOrigin("location"), "__repository__"), "job"
)
NOTHING = "No job is left of a cancelled run, or of a run that ended over 3,600 s ago"


@dataclass
class Daemon:
    """Evaluates the sensor's ticks in the time of the fake AWS. Runs start and end as a test says."""

    aws: FakeAws
    instance: DagsterInstance
    cursor: str | None = None

    def time(self) -> float:
        return START.timestamp() + self.aws.now

    def run(
        self,
        resumes: DagsterRun | None = None,
        repeats: DagsterRun | None = None,
        status: DagsterRunStatus = DagsterRunStatus.STARTED,
        **tags: str,
    ) -> DagsterRun:
        """Records a run: a new one, one that continues another run, or one that repeats another run from its beginning."""
        parent = resumes or repeats
        if parent:
            root = parent.root_run_id or parent.run_id
            tags |= {"dagster/parent_run_id": parent.run_id, "dagster/root_run_id": root}
        if resumes:
            tags["dagster/is_resume_retry"] = "true"
        return create_run_for_test(
            self.instance,
            status=status,
            tags=tags,
            parent_run_id=parent and parent.run_id,
            root_run_id=tags.get("dagster/root_run_id"),
            remote_job_origin=ORIGIN,
        )

    def end(self, run: DagsterRun, end: DagsterEventType, time: float | None = None) -> DagsterRun:
        """Ends a run at the present time, or at another one, in seconds of the fake AWS."""
        event = DagsterEvent(event_type_value=end.value, job_name=run.job_name)
        ended_at = self.time() if time is None else START.timestamp() + time
        self.instance.report_dagster_event(event, run.run_id, timestamp=ended_at)
        return run

    def record(self, run: DagsterRun, *names: str, ended: str = "") -> None:
        """Writes the record of one key, with an attempt per name."""
        attempts = [
            Attempt(number, name, "ml.m5.large", False, run.run_id, ended)
            for number, name in enumerate(names)
        ]
        folder = Folder(self.aws, Calls(), ARTIFACTS, run.run_id, f"folder-of-{names[0]}")
        folder.write_record(Record(names[0], attempts))

    def create(self, name: str, kind: str = "Processing") -> None:
        job = training() if kind == "Training" else processing()
        request = create_request(job, name, "ml.m5.large", folder=f"{ARTIFACTS}/folder")
        self.aws.scripts.append(lambda aws, job: None)
        getattr(self.aws, f"create_{kind.lower()}_job")(**request)

    def launch(self, run: DagsterRun, name: str, kind: str = "Processing") -> None:
        """Creates what a lost supervisor leaves behind: the record of a job, and the job."""
        self.record(run, name)
        self.create(name, kind)

    def tick(self) -> str:
        """Evaluates one tick, keeps its cursor as Dagster's daemon does, and returns the skip reason."""
        sensor = unawaited_jobs_sensor(ARTIFACTS, clients=lambda _: self.aws)
        with build_sensor_context(instance=self.instance, cursor=self.cursor) as context:
            result = sensor.evaluate_tick(context)
        self.cursor = result.cursor
        return result.skip_message or ""

    def status(self, name: str) -> str:
        return self.aws.jobs[name].status

    def is_running(self, name: str) -> bool:
        return self.status(name) == "InProgress"

    def log_of(self, run: DagsterRun) -> str:
        entries = self.instance.all_logs(run.run_id)
        return "\n".join((e.dagster_event and e.dagster_event.message) or e.user_message for e in entries)


@pytest.fixture
def daemon(monkeypatch: pytest.MonkeyPatch) -> Iterator[Daemon]:
    with DagsterInstance.ephemeral(settings={"run_retries": {"enabled": True}}) as instance:
        daemon = Daemon(FakeAws(), instance)
        clock = SimpleNamespace(time=daemon.time, monotonic=lambda: daemon.aws.now)
        monkeypatch.setattr(sensor_module, "time", clock)
        yield daemon


# When jobs are stopped


@pytest.mark.parametrize("kind", ["Processing", "Training"])
def test_cancelled_queued_retry_stops_job_of_lost_run(daemon, kind):
    origin = daemon.run()
    daemon.launch(origin, "job", kind)
    daemon.end(origin, FAILED)
    second = daemon.end(daemon.run(resumes=origin), FAILED)
    third = daemon.run(resumes=second, status=DagsterRunStatus.QUEUED)
    daemon.end(third, CANCELLED)
    assert daemon.tick() == "job stopped: no run waits for it"
    assert daemon.status("job") == "Stopped"
    assert "[sagemaker] job stopped: no run waits for it" in daemon.log_of(third)


def test_job_of_cancelled_run_is_stopped_at_once(daemon):
    run = daemon.run()
    daemon.launch(run, "job")
    daemon.tick()
    assert daemon.is_running("job"), "a running run keeps its job"
    daemon.end(run, CANCELLED)
    daemon.tick()
    assert daemon.status("job") == "Stopped"


@pytest.mark.parametrize("end", [FAILED, SUCCEEDED])
def test_job_of_ended_run_is_stopped_an_hour_later(daemon, end):
    run = daemon.run()
    daemon.launch(run, "job")
    daemon.end(run, end)
    daemon.aws.sleep(HOUR - 1)
    assert daemon.tick() == NOTHING
    assert daemon.is_running("job")
    daemon.aws.sleep(2)
    assert daemon.tick() == "job stopped: no run waits for it"
    assert daemon.status("job") == "Stopped"


def test_job_of_killed_client_is_stopped(daemon):
    runner = JobRunner(daemon.aws, daemon.instance)
    runner.aws.scripts = [forever]
    result = killed(runner, 20)
    (job,) = runner.aws.jobs.values()
    # A run in this process ends at the time of this machine: the time of the fake AWS follows.
    ended = daemon.instance.get_run_record_by_id(result.run_id).end_time
    daemon.aws.now = ended - START.timestamp()
    daemon.tick()
    assert job.status == "InProgress"
    daemon.aws.sleep(HOUR + 1)
    assert daemon.tick() == f"{job.name} stopped: no run waits for it"
    assert job.status == "Stopped"


def test_each_attempt_without_end_is_stopped(daemon):
    run = daemon.run()
    daemon.record(run, "first", "second")
    daemon.create("first")
    daemon.create("second", "Training")
    daemon.end(run, CANCELLED)
    daemon.tick()
    assert (daemon.status("first"), daemon.status("second")) == ("Stopped", "Stopped")


def test_ended_jobs_are_checked_once(daemon):
    run = daemon.run()
    for name, status in (("completed", "Completed"), ("stopping", "Stopping")):
        daemon.launch(run, name)
        daemon.aws.jobs[name].answer["ProcessingJobStatus"] = status
    daemon.record(run, "recorded", ended="completed")
    daemon.end(run, CANCELLED)
    assert daemon.tick() == NOTHING
    assert daemon.aws.calls["stop"] == 2, "no call is made for a job whose record has an end"
    daemon.aws.calls.clear()
    assert daemon.tick() == NOTHING
    assert not daemon.aws.calls
    assert daemon.status("completed") == "Completed"


def test_run_without_records_is_dropped(daemon):
    daemon.end(daemon.run(), CANCELLED)
    assert daemon.tick() == NOTHING
    assert not daemon.aws.calls["stop"]
    daemon.tick()
    assert daemon.aws.calls["list"] == 1


def test_events_out_of_order_hide_no_run(daemon):
    late, early = daemon.run(), daemon.run()
    daemon.launch(late, "late")
    daemon.launch(early, "early")
    daemon.end(late, FAILED, time=100.0)
    daemon.end(early, FAILED, time=50.0)
    daemon.aws.sleep(HOUR + 60)
    daemon.tick()
    assert daemon.is_running("late"), "its run ended less than an hour ago"
    daemon.aws.sleep(60)
    daemon.tick()
    assert (daemon.status("late"), daemon.status("early")) == ("Stopped", "Stopped")


@pytest.mark.parametrize(("end", "wait"), [(CANCELLED, 0.0), (FAILED, HOUR), (SUCCEEDED, HOUR)])
def test_first_tick_ignores_runs_due_over_a_day_ago(daemon, end, wait):
    for name, time in (("old", 0.0), ("new", 2.0)):
        run = daemon.run()
        daemon.launch(run, name)
        daemon.end(run, end, time)
    daemon.aws.sleep(DAY + wait + 1)
    daemon.tick()
    assert daemon.is_running("old")
    assert daemon.status("new") == "Stopped"


def test_sensor_that_was_off_for_days_continues_from_its_cursor(daemon):
    daemon.end(daemon.run(), CANCELLED)
    daemon.tick()
    run = daemon.run()
    daemon.launch(run, "job")
    daemon.end(run, CANCELLED)
    daemon.aws.sleep(3 * DAY)
    daemon.tick()
    assert daemon.status("job") == "Stopped"


# Jobs that other runs wait for


@pytest.mark.parametrize("status", [DagsterRunStatus.QUEUED, DagsterRunStatus.STARTED])
@pytest.mark.parametrize("end", [CANCELLED, FAILED])
def test_jobs_that_another_run_continues_are_kept(daemon, status, end):
    origin = daemon.run()
    daemon.launch(origin, "job")
    daemon.end(origin, FAILED)
    first, second = daemon.run(resumes=origin), daemon.run(resumes=origin, status=status)
    daemon.end(first, end)
    daemon.aws.sleep(HOUR + 1)
    daemon.tick()
    assert daemon.is_running("job")
    daemon.end(second, CANCELLED)
    daemon.tick()
    assert daemon.status("job") == "Stopped"


def test_failed_retry_may_be_resumed_for_an_hour(daemon):
    origin = daemon.run()
    daemon.launch(origin, "job")
    daemon.end(origin, FAILED)
    daemon.aws.sleep(HOUR / 2)
    daemon.end(daemon.run(resumes=origin), FAILED)
    daemon.aws.sleep(HOUR / 2 + 1)
    daemon.tick()
    assert daemon.is_running("job")
    daemon.aws.sleep(HOUR / 2)
    daemon.tick()
    assert daemon.status("job") == "Stopped"


def test_two_retries_cancelled_together_stop_the_job(daemon):
    origin = daemon.run()
    daemon.launch(origin, "job")
    daemon.end(origin, FAILED)
    first, second = daemon.run(resumes=origin), daemon.run(resumes=origin)
    daemon.instance.report_run_canceling(second)
    daemon.end(first, CANCELLED)
    daemon.tick()
    assert daemon.status("job") == "Stopped"


def test_cancelled_repetition_keeps_jobs_of_original(daemon):
    origin = daemon.run()
    daemon.launch(origin, "of-origin")
    repetition = daemon.run(repeats=origin)
    daemon.launch(repetition, "of-repetition")
    daemon.end(repetition, CANCELLED)
    daemon.tick()
    assert daemon.status("of-repetition") == "Stopped"
    assert daemon.is_running("of-origin")


def test_run_that_dagster_will_retry_keeps_its_jobs(daemon):
    run = daemon.run(**{"dagster/max_retries": "1"})
    daemon.launch(run, "job")
    daemon.end(run, FAILED)
    assert daemon.instance.get_run_by_id(run.run_id).is_complete_and_waiting_to_retry
    daemon.aws.sleep(HOUR + 1)
    daemon.tick()
    assert daemon.is_running("job")
    retried = daemon.run(resumes=run)
    daemon.instance.add_run_tags(run.run_id, {"dagster/auto_retry_run_id": retried.run_id})
    daemon.tick()
    assert daemon.is_running("job")
    daemon.end(retried, CANCELLED)
    daemon.tick()
    assert daemon.status("job") == "Stopped"


def test_another_run_that_dagster_will_retry_keeps_jobs(daemon):
    origin = daemon.run()
    daemon.launch(origin, "job")
    daemon.end(origin, FAILED)
    daemon.end(daemon.run(resumes=origin, **{"dagster/max_retries": "5"}), FAILED)
    cancelled = daemon.run(resumes=origin)
    daemon.aws.sleep(2 * HOUR)
    daemon.end(cancelled, CANCELLED)
    daemon.tick()
    assert daemon.is_running("job")


# Faults of AWS


@pytest.mark.parametrize("fault", [THROTTLED, DENIED])
def test_failed_stop_is_reported_and_tried_again(daemon, fault):
    run = daemon.run()
    daemon.launch(run, "job")
    daemon.end(run, CANCELLED)
    for _ in range(2):
        daemon.aws.faults = {"stop": [fault]}
        message = daemon.tick()
        assert "job may still run, at a cost" in message
        assert fault.response["Error"]["Code"] in message
        assert daemon.is_running("job")
    assert daemon.log_of(run).count("may still run") == 1, "the run's log has one message"
    daemon.tick()
    assert daemon.status("job") == "Stopped"


def test_role_that_may_only_stop_training_jobs_stops_them(daemon):
    run = daemon.run()
    daemon.launch(run, "job", "Training")
    daemon.end(run, CANCELLED)
    daemon.aws.faults = {"stop": [DENIED]}
    assert daemon.tick() == "job stopped: no run waits for it"
    assert daemon.status("job") == "Stopped"


@pytest.mark.parametrize("call", ["list", "get"])
def test_unreadable_records_are_read_by_next_tick(daemon, call):
    run = daemon.run()
    daemon.launch(run, "job")
    daemon.end(run, CANCELLED)
    daemon.aws.faults = {call: [refusal("SlowDown", status=503)]}
    message = daemon.tick()
    assert f"The jobs of run {run.run_id} are not known" in message and "SlowDown" in message
    assert daemon.is_running("job")
    daemon.tick()
    assert daemon.status("job") == "Stopped"


def test_unreadable_records_do_not_delay_other_runs(daemon):
    for name in ("first", "second"):
        run = daemon.run()
        daemon.launch(run, name)
        daemon.end(run, CANCELLED)
    daemon.aws.faults = {"list": [DENIED]}
    daemon.tick()
    assert daemon.is_running("first")
    assert daemon.status("second") == "Stopped"


def test_job_created_after_cancellation_is_stopped(daemon):
    run = daemon.run()
    daemon.record(run, "job")
    daemon.end(run, CANCELLED)
    daemon.tick()
    daemon.aws.sleep(299)
    daemon.tick()
    daemon.create("job")
    daemon.tick()
    assert daemon.status("job") == "Stopped"


def test_job_that_is_never_created_is_dropped(daemon):
    run = daemon.run()
    daemon.record(run, "never")
    daemon.end(run, CANCELLED)
    daemon.aws.sleep(301)
    assert daemon.tick() == NOTHING
    daemon.aws.calls.clear()
    daemon.tick()
    assert not daemon.aws.calls["stop"]


@pytest.mark.parametrize(("end", "wait"), [(CANCELLED, 0.0), (FAILED, HOUR)])
def test_job_that_cannot_be_stopped_is_given_up(daemon, end, wait):
    run = daemon.run()
    daemon.launch(run, "job")
    daemon.end(run, end)
    daemon.aws.sleep(wait + 1)
    daemon.aws.faults = {"stop": [THROTTLED] * 10}
    daemon.tick()
    daemon.aws.sleep(DAY + HOUR - wait - 2)
    assert "given up" not in daemon.tick()
    daemon.aws.sleep(2)
    given_up = f"Run {run.run_id} ended long ago and job may still run: given up"
    assert given_up in daemon.tick()
    assert given_up in daemon.log_of(run)
    assert daemon.tick() == NOTHING
    assert daemon.is_running("job")


def test_run_whose_records_stay_unreadable_is_given_up(daemon):
    run = daemon.run()
    daemon.launch(run, "job")
    daemon.end(run, CANCELLED)
    daemon.aws.faults = {"list": [DENIED] * 10}
    daemon.tick()
    daemon.aws.sleep(DAY + HOUR + 1)
    assert "its jobs, whose records cannot be read, may still run: given up" in daemon.tick()
    assert daemon.tick() == NOTHING


def test_running_jobs_of_deleted_run_are_named(daemon):
    run = daemon.run()
    daemon.launch(run, "job")
    daemon.end(run, CANCELLED)
    daemon.aws.faults = {"stop": [THROTTLED]}
    daemon.tick()
    daemon.instance.delete_run(run.run_id)
    assert daemon.tick() == f"Run {run.run_id} was deleted, and job may still run, at a cost"
    assert daemon.tick() == NOTHING


def test_run_deleted_before_its_records_are_read_is_dropped(daemon, monkeypatch):
    run = daemon.run()
    daemon.end(run, CANCELLED)
    with monkeypatch.context() as patches:
        patches.setattr(sensor_module, "MAX_TICK_SECONDS", -1.0)
        daemon.tick()
    daemon.instance.delete_run(run.run_id)
    assert daemon.tick() == NOTHING
    assert run.run_id not in daemon.cursor


# Time of a tick


def test_tick_makes_no_call_after_its_deadline(daemon):
    for name in ("first", "second"):
        run = daemon.run()
        daemon.launch(run, name)
        daemon.end(run, CANCELLED)
    daemon.aws.faults = {"stop": [lambda: daemon.aws.sleep(31)]}
    daemon.tick()
    assert daemon.status("first") == "Stopped"
    assert (daemon.aws.calls["list"], daemon.aws.calls["stop"]) == (1, 1)
    daemon.tick()
    assert daemon.status("second") == "Stopped"


def test_jobs_of_a_run_are_stopped_until_the_deadline(daemon):
    run = daemon.run()
    for name in ("first", "second"):
        daemon.launch(run, name)
    daemon.end(run, CANCELLED)
    daemon.aws.faults = {"stop": [lambda: daemon.aws.sleep(31)]}
    daemon.tick()
    assert daemon.status("first") == "Stopped"
    assert daemon.is_running("second")
    daemon.tick()
    assert daemon.status("second") == "Stopped"


def test_runs_without_time_are_checked_first_in_next_tick(daemon):
    for name in ("unknown", "job"):
        run = daemon.run()
        daemon.record(run, name)
        daemon.end(run, CANCELLED)
    daemon.create("job")
    daemon.aws.faults = {"stop": [lambda: daemon.aws.sleep(31)] * 10}
    daemon.tick()
    assert daemon.is_running("job")
    daemon.tick()
    assert daemon.status("job") == "Stopped"


def test_more_runs_than_a_tick_reads_are_read_by_the_next(daemon, monkeypatch):
    monkeypatch.setattr(sensor_module, "MAX_RUNS_PER_TICK", 2)
    for name in ("first", "second", "third"):
        run = daemon.run()
        daemon.launch(run, name)
        daemon.end(run, CANCELLED)
    daemon.tick()
    assert daemon.is_running("third")
    daemon.tick()
    assert daemon.status("third") == "Stopped"


# Options


def test_sensor_has_the_options_that_it_is_given():
    sensor = unawaited_jobs_sensor(
        ARTIFACTS,
        after_seconds=60,
        name="stop_jobs",
        interval_seconds=90,
        default_status=DefaultSensorStatus.STOPPED,
    )
    assert (sensor.name, sensor.minimum_interval_seconds) == ("stop_jobs", 90)
    assert sensor.default_status is DefaultSensorStatus.STOPPED
    assert "60 s after its end" in (sensor.description or "")


def test_sensor_is_on_by_default():
    sensor = unawaited_jobs_sensor(ARTIFACTS)
    assert (sensor.name, sensor.default_status) == ("unawaited_sagemaker_jobs", DefaultSensorStatus.RUNNING)
