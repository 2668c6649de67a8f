"""Jobs that somebody or something stops: time, a person in the console, the run's own cancelling; at once or slowly."""

from __future__ import annotations

import pytest

from dagster_sagemaker_tests.faults.conftest import KINDS, JobRunner, job_of

pytestmark = pytest.mark.extended


@KINDS
def test_timeout(runner: JobRunner, kind: str):
    """The failure names the limit that was over."""
    result = runner.run(job_of(kind, "reports", 3, 60, max_runtime_seconds=1))
    assert result.final
    assert "exceeded max_runtime_seconds=1" in result.description
    assert (result.lines, runner.job()["status"]) == (["line 1"], "Stopped")


@KINDS
def test_job_stopped_in_the_console(runner: JobRunner, kind: str):
    """The failure says that it was not this run who stopped the job, and where AWS keeps who did; no retry undoes it."""
    runner.double.fault("console_stop", on_log="line 1")
    result = runner.run(job_of(kind, "reports", 3, 60))
    assert result.final
    assert "was stopped, but not by this run" in result.description
    assert "CloudTrail" in result.description
    assert (result.lines, runner.job()["status"]) == (["line 1"], "Stopped")
    assert f"sagemaker.Stop{kind}Job" not in runner.double.calls()["total"]


@KINDS
def test_slow_stop(runner: JobRunner, kind: str):
    """While a job is stopping it is waited for, and the run's log says that it is stopping."""
    runner.double.fault("console_stop", on_log="line 1")
    runner.double.fault("slow_stop", seconds=2.0)
    result = runner.run(job_of(kind, "reports", 3, 60))
    assert "not by this run" in result.description
    assert runner.job()["status"] == "Stopped"
    assert "Stopping" in result.log


@KINDS
def test_slow_stop_of_a_cancelled_run(runner: JobRunner, kind: str):
    """The run ends at once and says that it stops the job; a run from failure waits for that, then launches anew."""
    runner.double.fault("slow_stop", seconds=2.0)
    result = runner.interrupted_when(runner.running, job_of(kind, "reports", 3, 60), cancelled=True)
    (stopping,) = runner.jobs()
    assert stopping["status"] == "Stopping"
    assert f"the run is being cancelled: stopping {stopping['name']}" in result.log
    again = runner.resumed(result, job_of(kind, "reports"))
    first, second = runner.jobs()
    assert (first["status"], second["status"]) == ("Stopped", "Completed")
    assert second["describe"]["CreationTime"] >= first["describe"][f"{kind}EndTime"]
    assert again.metadata["rows"] == 3
    assert "from an earlier execution ended (stopped): starting a new job" in again.log
