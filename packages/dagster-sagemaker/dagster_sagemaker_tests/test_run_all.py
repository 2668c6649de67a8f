"""The `with` block of `run_all`, what it refuses, and what follows after a failure."""

from __future__ import annotations

import gc
from collections import Counter

import pytest
from dagster import MaterializeResult, asset, materialize
from dagster._core.errors import DagsterExecutionInterruptedError

from dagster_sagemaker import SageMakerJobFailed
from dagster_sagemaker_tests.conftest import messages, metadata, processing
from dagster_sagemaker_tests.fake_aws import completes, fails, forever, materialised, refusal
from dagster_sagemaker_tests.test_leaving import chunks, materialise


def run_two_then(leave):
    """The body of an asset that calls `leave` after the end of the first of two jobs."""

    def body(client, context):
        with client.run_all(context=context, jobs=chunks(2), at_once=2) as ends:
            for _ in ends:
                leave()

    return body


def statuses(runner):
    return [job.status for job in runner.aws.jobs.values()]


def test_error_in_the_block_stops_the_other_jobs(runner):
    def fail():
        raise ValueError("the asset's own code")

    runner.aws.scripts = [completes(run=50), forever]
    gc.disable()  # The traceback refers to the iterator: the jobs must not have to wait until Python deletes it.
    try:
        assert not materialise(runner, run_two_then(fail)).success
        assert statuses(runner) == ["Completed", "Stopped"]
    finally:
        gc.enable()


@pytest.mark.parametrize(("cancelled", "status"), [(False, "InProgress"), (True, "Stopped")])
def test_interrupt_in_the_block_stops_jobs_of_cancelled_runs_only(runner, cancelled, status):
    def interrupt():
        (run,) = runner.instance.get_runs(limit=1)
        if cancelled:
            runner.instance.report_run_canceling(run)
        raise DagsterExecutionInterruptedError

    runner.aws.scripts = [completes(run=50), forever]
    materialise(runner, run_two_then(interrupt))
    assert statuses(runner) == ["Completed", status]


def test_end_of_the_block_stops_jobs_of_a_kept_iterator(runner):
    kept = []

    def body(client, context):
        with client.run_all(context=context, jobs=chunks(2), at_once=2) as ends:
            kept.append(ends)
            next(ends)

    runner.aws.scripts = [completes(run=50), forever]
    assert materialise(runner, body).success
    assert statuses(runner) == ["Completed", "Stopped"]


def test_unready_job_is_refused_while_none_runs(runner):
    def jobs():
        yield None
        yield from chunks(2)

    def body(client, context):
        list(client.run_all(context=context, jobs=jobs(), at_once=2))

    result = materialise(runner, body)
    assert not result.success
    assert "`jobs` gave None" in str(result.failure_data_for_node("loads"))


def test_run_all_refuses_at_once_of_zero(runner):
    def body(client, context):
        client.run_all(context=context, jobs=chunks(2), at_once=0)

    assert "at_once is 0" in str(materialise(runner, body).failure_data_for_node("loads"))


def test_failure_drops_a_job_that_waits_for_quota(runner):
    quota = (
        "The account-level service limit 'ml.m5.large for processing job usage' is 1 Instances, with current "
    )
    quota += "utilization of 1 Instances and a request delta of 1 Instances."
    runner.aws.scripts = [fails("AlgorithmError: x, exit code: 1", after=50), completes()]
    runner.aws.faults = {"create": [None, *[refusal("ResourceLimitExceeded", quota)] * 5]}
    runner.run(*chunks(2), at_once=2)
    assert [end.job.key for end in runner.ends] == ["chunk 0"]
    assert len(runner.aws.jobs) == 1


def test_go_on_is_called_in_the_order_of_ends(runner):
    asked = []
    failed = fails("AlgorithmError: x, exit code: 1", after=50)
    runner.aws.scripts = [failed, failed, failed]
    runner.run(*chunks(3), at_once=3, go_on=lambda failure: asked.append(failure) or True)
    assert asked == [end.failure for end in runner.ends]


def test_failed_job_frees_its_key(runner):
    client = runner.client()

    @asset
    def loads(context):
        try:
            invocation = client.run(context=context, job=processing())
        except SageMakerJobFailed:
            larger = processing(instance_types=("ml.m5.4xlarge",))
            invocation = client.run(context=context, job=larger)
        return invocation.get_materialize_result()

    runner.aws.scripts = [
        fails("AlgorithmError: x, exit code: 137"),
        completes(report=[materialised(rows=7)]),
    ]
    result = materialize([loads], instance=runner.instance, raise_on_error=False)
    assert metadata(result)["rows"] == 7


def test_unexpected_error_of_a_stop_still_stops_other_jobs(runner):
    def break_down():
        raise RuntimeError("no such thing")

    def leave(client, context):
        with client.run_all(context=context, jobs=chunks(3), at_once=3) as ends:
            next(ends)

    runner.aws.scripts = [completes(run=50), forever, forever]
    runner.aws.faults = {"stop": [break_down]}
    result = materialise(runner, leave)
    assert statuses(runner) == ["Completed", "Stopped", "Stopped"]
    assert "RuntimeError: no such thing" in messages(result, runner.instance)


def test_broken_source_of_events_warns_once(runner):
    class Broken:
        def ended(self, names):
            raise OSError("queue gone")

    runner.aws.scripts = [completes(run=600)]
    result = runner.run(job_ends=Broken())
    assert result.success
    assert messages(result, runner.instance).count("queue gone") == 1


def test_asset_may_yield_inside_the_block(runner):
    client = runner.client()

    @asset
    def loads(context):
        with client.run_all(context=context, jobs=chunks(2), at_once=2) as ends:
            count = sum(1 for _ in ends)
            yield MaterializeResult(metadata={"ended": count})

    runner.aws.scripts = [completes(run=10), completes(run=20)]
    assert metadata(materialize([loads], instance=runner.instance))["ended"] == 2
    assert runner.aws.calls["stop"] == 0


def test_delivery_is_recorded_once(runner):
    runner.aws.scripts = [completes(run=50)]
    assert runner.run().success
    puts = runner.aws.calls["put"]
    runner.aws.scripts, runner.aws.calls = [completes(run=50)], Counter()

    def body(client, context):
        list(client.run_all(context=context, jobs=[processing()]))

    assert materialise(runner, body).success
    assert runner.aws.calls["put"] == puts, "a `with` block adds no write"
