"""Instances that are not to be had: none free, or the account's quota."""

from __future__ import annotations

import time

import pytest

from dagster_sagemaker import Clock
from dagster_sagemaker_tests.faults.conftest import KINDS, JobRunner, job_of, processing
from sagemaker_double import requests

pytestmark = pytest.mark.extended

THREE_TYPES = ("ml.m5.large", "ml.m6i.large", "ml.m7i.large")
SHORT = {"instance_types": THREE_TYPES[:2], "count": None}


@KINDS
def test_capacity_shortage_on_the_first_two_types(runner: JobRunner, kind: str):
    """The run's log tells the type of each next attempt; the metadata, on which it ran and after how many."""
    runner.double.fault("capacity", **SHORT)
    result = runner.run(job_of(kind, "reports", instance_types=THREE_TYPES))
    assert result.lines == ["line 1", "line 2"]
    assert [job["status"] for job in runner.jobs()] == ["Failed", "Failed", "Completed"]
    assert [job["starts"] for job in runner.jobs()] == [0, 0, 1]
    for following in THREE_TYPES[1:]:
        assert (
            f"CapacityError: Unable to provision requested ML compute capacity. Please retry using a different ML instance type. The next attempt is on {following}"
            in result.log
        )
    assert result.metadata["sagemaker/instance_type"] == "ml.m7i.large"
    assert result.metadata["sagemaker/attempts"] == 3


@pytest.mark.parametrize("code", ["ResourceLimitExceeded", "InsufficientInstanceCapacity", "CapacityError"])
def test_capacity_shortage_reported_by_create(runner: JobRunner, code: str):
    """As above; no job exists but the one that ran, whatever code AWS gives its words."""
    runner.double.fault("capacity", at_create=True, code=code, **SHORT)
    result = runner.run(processing("reports", instance_types=THREE_TYPES))
    assert result.metadata["sagemaker/instance_type"] == "ml.m7i.large"
    assert runner.job()["status"] == "Completed"
    assert "The next attempt is on ml.m7i.large" in result.log


@KINDS
def test_quota_0(runner: JobRunner, kind: str):
    """The failure names the quota and where to ask for more; nothing was created."""
    runner.double.set(quotas={"ml.m5.large": 0})
    result = runner.run(job_of(kind, "reports"))
    assert result.final
    assert "the quota of ml.m5.large is 0, 1 needed: request more in Service Quotas" in result.description
    assert runner.jobs() == []


@KINDS
def test_quota_reached(runner: JobRunner, kind: str, aws):
    """The run's log says that others' jobs are waited for; the metadata, for how many seconds."""
    runner.double.set(quotas={"ml.m5.large": 1})
    aws("sagemaker").create_processing_job(**requests.processing("another", "import time; time.sleep(60)"))

    def sleep(seconds: float) -> None:
        """The other job ends once ours was refused."""
        refused = runner.double.calls()["errors"].get(f"sagemaker.Create{kind}Job")
        if refused and runner.double.job("another")["status"] == "InProgress":
            runner.double.stop("another")
        time.sleep(seconds)

    result = runner.run(job_of(kind, "reports"), clock=Clock(sleep=sleep))
    assert result.lines == ["line 1", "line 2"]
    assert [job["status"] for job in runner.jobs()] == ["Stopped", "Completed"]
    assert "Waiting for other jobs to end" in result.log
    assert result.metadata["sagemaker/queue_seconds"] > 0
