"""Jobs that fail: SageMaker's own errors, and those of the container."""

from __future__ import annotations

import pytest
from dagster import RetryPolicy

from tests.faults.conftest import KINDS, House, job_of, processing

pytestmark = pytest.mark.extended

REASON = "No counts of 2026-11-20: ask the warehouse's owner — «tom fil»"


@KINDS
def test_internal_error_three_times(house: House, kind: str):
    """The failure says that SageMaker itself failed, and that this was the last of several attempts."""
    house.double.fault("internal", count=3)
    told = house.run(job_of(kind, "reports"))
    assert told.final
    assert "the last of several attempts, failed inside SageMaker" in told.description
    assert [job["status"] for job in house.jobs()] == ["Failed"] * 3
    assert "Attempt 3 of 3 follows" in told.log


@KINDS
def test_internal_error_twice_then_success(house: House, kind: str):
    """The run's log tells each attempt; nothing of what the failed ones had reported counts."""
    house.double.fault("internal", on_log="line 1", count=2)
    told = house.run(job_of(kind, "reports", 3, 0.1))
    assert told.metadata["rows"] == 3
    assert told.metadata["sagemaker/attempts"] == 3
    assert [job["status"] for job in house.jobs()] == ["Failed", "Failed", "Completed"]
    assert told.lines == ["line 1", "line 1", "line 1", "line 2"]
    for number in (2, 3):
        assert f"Attempt {number} of 3 follows" in told.log


@pytest.mark.parametrize(("kind", "path"), [("Processing", "output/message"), ("Training", "output/failure")])
def test_algorithm_error_with_reason(house: House, kind: str, path: str):
    """The failure is in the job's own words, with its exit code; ARN and links stand in the failure's metadata."""
    told = house.run(job_of(kind, "refuses", path, REASON))
    assert told.final
    assert REASON in told.description
    assert "exit code 65" in told.description
    assert told.failure.metadata["exit_code"].value == 65
    assert told.failure.metadata["sagemaker/job_arn"].value == house.job()["describe"][f"{kind}JobArn"]
    assert told.lines == ["line 1"]
    assert house.job()["exits"] == [65]


@KINDS
def test_algorithm_error_without_reason(house: House, kind: str):
    """The failure tells the exception that the container told Pipes of as it ended."""
    told = house.run(job_of(kind, "breaks"))
    assert told.final
    assert "exit code 1" in told.description
    assert "ValueError: counts of 2026-11-20 are negative" in told.description
    assert house.job()["exits"] == [1]


def test_algorithm_error_that_a_retry_may_cure(house: House):
    """The asset's retry policy launches the next attempt; the run's log says why."""
    job = processing("breaks", retryable_exit_codes=range(1, 64))
    told = house.run(job, retry_policy=RetryPolicy(max_retries=1))
    assert not told.final
    assert "of an earlier execution ended (algorithm): launched anew" in told.log
    assert [job["status"] for job in house.jobs()] == ["Failed", "Failed"]


@KINDS
def test_out_of_memory(house: House, kind: str):
    """The failure says so, names the instance type, and what to do."""
    house.double.fault("out_of_memory", on_log="line 1")
    told = house.run(job_of(kind, "reports", 3, 60))
    assert told.final
    assert "ran out of memory on ml.m5.large (exit code 137" in told.description
    assert "choose a larger instance type" in told.description
    assert told.failure.metadata["exit_code"].value == 137
    assert told.lines == ["line 1"]
    assert house.job()["exits"] == [137]


def test_image_that_cannot_be_pulled(house: House):
    """The failure has SageMaker's words, and is final."""
    house.double.fault("client_error", message="The image does not exist")
    told = house.run(processing("reports"))
    assert told.final
    assert "could not run job" in told.description
    assert "The image does not exist" in told.description
