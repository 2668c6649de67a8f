"""Runs of the same partition at once."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

from tests.faults.conftest import House, Told, processing, side_by_side

pytestmark = pytest.mark.extended


def at_once(house: House, aws: Any, runs: list[Callable[[], Told]]) -> list[tuple[int, str]]:
    """Each run in a process of its own: rows and the job that its materialisation tells. Jobs end once all runs watch one."""

    def told(run: Callable[[], Told]) -> tuple[int, str]:
        metadata = run().metadata
        return metadata["rows"], metadata["sagemaker/job_arn"]

    def watching() -> int:
        logs = (house.instance.all_logs(run.run_id) for run in house.instance.get_runs())
        return sum(any("[sagemaker] Processing job" in str(entry) for entry in log) for log in logs)

    def let_jobs_end() -> None:
        house.double.wait(lambda: watching() == before + len(runs), seconds=60)
        aws("s3").put_object(Bucket="bucket", Key="go")

    before = watching()
    return side_by_side([partial(told, run) for run in runs], let_jobs_end)


def test_two_runs_of_the_same_partition_at_once(house: House, aws):
    """Two people asked for it, two jobs do it: each run's metadata tells its own job."""
    told = at_once(house, aws, [partial(house.run, processing("reports_once_told"))] * 2)
    assert [rows for rows, _ in told] == [3, 3]
    assert {arn for _, arn in told} == {job["describe"]["ProcessingJobArn"] for job in house.jobs()}
    assert [job["starts"] for job in house.jobs()] == [1, 1]


@pytest.mark.parametrize("left", ["before Create", "running"])
def test_two_runs_from_the_same_failure_at_once(house: House, aws, left: str):
    """Both go on with the same unfinished work: they share its one job, and both tell it."""
    job = processing("reports_once_told")
    if left == "running":
        parent = house.interrupted_when(house.running, job, cancelled=False)
        assert "left running, to be adopted by a retry" in parent.log
    else:
        house.double.fault("error", operations="Create*", code="AccessDeniedException", status=403)
        parent = house.run(job)
        assert house.jobs() == []
        house.double.fault("slow", operations="Create*", seconds=0.3, count=2)
    told = at_once(house, aws, [partial(house.resumed, parent, job)] * 2)
    assert told == [(3, house.job()["describe"]["ProcessingJobArn"])] * 2
    assert house.job()["starts"] == 1
