"""Calls of AWS that are throttled, or whose answers do not come."""

from __future__ import annotations

from dataclasses import replace

import pytest
from dagster import RetryPolicy

from dagster_sagemaker_tests.faults.conftest import KINDS, PACING, JobRunner, job_of, processing

pytestmark = pytest.mark.extended

SAGEMAKER = ("CreateProcessingJob", "CreateTrainingJob", "DescribeProcessingJob", "DescribeTrainingJob")
OTHERS = ("logs.DescribeLogStreams", "logs.GetLogEvents", "s3.GetObject", "s3.PutObject")
EVERY_CALL = (*(f"sagemaker.{operation}" for operation in SAGEMAKER), *OTHERS)


@KINDS
def test_throttling_on_every_call(runner: JobRunner, kind: str):
    """The run's log tells which call AWS throttles, and that it is repeated."""
    for operation in EVERY_CALL:
        runner.double.fault("throttle", operations=operation, count=3)
    result = runner.run(job_of(kind, "reports"))
    assert result.metadata["rows"] == 3
    assert (result.lines, result.log.count("counting")) == (["line 1", "line 2"], 1)
    assert runner.job()["status"] == "Completed"
    struck = {fault["operations"] for fault in runner.double.faults() if fault["taken"] == 3}
    assert struck == {operation for operation in EVERY_CALL if "Job" not in operation or kind in operation}
    assert f"Create{kind}Job has failed 3 times in a row: ThrottlingException" in result.log


def test_throttling_longer_than_patience(runner: JobRunner):
    """The asset's retry policy adopts the job in the same run; what the first try has shown is not shown again."""
    runner.double.fault("throttle", operations="sagemaker.Describe*", count=6)
    result = runner.run(
        processing("reports", 3, 2),
        pacing=replace(PACING, retry_patience=0.5),
        retry_policy=RetryPolicy(max_retries=1),
    )
    assert result.failed
    assert result.metadata["rows"] == 3
    assert (result.lines, result.log.count("counting")) == (["line 1", "line 2"], 1)
    assert runner.job()["starts"] == 1


@pytest.mark.parametrize("how", ["500", "cut"])
@KINDS
def test_creates_answer_lost(runner: JobRunner, kind: str, how: str):
    """The run's log tells that the job was there already and was adopted."""
    runner.double.fault("lost_answer", operations="Create*", how=how)
    result = runner.run(job_of(kind, "reports"))
    assert result.metadata["rows"] == 3
    assert (result.lines, result.log.count("counting")) == (["line 1", "line 2"], 1)
    assert runner.job()["starts"] == 1
    assert "adopted" in result.log
    assert result.metadata["sagemaker/api_calls"][f"Create{kind}Job"] == 2


def test_creates_answer_lost_of_a_job_that_failed_meanwhile(runner: JobRunner):
    """It is this run's own job that failed: the failure is told, no other job is launched."""
    runner.double.fault("lost_answer", operations="Create*")
    pacing = replace(PACING, scale=1.0)
    result = runner.run(processing("refuses", "output/message", "No counts of 2026-11-20"), pacing=pacing)
    assert "No counts of 2026-11-20" in result.description
    assert (result.lines, runner.job()["status"]) == (["line 1"], "Failed")
