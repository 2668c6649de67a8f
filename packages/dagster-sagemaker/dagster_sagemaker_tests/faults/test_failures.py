"""Jobs that fail: SageMaker's own errors, and those of the container."""

from __future__ import annotations

import pytest
from dagster import RetryPolicy

from dagster_sagemaker_tests.faults.conftest import KINDS, JobRunner, job_of, processing

pytestmark = pytest.mark.extended

REASON = "No counts of 2026-11-20: ask the warehouse's owner — «tom fil»"


@KINDS
def test_internal_error_twice_then_success(runner: JobRunner, kind: str):
    """The run's log tells each attempt; nothing of what the failed ones had reported counts."""
    runner.double.fault("internal", on_log="line 1", count=2)
    result = runner.run(job_of(kind, "reports", 3, 0.1))
    assert result.metadata["rows"] == 3
    assert result.metadata["sagemaker/attempts"] == 3
    assert [job["status"] for job in runner.jobs()] == ["Failed", "Failed", "Completed"]
    assert result.lines == ["line 1", "line 1", "line 1", "line 2"]
    for number in (2, 3):
        assert f"Attempt {number} of 3 follows" in result.log


@pytest.mark.parametrize(("kind", "path"), [("Processing", "output/message"), ("Training", "output/failure")])
def test_algorithm_error_with_reason(runner: JobRunner, kind: str, path: str):
    """The failure is in the job's own words, with its exit code; ARN and links stand in the failure's metadata."""
    result = runner.run(job_of(kind, "refuses", path, REASON))
    assert result.final
    assert REASON in result.description
    assert "exit code 65" in result.description
    assert result.failure.metadata["exit_code"].value == 65
    assert result.failure.metadata["sagemaker/job_arn"].value == runner.job()["describe"][f"{kind}JobArn"]
    assert result.lines == ["line 1"]
    assert runner.job()["exits"] == [65]


@KINDS
def test_algorithm_error_without_reason(runner: JobRunner, kind: str):
    """The failure tells the exception that the container told Pipes of as it ended."""
    result = runner.run(job_of(kind, "breaks"))
    assert result.final
    assert "exit code 1" in result.description
    assert "ValueError: counts of 2026-11-20 are negative" in result.description
    assert runner.job()["exits"] == [1]


def test_algorithm_error_that_a_retry_may_cure(runner: JobRunner):
    """The asset's retry policy launches the next attempt; the run's log says why."""
    job = processing("breaks", retryable_exit_codes=range(1, 64))
    result = runner.run(job, retry_policy=RetryPolicy(max_retries=1))
    assert not result.final
    assert "from an earlier execution ended (algorithm): starting a new job" in result.log
    assert [job["status"] for job in runner.jobs()] == ["Failed", "Failed"]


@KINDS
def test_out_of_memory(runner: JobRunner, kind: str):
    """The failure says so, names the instance type, and what to do."""
    runner.double.fault("out_of_memory", on_log="line 1")
    result = runner.run(job_of(kind, "reports", 3, 60))
    assert result.final
    assert "ran out of memory on ml.m5.large (exit code 137" in result.description
    assert "choose a larger instance type" in result.description
    assert result.failure.metadata["exit_code"].value == 137
    assert result.lines == ["line 1"]
    assert runner.job()["exits"] == [137]
