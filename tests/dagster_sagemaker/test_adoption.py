"""Supervisors that die, are evicted or cancelled: jobs are adopted, left or stopped, and what they report comes once."""

from __future__ import annotations

import logging

import pytest
from dagster import AssetMaterialization, DagsterRunStatus, Failure, RetryPolicy, asset, materialize
from dagster._core.errors import DagsterExecutionInterruptedError
from dagster._core.executor.child_process_executor import ChildProcessCrashException
from dagster._core.test_utils import create_run_for_test

from tests.dagster_sagemaker.conftest import messages, metadata, processing
from tests.dagster_sagemaker.fake_aws import (
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


def interrupt(house, seconds, *, cancelled=False, error=DagsterExecutionInterruptedError):
    """Plans that the step is interrupted after so many seconds, its run being cancelled or not."""

    def now():
        if cancelled:
            (run,) = house.instance.get_runs(limit=1)
            house.instance.report_run_canceling(run)
        raise error

    house.aws.at(seconds, now)


def killed(house, seconds, *jobs, **options):
    """A run whose worker is killed after so many seconds."""
    interrupt(house, seconds, error=Killed)
    return house.run(*jobs, **options)


@pytest.mark.parametrize("seconds", [0.5, 35, 190, 400], ids=["starting", "running", "ended", "long ended"])
def test_a_killed_supervisors_job_is_adopted_and_harvested(house, seconds):
    house.aws.scripts = [completes(start=20, run=100, report=[told("hello"), materialised(rows=7)])]
    parent = killed(house, min(seconds, 35))
    house.aws.until(seconds)
    result = house.retry(parent)
    assert metadata(result)["rows"] == 7
    assert len(house.aws.jobs) == 1
    assert messages(result, house.instance).count("hello") == 1
    assert "adopted" in messages(result, house.instance)


def test_a_supervisor_killed_before_create_leaves_nothing_behind(house):
    house.aws.faults = {"create": [lambda: (_ for _ in ()).throw(Killed)]}
    house.run()
    house.aws.scripts = [completes()]
    assert house.retry(house.instance.get_runs(limit=1)[0]).success
    assert len(house.aws.jobs) == 1


def test_a_failed_job_of_a_killed_supervisor_is_launched_anew(house):
    house.aws.scripts = [fails("AlgorithmError: x, exit code: 1", after=50), completes()]
    parent = killed(house, 20)
    house.aws.until(100)
    assert house.retry(parent).success
    assert [name[-2:] for name in house.aws.jobs] == ["-0", "-1"]


def test_a_completed_job_without_closed_is_launched_anew_by_a_retry(house):
    house.aws.scripts = [completes(report=["{broken"]), completes()]
    first = house.run()
    assert not first.success
    assert house.retry(first).success


def test_a_retry_of_a_retry_still_finds_the_first_ones_job(house):
    house.aws.scripts = [completes(run=300)]
    second = killed_retry(house, killed(house, 20), 40)
    assert house.retry(second).success
    assert len(house.aws.jobs) == 1


def killed_retry(house, parent, seconds):
    interrupt(house, seconds, error=Killed)
    return house.retry(parent)


def test_another_run_of_the_same_partition_has_a_job_of_its_own(house):
    house.aws.scripts = [completes(run=300), completes(run=30)]
    killed(house, 20)
    assert house.run().success
    assert len(house.aws.jobs) == 2


def test_results_that_dagster_has_are_not_harvested_twice(house):
    house.aws.scripts = [completes(), completes()]
    first = house.run()
    assert house.retry(first).success
    assert len(house.aws.jobs) == 2


def test_results_that_dagster_never_got_are_harvested_again(house):
    def crash(context):
        raise Failure("the asset's own code failed before it yielded")

    house.aws.scripts = [completes()]
    first = house.run(after=crash)
    assert not first.success
    assert house.retry(first).success
    assert len(house.aws.jobs) == 1


def test_results_beside_a_failure_that_the_caller_bears_are_not_harvested_twice(house):
    jobs = [processing(key="there"), processing(key="absent")]
    absent = fails("AlgorithmError: nothing there, exit code: 66", after=20)
    options = {"at_once": 2, "go_on": lambda failure: failure.exit_code == 66}
    house.aws.scripts = [completes(run=10), absent] * 2
    first = house.run(*jobs, **options)
    assert first.asset_materializations_for_node("loads")
    assert house.retry(first, *jobs, **options).success
    assert sorted(name[-2:] for name in house.aws.jobs) == ["-0", "-0", "-1", "-1"]


def test_results_beside_a_failure_that_nobody_bears_are_harvested_again(house):
    jobs = [processing(key="there"), processing(key="broken")]
    broken = fails("AlgorithmError: x, exit code: 1", after=20)
    house.aws.scripts = [completes(run=10), broken, completes(run=10)]
    first = house.run(*jobs, at_once=2)
    assert house.retry(first, *jobs, at_once=2).success
    assert sorted(name[-2:] for name in house.aws.jobs) == ["-0", "-0", "-1"]


def test_a_lost_record_does_not_repeat_a_running_job(house):
    house.aws.scripts = [completes(run=300)]
    parent = killed(house, 20)
    house.aws.objects = {key: value for key, value in house.aws.objects.items() if "record" not in key}
    assert house.retry(parent).success
    assert len(house.aws.jobs) == 1


def test_a_job_of_someone_else_under_our_name_is_not_adopted(house):
    house.aws.scripts = [forever]
    parent = killed(house, 20)
    (job,) = house.aws.jobs.values()
    job.answer["Environment"] = {"DAGSTER_PIPES_MESSAGES": "other"}
    assert not house.retry(parent).success
    assert "not of this step" in house.failed.description
    assert "running" not in house.failed.description


def test_an_evicted_supervisor_leaves_its_job_running(house):
    house.aws.scripts = [completes(run=300)]
    interrupt(house, 50)
    house.run()
    (job,) = house.aws.jobs.values()
    assert (job.status, house.aws.calls["stop"]) == ("InProgress", 0)
    parent = house.instance.get_runs(limit=1)[0]
    assert "left running" in messages_of(house, parent)
    assert house.retry(parent).success


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
def test_results_are_harvested_where_the_process_ended_amid_their_events(house, error, jobs, retries):
    """A range's result is stored partition by partition, which takes seconds. A step that failed by itself computes again."""
    house.aws.scripts = [completes()] * 2
    client, errors = house.client(), [error]

    @asset(retry_policy=RetryPolicy(max_retries=retries))
    def loads(context):
        invocation = client.run(context=context, job=processing())
        yield AssetMaterialization("loads")
        if errors:
            raise errors.pop()
        yield from invocation.get_results()

    def run(**tags):
        return materialize([loads], instance=house.instance, tags=tags, raise_on_error=False)

    result = run()
    if not result.success:
        again = {"dagster/is_resume_retry": "true", "dagster/parent_run_id": result.run_id}
        assert run(**again).success
    assert len(house.aws.jobs) == jobs


@pytest.mark.parametrize("seconds", [0.5, 50], ids=["starting", "running"])
def test_a_cancelled_run_stops_its_job(house, seconds):
    house.aws.scripts = [forever]
    interrupt(house, seconds, cancelled=True)
    house.run()
    (job,) = house.aws.jobs.values()
    assert job.status == "Stopped"
    (run,) = house.instance.get_runs(limit=1)
    assert run.status in (DagsterRunStatus.CANCELING, DagsterRunStatus.CANCELED)


@pytest.mark.parametrize(
    ("status", "left"),
    [(DagsterRunStatus.STARTED, "InProgress"), (DagsterRunStatus.CANCELING, "Stopped")],
    ids=["going on", "cancelled as well"],
)
def test_a_cancelled_run_leaves_a_job_that_another_run_goes_on_with(house, status, left):
    house.aws.scripts = [forever]
    parent = killed(house, 20)
    tags = {
        "dagster/is_resume_retry": "true",
        "dagster/parent_run_id": parent.run_id,
        "dagster/root_run_id": parent.run_id,
    }
    create_run_for_test(house.instance, status=status, tags=tags)
    interrupt(house, 50, cancelled=True)
    house.run(tags=tags)
    (job,) = house.aws.jobs.values()
    assert job.status == left


def test_cancelled_within_create_the_job_is_stopped_once_sagemaker_knows_it(house):
    def interrupted_create():
        (run,) = house.instance.get_runs(limit=1)
        house.instance.report_run_canceling(run)
        raise DagsterExecutionInterruptedError

    house.aws.faults = {
        "create": [interrupted_create],
        "stop": [refusal("ValidationException", "not found"), THROTTLED],
    }
    house.run()
    assert house.aws.calls["stop"] > 2


def test_a_stop_that_is_throttled_is_repeated(house):
    house.aws.scripts = [forever]
    house.aws.faults = {"stop": [THROTTLED, THROTTLED]}
    interrupt(house, 50, cancelled=True)
    house.run()
    assert next(iter(house.aws.jobs.values())).status == "Stopped"


def one_stop_every(house, seconds):
    """AWS takes so few Stops, and throttles the others."""
    taken = [float("-inf")]

    def throttling():
        if house.aws.now - taken[0] < seconds:
            raise THROTTLED
        taken[0] = house.aws.now

    return [throttling] * 10_000


@pytest.mark.parametrize("seconds", [0.0, 1.0, 8.0])
def test_all_of_many_jobs_are_stopped_though_stops_are_throttled(house, seconds):
    jobs = [processing(key=f"chunk {number}") for number in range(40)]
    house.aws.scripts = [forever] * 40
    house.aws.faults = {"stop": one_stop_every(house, seconds)}
    interrupt(house, 50, cancelled=True)
    house.run(*jobs, at_once=40)
    assert {job.status for job in house.aws.jobs.values()} == {"Stopped"}
    assert house.aws.now <= 50 + 40 * (seconds + 0.5)


def test_a_stop_that_is_never_taken_is_given_up_and_told_of(house):
    house.aws.scripts = [forever] * 3
    house.aws.faults = {"stop": [THROTTLED] * 10_000}
    interrupt(house, 50, cancelled=True)
    result = house.run(*[processing(key=f"chunk {number}") for number in range(3)], at_once=3)
    assert house.aws.now < 65
    told = messages(result, house.instance)
    assert "not known to be stopped" in told
    assert all(told.rpartition("see the console:")[2].count(name) for name in house.aws.jobs)


def test_a_stop_that_is_denied_is_a_warning_with_the_console_and_the_other_jobs_are_stopped(house):
    house.aws.scripts = [forever] * 2
    house.aws.faults = {"stop": [refusal("AccessDeniedException", "not authorized to stop")]}
    interrupt(house, 50, cancelled=True)
    house.run(processing(key="a"), processing(key="b"), at_once=2)
    running, stopped = house.aws.jobs.values()
    assert (running.status, stopped.status) == ("InProgress", "Stopped")
    (run,) = house.instance.get_runs(limit=1)
    (warning,) = [
        entry for entry in house.instance.all_logs(run.run_id) if "not authorized" in entry.user_message
    ]
    assert warning.level == logging.WARNING
    assert "it is still running, and costs" in warning.user_message
    assert f"processing-jobs/{running.name}" in warning.user_message


def test_a_job_that_ended_before_its_stop_is_no_warning(house):
    house.aws.scripts = [forever]
    words = "The request was rejected because the processing job is in status Completed."
    house.aws.faults = {"stop": [refusal("ValidationException", words)]}
    interrupt(house, 50, cancelled=True)
    result = house.run()
    assert "is over already" in messages(result, house.instance)
    assert "costs" not in messages(result, house.instance)


def test_a_job_that_was_being_stopped_is_launched_anew(house):
    house.aws.scripts = [forever, completes()]
    parent = killed(house, 20)
    (job,) = house.aws.jobs.values()
    job.answer["ProcessingJobStatus"] = "Stopping"
    house.aws.at(60, lambda: house.aws.end(job, "Stopped"))
    assert house.retry(parent).success
    assert len(house.aws.jobs) == 2


def messages_of(house, run):
    return "\n".join(entry.user_message for entry in house.instance.all_logs(run.run_id))


def test_jobs_side_by_side_are_all_left_and_all_adopted(house):
    house.aws.scripts = [completes(run=100), completes(run=200), completes(run=300)]
    jobs = [processing(key=f"chunk {number}") for number in range(3)]
    parent = killed(house, 50, *jobs, at_once=3)
    assert house.retry(parent, *jobs, at_once=3).success
    assert len(house.aws.jobs) == 3
