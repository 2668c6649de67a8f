"""Jobs that somebody or something stops: time, a person in the console, the run's own cancelling; at once or slowly."""

from __future__ import annotations

import pytest

from tests.faults.conftest import KINDS, House, job_of

pytestmark = pytest.mark.extended


@KINDS
def test_timeout(house: House, kind: str):
    """The failure names the limit that was over."""
    told = house.run(job_of(kind, "reports", 3, 60, max_runtime_seconds=1))
    assert told.final
    assert "was ended after max_runtime_seconds=1" in told.description
    assert (told.lines, house.job()["status"]) == (["line 1"], "Stopped")


@KINDS
def test_stopped_by_someone_in_the_console(house: House, kind: str):
    """The failure says that it was not this run who stopped the job, and where AWS keeps who did; no retry undoes it."""
    house.double.fault("console_stop", on_log="line 1")
    told = house.run(job_of(kind, "reports", 3, 60))
    assert told.final
    assert "was stopped, and not by this run" in told.description
    assert "CloudTrail" in told.description
    assert (told.lines, house.job()["status"]) == (["line 1"], "Stopped")
    assert f"sagemaker.Stop{kind}Job" not in house.double.calls()["total"]


@KINDS
def test_stopped_by_someone_while_starting(house: House, kind: str):
    """As above; no container ran."""
    house.double.fault("console_stop", starting=True, after=0.1)
    told = house.run(job_of(kind, "reports"))
    assert told.final
    assert "not by this run" in told.description
    assert (house.job()["status"], house.job()["starts"]) == ("Stopped", 0)


@KINDS
def test_slow_stop(house: House, kind: str):
    """While a job is stopping it is waited for, and the run's log says that it is stopping."""
    house.double.fault("console_stop", on_log="line 1")
    house.double.fault("slow_stop", seconds=2.0)
    told = house.run(job_of(kind, "reports", 3, 60))
    assert "not by this run" in told.description
    assert house.job()["status"] == "Stopped"
    assert "Stopping" in told.log


@KINDS
def test_slow_stop_of_a_cancelled_run(house: House, kind: str):
    """The run ends at once and says that it stops the job; a run from failure waits for that, then launches anew."""
    house.double.fault("slow_stop", seconds=2.0)
    told = house.interrupted_when(house.running, job_of(kind, "reports", 3, 60), cancelled=True)
    (stopping,) = house.jobs()
    assert stopping["status"] == "Stopping"
    assert f"the run is being cancelled: stopping {stopping['name']}" in told.log
    again = house.resumed(told, job_of(kind, "reports"))
    first, second = house.jobs()
    assert (first["status"], second["status"]) == ("Stopped", "Completed")
    assert second["describe"]["CreationTime"] >= first["describe"][f"{kind}EndTime"]
    assert again.metadata["rows"] == 3
    assert "of an earlier execution ended (stopped): launched anew" in again.log


@KINDS
def test_stop_of_a_cancelled_run_is_throttled(house: House, kind: str):
    """Stop is repeated until AWS takes it."""
    house.double.fault("throttle", operations="Stop*", count=3)
    house.interrupted_when(house.running, job_of(kind, "reports", 3, 60), cancelled=True)
    assert house.double.wait_for(house.job()["name"])["status"] == "Stopped"
