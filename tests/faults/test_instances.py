"""Instances that are not to be had: none free, or the account's quota."""

from __future__ import annotations

import time
from dataclasses import replace

import pytest

from dagster_sagemaker import Clock
from sagemaker_double import requests
from tests.faults.conftest import KINDS, PACING, House, job_of, processing

pytestmark = pytest.mark.extended

THREE_TYPES = ("ml.m5.large", "ml.m6i.large", "ml.m7i.large")
SHORT = {"instance_types": THREE_TYPES[:2], "count": None}


@KINDS
def test_capacity_shortage_on_the_first_two_types(house: House, kind: str):
    """The run's log tells the type of each next attempt; the metadata, on which it ran and after how many."""
    house.double.fault("capacity", **SHORT)
    told = house.run(job_of(kind, "reports", instance_types=THREE_TYPES))
    assert told.lines == ["line 1", "line 2"]
    assert [job["status"] for job in house.jobs()] == ["Failed", "Failed", "Completed"]
    assert [job["starts"] for job in house.jobs()] == [0, 0, 1]
    for following in THREE_TYPES[1:]:
        assert (
            f"CapacityError: Unable to provision requested ML compute capacity. Please retry using a different ML instance type. The next attempt is on {following}"
            in told.log
        )
    assert told.metadata["sagemaker/instance_type"] == "ml.m7i.large"
    assert told.metadata["sagemaker/attempts"] == 3


@pytest.mark.parametrize("code", ["ResourceLimitExceeded", "InsufficientInstanceCapacity", "CapacityError"])
def test_capacity_shortage_told_by_create(house: House, code: str):
    """As above; no job exists but the one that ran, whatever code AWS gives its words."""
    house.double.fault("capacity", at_create=True, code=code, **SHORT)
    told = house.run(processing("reports", instance_types=THREE_TYPES))
    assert told.metadata["sagemaker/instance_type"] == "ml.m7i.large"
    assert house.job()["status"] == "Completed"
    assert "The next attempt is on ml.m7i.large" in told.log


def test_capacity_shortage_everywhere(house: House):
    """The failure says that no type had capacity, several times over; a later retry may find some."""
    house.double.fault("capacity", count=None)
    pacing = replace(PACING, capacity=0.1, capacity_rounds=2)
    told = house.run(processing("reports", instance_types=THREE_TYPES[:2]), pacing=pacing)
    assert "no capacity on any of its instance types, several times over" in told.description
    assert not told.final
    assert [job["starts"] for job in house.jobs()] == [0] * 4


@KINDS
def test_quota_0(house: House, kind: str):
    """The failure names the quota and where to ask for more; nothing was created."""
    house.double.set(quotas={"ml.m5.large": 0})
    told = house.run(job_of(kind, "reports"))
    assert told.final
    assert "the quota of ml.m5.large is 0, 1 needed: ask for more in Service Quotas" in told.description
    assert house.jobs() == []


def test_quota_0_of_the_first_type(house: House):
    """The run's log tells that the type has no quota, and with which the work goes on."""
    house.double.set(quotas={"ml.m5.large": 0})
    told = house.run(processing("reports", instance_types=THREE_TYPES))
    assert house.job()["instance_type"] == "ml.m6i.large"
    assert "the quota of ml.m5.large is 0, 1 needed" in told.log
    assert "going on with ml.m6i.large" in told.log


def test_quota_smaller_than_the_job(house: House):
    """Two instances never fit into a quota of one: as a quota of 0."""
    house.double.set(quotas={"ml.m5.large": 1})
    told = house.run(processing("reports", instance_count=2))
    assert told.final
    assert "the quota of ml.m5.large is 1, 2 needed" in told.description


@KINDS
def test_quota_reached(house: House, kind: str, aws):
    """The run's log says that others' jobs are waited for; the metadata, for how many seconds."""
    house.double.set(quotas={"ml.m5.large": 1})
    aws("sagemaker").create_processing_job(**requests.processing("another", "import time; time.sleep(60)"))

    def sleep(seconds: float) -> None:
        """The other job ends once ours was refused."""
        refused = house.double.calls()["errors"].get(f"sagemaker.Create{kind}Job")
        if refused and house.double.job("another")["status"] == "InProgress":
            house.double.stop("another")
        time.sleep(seconds)

    told = house.run(job_of(kind, "reports"), clock=Clock(sleep=sleep))
    assert told.lines == ["line 1", "line 2"]
    assert [job["status"] for job in house.jobs()] == ["Stopped", "Completed"]
    assert "Waiting for others to end their jobs" in told.log
    assert told.metadata["sagemaker/queue_seconds"] > 0
