"""Several jobs in one thread."""

from __future__ import annotations

import pytest

from dagster_sagemaker import Ending
from dagster_sagemaker_tests.conftest import metadata, processing
from dagster_sagemaker_tests.fake_aws import completes, fails


def chunks(count):
    return [processing(key=f"chunk {number}") for number in range(count)]


def test_allowed_number_of_jobs_runs_without_waiting(runner):
    runner.aws.scripts = [completes(run=100)] * 9
    assert runner.run(*chunks(9), at_once=3).success
    assert len(runner.ends) == 9
    assert runner.returned_at < 3 * 100 + 30


def test_slow_job_does_not_delay_the_end_of_others(runner):
    runner.aws.scripts = [completes(run=1000), completes(run=50)]
    assert runner.run(*chunks(2), at_once=2).success
    assert [end.job.key for end in runner.ends] == ["chunk 1", "chunk 0"]


def test_failure_starts_no_job_and_waits_for_running_ones(runner):
    runner.aws.scripts = [fails("AlgorithmError: x, exit code: 1", after=20), completes(run=200), completes()]
    runner.run(*chunks(3), at_once=2)
    assert [(end.job.key, end.failure is None) for end in runner.ends] == [
        ("chunk 0", False),
        ("chunk 1", True),
    ]


def test_failures_that_the_caller_accepts_stop_no_job(runner):
    absent = fails("AlgorithmError: nothing there, exit code: 66", after=20)
    runner.aws.scripts = [absent, completes(), completes()]
    runner.run(*chunks(3), at_once=2, go_on=lambda failed: failed.exit_code == 66)
    assert [end.failure.ending for end in runner.ends if end.failure] == [Ending.ALGORITHM]
    assert sum(end.invocation is not None for end in runner.ends) == 2


def test_job_may_depend_on_results_of_earlier_ones(runner):
    from dagster import MaterializeResult, asset, materialize

    runner.aws.scripts = [completes(run=10), completes(run=10), completes(run=10)]
    client, seen = runner.client(), []

    @asset
    def loads(context):
        ends = []

        def jobs():
            yield processing(key="first")
            while not ends:
                yield None
            seen.append([end.job.key for end in ends])
            yield from chunks(2)

        for end in client.run_all(context=context, jobs=jobs(), at_once=3):
            ends.append(end)
        yield MaterializeResult(metadata={"ended": len(ends)})

    assert metadata(materialize([loads], instance=runner.instance))["ended"] == 3
    assert seen == [["first"]]


def test_two_jobs_with_one_key_are_refused(runner):
    runner.aws.scripts = [completes()]
    result = runner.run(processing(key="a"), processing(key="a"), at_once=2)
    assert not result.success


def test_a_client_refuses_jobs_of_the_other_kind(runner):
    from dagster import build_asset_context

    from dagster_sagemaker_tests.conftest import training

    with pytest.raises(TypeError, match="not TrainingJob"):
        runner.client("Processing").run(context=build_asset_context(), job=training())


def test_failure_of_a_single_job_is_raised(runner):
    runner.aws.scripts = [fails("ClientError: x")]
    assert runner.failure()
