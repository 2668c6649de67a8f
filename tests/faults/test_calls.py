"""Calls of AWS that are throttled, or whose answers do not come."""

from __future__ import annotations

from dataclasses import replace

import pytest
from dagster import RetryPolicy

from tests.faults.conftest import KINDS, PACING, House, job_of, processing

pytestmark = pytest.mark.extended

SAGEMAKER = ("CreateProcessingJob", "CreateTrainingJob", "DescribeProcessingJob", "DescribeTrainingJob")
OTHERS = ("logs.DescribeLogStreams", "logs.GetLogEvents", "s3.GetObject", "s3.PutObject")
EVERY_CALL = (*(f"sagemaker.{operation}" for operation in SAGEMAKER), *OTHERS)


@KINDS
def test_throttling_on_every_call(house: House, kind: str):
    """The run's log tells which call AWS throttles, and that it is repeated."""
    for operation in EVERY_CALL:
        house.double.fault("throttle", operations=operation, count=3)
    told = house.run(job_of(kind, "reports"))
    assert told.metadata["rows"] == 3
    assert (told.lines, told.log.count("counting")) == (["line 1", "line 2"], 1)
    assert house.job()["status"] == "Completed"
    struck = {fault["operations"] for fault in house.double.faults() if fault["taken"] == 3}
    assert struck == {operation for operation in EVERY_CALL if "Job" not in operation or kind in operation}
    assert f"Create{kind}Job has not been answered, 3 times: ThrottlingException" in told.log


def test_throttling_without_end(house: House):
    """The step fails, is not final, and says that the job runs on; the retry adopts it."""
    house.double.fault("throttle", operations="Describe*", count=None)
    job = processing("reports", 3, 1)
    told = house.run(job, pacing=replace(PACING, retry_patience=0.5))
    assert not told.final
    assert "The job was left running; a retry adopts it." in told.description
    house.double.clear_faults()
    assert house.resumed(told, job).metadata["rows"] == 3
    assert house.job()["status"] == "Completed"


def test_throttling_longer_than_patience(house: House):
    """The asset's retry policy adopts the job in the same run; what the first try has shown is not shown again."""
    house.double.fault("throttle", operations="sagemaker.Describe*", count=6)
    told = house.run(
        processing("reports", 3, 2),
        pacing=replace(PACING, retry_patience=0.5),
        retry_policy=RetryPolicy(max_retries=1),
    )
    assert told.failed
    assert told.metadata["rows"] == 3
    assert (told.lines, told.log.count("counting")) == (["line 1", "line 2"], 1)
    assert house.job()["starts"] == 1


@pytest.mark.parametrize("how", ["500", "cut"])
@KINDS
def test_creates_answer_lost(house: House, kind: str, how: str):
    """The run's log tells that the job was there already and was adopted."""
    house.double.fault("lost_answer", operations="Create*", how=how)
    told = house.run(job_of(kind, "reports"))
    assert told.metadata["rows"] == 3
    assert (told.lines, told.log.count("counting")) == (["line 1", "line 2"], 1)
    assert house.job()["starts"] == 1
    assert "adopted" in told.log
    assert told.metadata["sagemaker/api_calls"][f"Create{kind}Job"] == 2


def test_creates_answer_lost_of_a_job_that_failed_meanwhile(house: House):
    """It is this run's own job that failed: the failure is told, no other job is launched."""
    house.double.fault("lost_answer", operations="Create*")
    pacing = replace(PACING, retry_first=1.0)
    told = house.run(processing("refuses", "output/message", "No counts of 2026-11-20"), pacing=pacing)
    assert "No counts of 2026-11-20" in told.description
    assert (told.lines, house.job()["status"]) == (["line 1"], "Failed")
