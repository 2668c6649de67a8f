"""Run workers that are killed, everything that is killed, runs that are cancelled: one job, one result, in a whole Dagster."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import suppress
from datetime import timedelta
from typing import Any

import pytest
from dagster import DagsterRunStatus

from sagemaker_double.control import Remote
from sagemaker_double.process import aws_environment
from tests.chain.local_chain import foreign_variables
from tests.chain.small_demo import until
from tests.faults.dates_jobs import QUOTA, date_of, most_at_once, of_date
from tests.faults.deployment import FIRST, Deployment, deployed

pytestmark = pytest.mark.extended


@pytest.fixture(scope="module")
def dagster(
    sagemaker_double_process: Remote, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Deployment]:
    """One for all of these tests: each has a date of its own, and takes note of what is there before."""
    with pytest.MonkeyPatch.context() as patch:
        for name in (*foreign_variables(), *(name for name in os.environ if name.startswith("AWS_"))):
            patch.delenv(name)
        sagemaker_double_process.reset()
        for name, value in aws_environment(sagemaker_double_process.url).items():
            patch.setenv(name, value)
        import boto3

        boto3.client("s3").create_bucket(
            Bucket="lake", CreateBucketConfiguration={"LocationConstraint": "eu-west-1"}
        )
        with deployed(tmp_path_factory.mktemp("deployment"), sagemaker_double_process, patch) as deployment:
            yield deployment


@pytest.fixture
def clean(dagster: Deployment) -> Deployment:
    """Without faults, and without jobs of another test."""
    dagster.double.clear_faults()
    dagster.double.clear_calls()
    dagster.jobs_take(0)
    dagster.work.variables()
    return dagster


def only_job(dagster: Deployment, day: Any) -> dict[str, Any]:
    """The one job of a date that there ever was."""
    (job,) = of_date(dagster.jobs(), day)
    return job


def only_one(dagster: Deployment, day: Any, *runs: str) -> None:
    """Of the date one job, done once, told once with what it reported, and its line shown by one of these runs at least."""
    assert only_job(dagster, day)["status"] == "Completed"
    (metadata,) = dagster.materialisations(day)
    assert (metadata["dagster/row_count"], metadata["content_hash"]) == (1, f"version of {day}")
    assert any(f"dates {day} to {day}" in dagster.printed(run_id) for run_id in runs)


def started(dagster: Deployment, day: Any) -> dict[str, Any] | None:
    """The date's job, once its container runs."""
    return next((job for job in of_date(dagster.jobs(), day) if job["pids"]), None)


def created(dagster: Deployment, day: Any) -> bool:
    return bool(of_date(dagster.jobs(), day))


def kill(*pids: int) -> None:
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def test_run_worker_killed_while_its_job_starts(clean: Deployment) -> None:
    day = FIRST
    clean.double.fault("delayed_start", seconds=12)
    run_id = clean.launch(day)
    until(lambda: created(clean, day), "the job")
    kill(clean.worker(run_id))
    retried = clean.wait_for_retry(run_id)
    assert retried.status == DagsterRunStatus.SUCCESS
    only_one(clean, day, run_id, retried.run_id)


def test_run_worker_killed_while_its_job_runs(clean: Deployment) -> None:
    day = FIRST + timedelta(1)
    clean.jobs_take(15)
    run_id = clean.launch(day)
    until(lambda: started(clean, day), "the container")
    kill(clean.worker(run_id))
    the_retry_adopts_its_job(clean, run_id, day)


def test_run_worker_killed_after_the_end_of_its_job(clean: Deployment) -> None:
    """Nobody saw the end: step and worker stood still since the container began, and were killed then."""
    day = FIRST + timedelta(2)
    clean.jobs_take(3)
    run_id = clean.launch(day)
    until(lambda: started(clean, day), "the container")
    worker, step = clean.worker(run_id), clean.step(run_id)
    os.kill(step, signal.SIGSTOP)
    until(lambda: only_job(clean, day)["status"] == "Completed", "the job's end")
    kill(worker, step)
    the_retry_adopts_its_job(clean, run_id, day, "adopted, Completed")


def test_run_worker_evicted_while_its_job_runs(clean: Deployment) -> None:
    """Its host ends it by SIGTERM, as Fargate and Kubernetes do: nobody cancelled the run, so the job is left running."""
    day = FIRST + timedelta(8)
    clean.jobs_take(15)
    run_id = clean.launch(day)
    until(lambda: started(clean, day), "the container")
    os.kill(clean.worker(run_id), signal.SIGTERM)
    the_retry_adopts_its_job(clean, run_id, day)
    assert "left running, to be adopted" in clean.log(run_id)


def test_retry_adopts_the_job_after_everything_was_killed(clean: Deployment) -> None:
    day = FIRST + timedelta(3)
    run_id = everything_is_killed(clean, day)
    clean.up()
    the_retry_adopts_its_job(clean, run_id, day)


def test_lost_run_that_the_daemon_passed_over_is_retried(clean: Deployment) -> None:
    """It looks at each failure once, at the wrong moment perhaps: the sensor `overdue_retries` has it look again."""
    day = FIRST + timedelta(31)
    run_id = everything_is_killed(clean, day)
    with clean.failures_passed_over():
        clean.up()
        clean.wait_for(run_id, DagsterRunStatus.FAILURE)
    the_retry_adopts_its_job(clean, run_id, day)


def test_run_cancelled_during_create_stops_its_job(clean: Deployment) -> None:
    """The interrupt comes while Create has had its effect and its answer is on the way. It never comes."""
    day = FIRST + timedelta(4)
    clean.jobs_take(600)
    clean.double.fault("slow", operations="CreateProcessingJob", seconds=900, after_effect=True)
    run_id = clean.launch(day)
    until(lambda: created(clean, day), "the job")
    cancelled_run_stops_its_job(clean, run_id, day)
    assert clean.double.calls()["total"]["sagemaker.CreateProcessingJob"] == 1, (
        "Create was given up and called again"
    )
    assert f"{only_job(clean, day)['name']} created" not in clean.log(run_id)


def test_run_cancelled_while_its_job_starts_stops_it(clean: Deployment) -> None:
    day = FIRST + timedelta(5)
    clean.double.fault("delayed_start", seconds=600)
    run_id = clean.launch(day)
    until(lambda: created(clean, day), "the job")
    cancelled_run_stops_its_job(clean, run_id, day)
    assert not only_job(clean, day)["pids"], "no container was ever started"


@pytest.mark.parametrize(("kind", "ahead"), [("Processing", 6), ("Training", 9)])
def test_run_cancelled_while_its_job_runs_stops_it(clean: Deployment, kind: str, ahead: int) -> None:
    day = FIRST + timedelta(ahead)
    clean.jobs_take(600)
    clean.work.variables(kind=f'"{kind.lower()}"')
    run_id = clean.launch(day)
    until(lambda: started(clean, day), "the container")
    assert only_job(clean, day)["kind"] == kind
    cancelled_run_stops_its_job(clean, run_id, day)


def test_retry_cancelled_in_the_queue_stops_its_job(clean: Deployment) -> None:
    """The worker is lost while the job runs; the run in its place waits for its pool, and is terminated there: no process hears of it."""
    day = FIRST + timedelta(30)
    clean.jobs_take(600)
    run_id = clean.launch(day)
    until(lambda: started(clean, day), "the container")
    with clean.held_back():
        kill(clean.worker(run_id))
        waiting = clean.wait_for_retry(run_id, DagsterRunStatus.QUEUED).run_id
        assert only_job(clean, day)["status"] == "InProgress"
        clean.terminate(waiting)
        assert clean.wait_for(waiting).status == DagsterRunStatus.CANCELED
    until(lambda: only_job(clean, day)["status"] == "Stopped", "the stop")
    words = f"{only_job(clean, day)['name']} stopped: no run waits for it"
    until(lambda: words in clean.log(waiting), "the note in the run's log")
    assert clean.materialised(day) == 0


def everything_is_killed(dagster: Deployment, day: Any) -> str:
    """A run whose job runs on while nothing of Dagster does; its id."""
    dagster.jobs_take(20)
    run_id = dagster.launch(day)
    until(lambda: started(dagster, day), "the container")
    dagster.kill()
    assert only_job(dagster, day)["status"] == "InProgress"
    return run_id


def the_retry_adopts_its_job(dagster: Deployment, run_id: str, day: Any, words: str = "adopted") -> None:
    """The run that Dagster launches in place of the lost one goes on with its job, and its log tells so."""
    retried = dagster.wait_for_retry(run_id)
    assert retried.status == DagsterRunStatus.SUCCESS
    assert words in dagster.log(retried.run_id)
    only_one(dagster, day, run_id, retried.run_id)


def cancelled_run_stops_its_job(dagster: Deployment, run_id: str, day: Any) -> None:
    """A person terminates the run in the UI: the job is stopped, nothing is retried, nothing recorded."""
    dagster.terminate(run_id)
    assert dagster.wait_for(run_id).status == DagsterRunStatus.CANCELED
    until(lambda: only_job(dagster, day)["status"] == "Stopped", "the stop")
    assert "the run is being cancelled: stopping" in dagster.log(run_id)
    assert "stopped: no run waits for it" not in dagster.log(run_id), "the sensor had to do it"
    assert dagster.materialised(day) == 0


def test_two_runs_of_a_date_have_a_job_each(clean: Deployment) -> None:
    """A job for each, for each was asked for; the pool has one run wait for the other, and neither takes the other's job."""
    day = FIRST + timedelta(7)
    clean.jobs_take(1)
    runs = [clean.launch(day), clean.launch(day)]
    assert [clean.wait_for(run_id).status for run_id in runs] == [DagsterRunStatus.SUCCESS] * 2
    jobs = of_date(clean.jobs(), day)
    assert [job["status"] for job in jobs] == ["Completed"] * 2
    assert {job["tags"]["dagster/run-id"] for job in jobs} == set(runs)
    first, second = (job["describe"] for job in jobs)
    assert second["CreationTime"] > first["ProcessingEndTime"], "they ran side by side"
    assert clean.materialised(day) == 2


def test_backfill_keeps_to_its_pool(clean: Deployment) -> None:
    """Two stretches of dates, a run each, a job a date: SageMaker, whose quota is three instances, never has to refuse one."""
    stretches = [[FIRST + timedelta(start + ahead) for ahead in range(6)] for start in (10, 20)]
    days = [day for stretch in stretches for day in stretch]
    clean.double.set(quotas={QUOTA: 3})
    runs = clean.runs_of_backfill(clean.backfill(days), len(stretches), 300)
    assert [run.status for run in runs] == [DagsterRunStatus.SUCCESS] * len(stretches)
    jobs = [job for job in clean.jobs() if date_of(job) in days]
    assert sorted(date_of(job) for job in jobs) == days
    assert {job["status"] for job in jobs} == {"Completed"}
    assert clean.double.calls()["errors"].get("sagemaker.CreateProcessingJob", 0) == 0
    assert most_at_once(jobs) == 3, "as many as the quota allows, and no more"
    assert clean.times_materialised(days) == dict.fromkeys(days, 1)


def test_backfill_of_150_jobs_keeps_to_its_quota(clean: Deployment) -> None:
    """One run has a job per date. Each date is reported once; no job is listed, refused or run twice.

    More jobs are in progress than the double runs at once: its slots free fewer jobs in a second than a machine creates.
    """
    clean.jobs_take(2)
    days = [FIRST - timedelta(ahead) for ahead in range(151, 1, -1)]
    clean.work.variables(quota=40)
    clean.double.set(quotas={QUOTA: 40}, slots=6)
    (run,) = clean.runs_of_backfill(clean.backfill(days), 1, 900)
    assert run.status == DagsterRunStatus.SUCCESS, clean.log(run.run_id)[-8000:]
    jobs = [job for job in clean.jobs() if FIRST - timedelta(151) <= date_of(job) <= FIRST - timedelta(2)]
    assert {(job["status"], job["starts"]) for job in jobs} == {("Completed", 1)}
    assert sorted(date_of(job) for job in jobs) == days
    assert 6 < most_at_once(jobs) <= 40
    calls = clean.double.calls()
    assert calls["total"]["sagemaker.CreateProcessingJob"] == 150
    assert calls["errors"].get("sagemaker.CreateProcessingJob", 0) == 0
    assert not [operation for operation in calls["total"] if operation.startswith("sagemaker.List")]
    assert clean.times_materialised(days) == dict.fromkeys(days, 1)
