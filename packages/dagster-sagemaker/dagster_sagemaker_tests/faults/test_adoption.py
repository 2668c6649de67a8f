"""A run that goes on with work that an older image had begun: nothing of that image's is taken for the new one's."""

from __future__ import annotations

from typing import Any

import pytest

from dagster_sagemaker_tests.faults.conftest import GIVEN, KINDS, JobRunner, job_of

pytestmark = pytest.mark.extended

NEW_IMAGE = str(GIVEN["image"]).replace("a" * 64, "b" * 64)


def end_of(job: dict[str, Any]) -> Any:
    return job["describe"][f"{job['kind']}EndTime"]


@KINDS
def test_completed_job_of_an_older_image(runner: JobRunner, kind: str):
    """Its worker was ended and another image deployed: the run's log says that the job is launched anew, and why."""
    left = runner.interrupted_when(runner.running, job_of(kind, "reports"), cancelled=False)
    runner.double.wait(lambda: runner.job()["status"] == "Completed")
    result = runner.resumed(left, job_of(kind, "reports", image=NEW_IMAGE))
    assert result.metadata["sagemaker/image"] == NEW_IMAGE
    old, new = runner.jobs()
    assert [job["status"] for job in (old, new)] == ["Completed", "Completed"]
    said = f"{old['name']} from an earlier execution ended (completed): starting a new job. It differs from the job to run now: image."
    assert result.log.count(said) == 1
    assert (result.lines, result.log.count("counting")) == (["line 1", "line 2"], 1)


@KINDS
def test_running_job_of_an_older_image(runner: JobRunner, kind: str):
    """It is stopped, and the next attempt follows once it is over: both would write the same table."""
    runner.double.fault("slow_stop", seconds=1.0)
    left = runner.interrupted_when(runner.running, job_of(kind, "reports", 3, 120), cancelled=False)
    result = runner.resumed(left, job_of(kind, "reports", image=NEW_IMAGE))
    assert result.metadata["sagemaker/image"] == NEW_IMAGE
    old, new = runner.jobs()
    assert [job["status"] for job in (old, new)] == ["Stopped", "Completed"]
    assert new["describe"]["CreationTime"] >= end_of(old)
    said = f"{old['name']} differs from the job to run now (image, command): stopping it. A new job starts after its end"
    assert said in result.log
    assert (result.lines, result.log.count("counting")) == (["line 1", "line 2"], 1)
