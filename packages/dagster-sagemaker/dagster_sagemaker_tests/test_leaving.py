"""Jobs whose asset waits no longer, repeated keys, changed outputs, and cancels while Create is not answered."""

from __future__ import annotations

from itertools import islice

import pytest
from dagster import MaterializeResult, RetryPolicy, asset, materialize
from dagster._core.errors import DagsterExecutionInterruptedError

from dagster_sagemaker import S3Output
from dagster_sagemaker_tests.conftest import messages, metadata, processing, training
from dagster_sagemaker_tests.fake_aws import LOST, THROTTLED, completes, fails, forever, materialised
from dagster_sagemaker_tests.test_adoption import interrupt, killed


def chunks(count):
    return [processing(key=f"chunk {number}") for number in range(count)]


def materialise(runner, body):
    """A run of an asset whose work is `body(client, context)`."""
    client = runner.client()

    @asset
    def loads(context):
        body(client, context)
        return MaterializeResult()

    return materialize([loads], instance=runner.instance, raise_on_error=False)


def test_break_out_of_run_all_stops_the_other_jobs(runner):
    def body(client, context):
        for _ in client.run_all(context=context, jobs=chunks(3), at_once=3):
            break

    runner.aws.scripts = [completes(run=50), forever, forever]
    result = materialise(runner, body)
    assert result.success
    assert [job.status for job in runner.aws.jobs.values()] == ["Completed", "Stopped", "Stopped"]
    assert "the asset no longer waits for them: stopping chunk-1-" in messages(result, runner.instance)


def test_closed_iterator_stops_its_jobs(runner):
    def body(client, context):
        ends = client.run_all(context=context, jobs=chunks(2), at_once=2)
        next(ends)
        ends.close()

    runner.aws.scripts = [completes(run=50), forever]
    assert materialise(runner, body).success
    assert runner.aws.calls["stop"] == 1


@pytest.mark.parametrize("place", ["loop", "jobs", "go_on"])
def test_error_of_the_asset_stops_its_jobs(runner, place):
    def fail(_=None):
        raise ValueError("the asset's own code")

    def jobs():
        yield from chunks(2)
        if place == "jobs":
            fail()

    def body(client, context):
        options = {"go_on": fail} if place == "go_on" else {}
        for _ in client.run_all(context=context, jobs=jobs(), at_once=3 if place == "jobs" else 2, **options):
            if place == "loop":
                fail()

    first = fails("AlgorithmError: x, exit code: 1") if place == "go_on" else completes(run=50)
    runner.aws.scripts = [first, forever]
    assert not materialise(runner, body).success
    assert {job.status for job in runner.aws.jobs.values()} <= {"Completed", "Failed", "Stopped"}


def test_interrupt_inside_run_all_leaves_its_jobs(runner):
    runner.aws.scripts = [forever, forever]
    interrupt(runner, 50)
    runner.run(*chunks(2), at_once=2)
    assert {job.status for job in runner.aws.jobs.values()} == {"InProgress"}
    assert runner.aws.calls["stop"] == 0


def test_finished_iterator_stops_nothing(runner):
    def body(client, context):
        list(islice(client.run_all(context=context, jobs=chunks(2), at_once=1), 2))

    runner.aws.scripts = [completes(run=50), completes(run=50)]
    assert materialise(runner, body).success
    assert runner.aws.calls["stop"] == 0


def outputs(address):
    return (S3Output("counts", "/opt/ml/processing/output", address),)


def test_second_run_with_the_same_key_is_refused(runner):
    def body(client, context):
        for address in ("s3://bucket/first", "s3://bucket/second"):
            client.run(context=context, job=processing(outputs=outputs(address)))

    runner.aws.scripts = [completes(), completes()]
    result = materialise(runner, body)
    assert not result.success
    words = str(result.failure_data_for_node("loads"))
    assert "have the key 'loads'" in words and "its own `key`" in words
    assert len(runner.aws.jobs) == 1


def test_two_runs_with_keys_have_a_job_each(runner):
    def body(client, context):
        for key in ("first", "second"):
            client.run(context=context, job=processing(key=key))

    runner.aws.scripts = [completes(), completes()]
    assert materialise(runner, body).success
    assert len(runner.aws.jobs) == 2


def test_retry_of_a_step_may_use_its_key_again(runner):
    runner.aws.scripts = [fails("AlgorithmError: x, exit code: 1"), completes()]
    job = processing(retryable_exit_codes=(1,))
    assert runner.run(job, retry_policy=RetryPolicy(max_retries=1)).success
    assert len(runner.aws.jobs) == 2


def to(address, made):
    return made(output_s3=address) if made is training else made(outputs=outputs(address))


@pytest.mark.parametrize("made", [processing, training])
@pytest.mark.parametrize("seconds", [50, 400], ids=["running", "completed"])
def test_job_with_another_output_address_is_not_adopted(runner, made, seconds):
    runner.aws.scripts = [completes(run=100), completes(report=[materialised(rows=7)])]
    parent = killed(runner, 50, to("s3://bucket/old", made))
    runner.aws.until(seconds)
    result = runner.retry(parent, to("s3://bucket/new", made))
    assert metadata(result)["rows"] == 7
    assert len(runner.aws.jobs) == 2
    assert "(outputs)" in messages(result, runner.instance) or "outputs." in messages(result, runner.instance)


@pytest.mark.parametrize("lost", [False, True], ids=["throttled", "answer lost"])
@pytest.mark.parametrize("seconds", [1, 100, 1000])
def test_cancel_during_throttled_create_ends_within_the_patience(runner, lost, seconds):
    """The job that an unanswered Create has made is stopped, though SageMaker does not know it at once."""
    runner.aws.scripts = [forever]
    first = [[LOST]] if lost else []
    runner.aws.faults = {"create": [*first, *[THROTTLED] * 10_000], "stop": [THROTTLED] * 3}
    interrupt(runner, seconds, cancelled=True)
    runner.run()
    assert runner.returned_at - seconds <= 11
    assert [job.status for job in runner.aws.jobs.values()] == (["Stopped"] if lost else [])


def test_interrupted_create_itself_is_followed_by_a_stop(runner):
    def cancelled_meanwhile():
        (run,) = runner.instance.get_runs(limit=1)
        runner.instance.report_run_canceling(run)
        raise DagsterExecutionInterruptedError

    runner.aws.faults = {"create": [THROTTLED, cancelled_meanwhile]}
    runner.run()
    assert runner.aws.calls["stop"] > 1
    assert runner.returned_at <= 15
