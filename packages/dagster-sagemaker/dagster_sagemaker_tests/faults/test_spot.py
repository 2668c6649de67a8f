"""Spot instances: taken back, or never given."""

from __future__ import annotations

from typing import Any

import pytest

from dagster_sagemaker_tests.faults.conftest import JobRunner, training

pytestmark = [pytest.mark.extended, pytest.mark.usefixtures("pause")]
SPOT: dict[str, Any] = {"spot": True, "checkpoint_s3": "s3://bucket/checkpoints/model"}


@pytest.fixture
def pause(runner: JobRunner) -> None:
    """AWS takes minutes to give another instance; what tells its container from the first one, S3 dates to the second."""
    runner.double.set(interrupted=1.1)


def test_spot_interruption_with_resume_from_checkpoint(runner: JobRunner):
    """The run's log tells the interruption and the new start; lines and reports come once, the latter of the second start."""
    runner.double.fault("spot_interruption", on_log="epoch 2")
    result = runner.run(training("trains", 4, 2, **SPOT))
    assert (result.metadata["from_epoch"], result.metadata["epochs"]) == (2, 4)
    assert result.lines == ["epoch 1", "epoch 2", "epoch 3", "epoch 4"]
    assert (runner.job()["status"], runner.job()["starts"]) == ("Completed", 2)
    assert "Interrupted" in result.log
    assert (result.log.count("from epoch 0"), result.log.count("from epoch 2")) == (1, 1)
    assert result.metadata["sagemaker/spot"] is True


def test_spot_interruption_twice(runner: JobRunner):
    """As above, whoever is interrupted again."""
    runner.double.fault("spot_interruption", on_log="epoch 1")
    runner.double.fault("spot_interruption", on_log="epoch 3")
    result = runner.run(training("trains", 4, 1, 3, **SPOT))
    assert result.metadata["from_epoch"] == 3
    assert result.lines == ["epoch 1", "epoch 2", "epoch 3", "epoch 4"]
    assert runner.job()["starts"] == 3


def test_spot_wait_exceeded_runs_on_demand(runner: JobRunner):
    """The run's log tells that no spot instance came, and that the next attempt is on demand."""
    runner.double.fault("spot_wait", seconds=0.1)
    result = runner.run(training("trains", 1, **SPOT))
    first, second = runner.jobs()
    assert (first["status"], first["secondary"], first["starts"]) == ("Stopped", "MaxWaitTimeExceeded", 0)
    assert (second["status"], second["starts"]) == ("Completed", 1)
    assert [job["describe"]["EnableManagedSpotTraining"] for job in (first, second)] == [True, False]
    assert "The next attempt is on demand" in result.log
    assert (result.lines, result.metadata.get("sagemaker/spot")) == (["epoch 1"], None)


def test_on_demand_attempt_after_spot_resumes_from_the_checkpoint(runner: JobRunner):
    """The attempt on demand finds what the spot attempt had saved."""
    runner.double.fault("spot_interruption", on_log="epoch 2")
    runner.double.fault("spot_wait", seconds=0.1, skip=1)
    result = runner.run(training("trains", 3, 2, **SPOT))
    assert result.metadata["from_epoch"] == 2
    assert result.lines == ["epoch 1", "epoch 2", "epoch 3"]
    assert [job["status"] for job in runner.jobs()] == ["Stopped", "Completed"]
