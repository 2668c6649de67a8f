"""Commands that end early: a command that a person interrupts stops its job, a killed one leaves it to a retry."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import pytest
from dagster import AssetKey, AssetRecordsFilter

from ruter_dagster.orchestration.instance import open_instance
from ruter_dagster.publishing.broker import Broker
from sagemaker_double.control import Remote
from tests.chain.local_chain import foreign_variables
from tests.chain.small_demo import start, until
from tests.faults.dates_jobs import REPOSITORY, DatesJobs

pytestmark = pytest.mark.extended
FIRST_ASSET = "raw-planned-departures"
"""The first asset that the demo materialises."""


@pytest.fixture
def work(
    sagemaker_double: Remote,
    aws: Any,
    kafka_broker: Broker,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> DatesJobs:
    for name in foreign_variables():
        monkeypatch.delenv(name)
    aws("s3").create_bucket(Bucket="lake", CreateBucketConfiguration={"LocationConstraint": "eu-west-1"})
    work = DatesJobs(tmp_path)
    variables = {
        "RUTER_JOB_DAYS": "400",
        "RUTER_ISSUE_DATE": "2026-11-20",
        "KAFKA_BOOTSTRAP_SERVERS": kafka_broker.bootstrap_servers,
    }
    for name, value in (work.variables() | variables).items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(REPOSITORY)
    return work


def running(double: Remote) -> bool:
    return any(job["pids"] for job in double.jobs())


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_command_stops_its_job(
    sagemaker_double: Remote, work: DatesJobs, number: signal.Signals
) -> None:
    work.do(seconds=60)
    with start("ruter-dagster", "demo") as process:
        until(lambda: running(sagemaker_double), "the first job")
        process.send_signal(number)
        printed, _ = process.communicate(timeout=180)
    assert "Interrupted" in printed
    (job,) = sagemaker_double.jobs()
    assert FIRST_ASSET in job["name"]
    assert sagemaker_double.wait_for(job["name"])["status"] == "Stopped"


def test_killed_command_leaves_its_job_to_a_retry(sagemaker_double: Remote, work: DatesJobs) -> None:
    work.do(seconds=8)
    with start("ruter-dagster", "demo") as process:
        until(lambda: running(sagemaker_double), "the first job")
        os.kill(process.pid, signal.SIGKILL)
        process.communicate(timeout=180)
    with open_instance() as instance:
        (made,) = instance.get_runs()
        until(lambda: instance.get_runs()[0].is_finished, "the end of its run")
        # The quality report that follows is no job of these containers: the retry ends there.
        with start("ruter-dagster", "retry", made.run_id) as process:
            process.communicate(timeout=180)
        key = AssetKey(["raw", "planned_departures"])
        wanted = AssetRecordsFilter(key, asset_partitions=["2026-11-20"])
        assert len(instance.fetch_materializations(wanted, limit=9).records) == 1
    jobs = [job for job in sagemaker_double.jobs() if FIRST_ASSET in job["name"]]
    assert [job["status"] for job in jobs] == ["Completed"]
