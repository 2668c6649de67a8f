"""Supervisors that die, are evicted or cancelled: jobs are adopted, left or stopped, and what they report comes once."""

from __future__ import annotations

import logging

import pytest
from dagster import AssetMaterialization, DagsterRunStatus, Failure, RetryPolicy, asset, materialize
from dagster._core.errors import DagsterExecutionInterruptedError
from dagster._core.executor.child_process_executor import ChildProcessCrashException
from dagster._core.test_utils import create_run_for_test

from dagster_sagemaker_tests.conftest import messages, metadata, processing
from dagster_sagemaker_tests.fake_aws import (
    THROTTLED,
    completes,
    fails,
    forever,
    materialised,
    refusal,
    told,
)


class Killed(BaseException):
    """SIGKILL: nothing of the supervisor's own runs any more."""


def interrupt(runner, seconds, *, cancelled=False, error=DagsterExecutionInterruptedError):
    """Plans that the step is interrupted after so many seconds, its run being cancelled or not."""

    def now():
        if cancelled:
            (run,) = runner.instance.get_runs(limit=1)
            runner.instance.report_run_canceling(run)
        raise error

    runner.aws.at(seconds, now)


def killed(runner, seconds, *jobs, **options):
    """A run whose worker is killed after so many seconds."""
    interrupt(runner, seconds, error=Killed)
    return runner.run(*jobs, **options)


@pytest.mark.parametrize("seconds", [0.5, 35, 190, 400], ids=["starting", "running", "ended", "long ended"])
def test_job_of_a_killed_process_is_adopted_with_its_results(runner, seconds):
    runner.aws.scripts = [completes(start=20, run=100, report=[told("hello"), materialised(rows=7)])]
    parent = killed(runner, min(seconds, 35))
    runner.aws.until(seconds)
    result = runner.retry(parent)
    assert metadata(result)["rows"] == 7
    assert len(runner.aws.jobs) == 1
    assert messages(result, runner.instance).count("hello") == 1
    assert "adopted" in messages(result, runner.instance)


def test_process_killed_before_create_leaves_no_job(runner):
    runner.aws.faults = {"create": [lambda: (_ for _ in ()).throw(Killed)]}
    runner.run()
    runner.aws.scripts = [completes()]
    assert runner.retry(runner.instance.get_runs(limit=1)[0]).success
    assert len(runner.aws.jobs) == 1


def test_failed_job_of_a_killed_process_is_launched_again(runner):
    runner.aws.scripts = [fails("AlgorithmError: x, exit code: 1", after=50), completes()]
    parent = killed(runner, 20)
    runner.aws.until(100)
    assert runner.retry(parent).success
    assert [name[-2:] for name in runner.aws.jobs] == ["-0", "-1"]


def test_completed_job_without_closed_is_launched_again_by_a_retry(runner):
    runner.aws.scripts = [completes(report=["{broken"]), completes()]
    first = runner.run()
    assert not first.success
    assert runner.retry(first).success


def test_retry_of_a_retry_finds_the_first_job(runner):
    runner.aws.scripts = [completes(run=300)]
    second = killed_retry(runner, killed(runner, 20), 40)
    assert runner.retry(second).success
    assert len(runner.aws.jobs) == 1


def killed_retry(runner, parent, seconds):
    interrupt(runner, seconds, error=Killed)
    return runner.retry(parent)


def test_second_run_of_a_partition_has_its_own_job(runner):
    runner.aws.scripts = [completes(run=300), completes(run=30)]
    killed(runner, 20)
    assert runner.run().success
    assert len(runner.aws.jobs) == 2


def test_results_that_dagster_has_are_not_read_again(runner):
    runner.aws.scripts = [completes(), completes()]
    first = runner.run()
    assert runner.retry(first).success
    assert len(runner.aws.jobs) == 2


def test_results_that_dagster_lacks_are_read_again(runner):
    def crash(context):
        raise Failure("the asset's own code failed before it yielded")

    runner.aws.scripts = [completes()]
    first = runner.run(after=crash)
    assert not first.success
    assert runner.retry(first).success
    assert len(runner.aws.jobs) == 1


def test_results_beside_a_tolerated_failure_are_read_once(runner):
    jobs = [processing(key="there"), processing(key="absent")]
    absent = fails("AlgorithmError: nothing there, exit code: 66", after=20)
    options = {"at_once": 2, "go_on": lambda failure: failure.exit_code == 66}
    runner.aws.scripts = [completes(run=10), absent] * 2
    first = runner.run(*jobs, **options)
    assert first.asset_materializations_for_node("loads")
    assert runner.retry(first, *jobs, **options).success
    assert sorted(name[-2:] for name in runner.aws.jobs) == ["-0", "-0", "-1", "-1"]


def test_results_beside_a_fatal_failure_are_read_again(runner):
    jobs = [processing(key="there"), processing(key="broken")]
    broken = fails("AlgorithmError: x, exit code: 1", after=20)
    runner.aws.scripts = [completes(run=10), broken, completes(run=10)]
    first = runner.run(*jobs, at_once=2)
    assert runner.retry(first, *jobs, at_once=2).success
    assert sorted(name[-2:] for name in runner.aws.jobs) == ["-0", "-0", "-1"]


def test_lost_record_does_not_repeat_a_running_job(runner):
    runner.aws.scripts = [completes(run=300)]
    parent = killed(runner, 20)
    runner.aws.objects = {key: value for key, value in runner.aws.objects.items() if "record" not in key}
    assert runner.retry(parent).success
    assert len(runner.aws.jobs) == 1


def test_job_of_another_step_is_not_adopted(runner):
    runner.aws.scripts = [forever]
    parent = killed(runner, 20)
    (job,) = runner.aws.jobs.values()
    job.answer["Environment"] = {"DAGSTER_PIPES_MESSAGES": "other"}
    assert not runner.retry(parent).success
    assert "belongs to another step" in runner.failed.description
    assert "running" not in runner.failed.description


def test_evicted_process_leaves_its_job_running(runner):
    runner.aws.scripts = [completes(run=300)]
    interrupt(runner, 50)
    runner.run()
    (job,) = runner.aws.jobs.values()
    assert (job.status, runner.aws.calls["stop"]) == ("InProgress", 0)
    parent = runner.instance.get_runs(limit=1)[0]
    assert "left running" in messages_of(runner, parent)
    assert runner.retry(parent).success


@pytest.mark.parametrize(
    ("error", "jobs"),
    [
        (DagsterExecutionInterruptedError, 1),
        (ChildProcessCrashException(1, -9), 1),
        (Failure("a blocking check"), 2),
    ],
    ids=["evicted", "killed", "failed"],
)
@pytest.mark.parametrize("retries", [0, 1], ids=["run from failure", "retry of the step"])
def test_results_are_read_again_after_a_crash_during_their_events(runner, error, jobs, retries):
    """A range's result is stored partition by partition, which takes seconds. A step that failed by itself computes again."""
    runner.aws.scripts = [completes()] * 2
    client, errors = runner.client(), [error]

    @asset(retry_policy=RetryPolicy(max_retries=retries))
    def loads(context):
        invocation = client.run(context=context, job=processing())
        yield AssetMaterialization("loads")
        if errors:
            raise errors.pop()
        yield from invocation.get_results()

    def run(**tags):
        return materialize([loads], instance=runner.instance, tags=tags, raise_on_error=False)

    result = run()
    if not result.success:
        again = {"dagster/is_resume_retry": "true", "dagster/parent_run_id": result.run_id}
        assert run(**again).success
    assert len(runner.aws.jobs) == jobs


@pytest.mark.parametrize("seconds", [0.5, 50], ids=["starting", "running"])
def test_cancelled_run_stops_its_job(runner, seconds):
    runner.aws.scripts = [forever]
    interrupt(runner, seconds, cancelled=True)
    runner.run()
    (job,) = runner.aws.jobs.values()
    assert job.status == "Stopped"
    (run,) = runner.instance.get_runs(limit=1)
    assert run.status in (DagsterRunStatus.CANCELING, DagsterRunStatus.CANCELED)


@pytest.mark.parametrize(
    ("status", "left"),
    [(DagsterRunStatus.STARTED, "InProgress"), (DagsterRunStatus.CANCELING, "Stopped")],
    ids=["going on", "cancelled as well"],
)
def test_cancelled_run_leaves_a_job_that_another_run_continues(runner, status, left):
    runner.aws.scripts = [forever]
    parent = killed(runner, 20)
    tags = {
        "dagster/is_resume_retry": "true",
        "dagster/parent_run_id": parent.run_id,
        "dagster/root_run_id": parent.run_id,
    }
    create_run_for_test(runner.instance, status=status, tags=tags)
    interrupt(runner, 50, cancelled=True)
    runner.run(tags=tags)
    (job,) = runner.aws.jobs.values()
    assert job.status == left


def test_cancel_during_create_stops_the_job_later(runner):
    def interrupted_create():
        (run,) = runner.instance.get_runs(limit=1)
        runner.instance.report_run_canceling(run)
        raise DagsterExecutionInterruptedError

    runner.aws.faults = {
        "create": [interrupted_create],
        "stop": [refusal("ValidationException", "not found"), THROTTLED],
    }
    runner.run()
    assert runner.aws.calls["stop"] > 2


def test_throttled_stop_is_retried(runner):
    runner.aws.scripts = [forever]
    runner.aws.faults = {"stop": [THROTTLED, THROTTLED]}
    interrupt(runner, 50, cancelled=True)
    runner.run()
    assert next(iter(runner.aws.jobs.values())).status == "Stopped"


def one_stop_every(runner, seconds):
    """AWS takes so few Stops, and throttles the others."""
    taken = [float("-inf")]

    def throttling():
        if runner.aws.now - taken[0] < seconds:
            raise THROTTLED
        taken[0] = runner.aws.now

    return [throttling] * 10_000


@pytest.mark.parametrize("seconds", [0.0, 1.0, 8.0])
def test_all_jobs_are_stopped_despite_throttling(runner, seconds):
    jobs = [processing(key=f"chunk {number}") for number in range(40)]
    runner.aws.scripts = [forever] * 40
    runner.aws.faults = {"stop": one_stop_every(runner, seconds)}
    interrupt(runner, 50, cancelled=True)
    runner.run(*jobs, at_once=40)
    assert {job.status for job in runner.aws.jobs.values()} == {"Stopped"}
    assert runner.aws.now <= 50 + 40 * (seconds + 0.5)


def test_stop_without_effect_is_given_up_with_a_warning(runner):
    runner.aws.scripts = [forever] * 3
    runner.aws.faults = {"stop": [THROTTLED] * 10_000}
    interrupt(runner, 50, cancelled=True)
    result = runner.run(*[processing(key=f"chunk {number}") for number in range(3)], at_once=3)
    assert runner.aws.now < 65
    told = messages(result, runner.instance)
    assert "could not stop these jobs" in told
    assert all(told.rpartition("see the console:")[2].count(name) for name in runner.aws.jobs)


def test_denied_stop_warns_and_other_jobs_are_stopped(runner):
    runner.aws.scripts = [forever] * 2
    runner.aws.faults = {"stop": [refusal("AccessDeniedException", "not authorized to stop")]}
    interrupt(runner, 50, cancelled=True)
    runner.run(processing(key="a"), processing(key="b"), at_once=2)
    running, stopped = runner.aws.jobs.values()
    assert (running.status, stopped.status) == ("InProgress", "Stopped")
    (run,) = runner.instance.get_runs(limit=1)
    (warning,) = [
        entry for entry in runner.instance.all_logs(run.run_id) if "not authorized" in entry.user_message
    ]
    assert warning.level == logging.WARNING
    assert "is still running, at a cost" in warning.user_message
    assert f"processing-jobs/{running.name}" in warning.user_message


def test_job_that_ended_before_its_stop_causes_no_warning(runner):
    runner.aws.scripts = [forever]
    words = "The request was rejected because the processing job is in status Completed."
    runner.aws.faults = {"stop": [refusal("ValidationException", words)]}
    interrupt(runner, 50, cancelled=True)
    result = runner.run()
    assert "has already ended" in messages(result, runner.instance)
    assert "costs" not in messages(result, runner.instance)


def test_stopping_job_is_launched_again(runner):
    runner.aws.scripts = [forever, completes()]
    parent = killed(runner, 20)
    (job,) = runner.aws.jobs.values()
    job.answer["ProcessingJobStatus"] = "Stopping"
    runner.aws.at(60, lambda: runner.aws.end(job, "Stopped"))
    assert runner.retry(parent).success
    assert len(runner.aws.jobs) == 2


def messages_of(runner, run):
    return "\n".join(entry.user_message for entry in runner.instance.all_logs(run.run_id))


def test_parallel_jobs_are_all_left_running_and_adopted(runner):
    runner.aws.scripts = [completes(run=100), completes(run=200), completes(run=300)]
    jobs = [processing(key=f"chunk {number}") for number in range(3)]
    parent = killed(runner, 50, *jobs, at_once=3)
    assert runner.retry(parent, *jobs, at_once=3).success
    assert len(runner.aws.jobs) == 3
