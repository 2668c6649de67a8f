"""Runs of the same partition at once."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

from dagster_sagemaker_tests.faults.conftest import JobRunner, RunResult, processing, side_by_side

pytestmark = pytest.mark.extended


def at_once(runner: JobRunner, aws: Any, runs: list[Callable[[], RunResult]]) -> list[tuple[int, str]]:
    """Each run in a process of its own: rows and the job that its materialisation tells. Jobs end once all runs watch one."""

    def rows_and_job(run: Callable[[], RunResult]) -> tuple[int, str]:
        metadata = run().metadata
        return metadata["rows"], metadata["sagemaker/job_arn"]

    def watching() -> int:
        logs = (runner.instance.all_logs(run.run_id) for run in runner.instance.get_runs())
        return sum(any("[sagemaker] Processing job" in str(entry) for entry in log) for log in logs)

    def let_jobs_end() -> None:
        runner.double.wait(lambda: watching() == before + len(runs), seconds=60)
        aws("s3").put_object(Bucket="bucket", Key="go")

    before = watching()
    return side_by_side([partial(rows_and_job, run) for run in runs], let_jobs_end)


def test_two_runs_of_the_same_partition_at_once(runner: JobRunner, aws):
    """Two people asked for it, two jobs do it: each run's metadata tells its own job."""
    results = at_once(runner, aws, [partial(runner.run, processing("reports_when_signalled"))] * 2)
    assert [rows for rows, _ in results] == [3, 3]
    assert {arn for _, arn in results} == {job["describe"]["ProcessingJobArn"] for job in runner.jobs()}
    assert [job["starts"] for job in runner.jobs()] == [1, 1]


@pytest.mark.parametrize("left", ["before Create", "running"])
def test_two_runs_from_the_same_failure_at_once(runner: JobRunner, aws, left: str):
    """Both go on with the same unfinished work: they share its one job, and both tell it."""
    job = processing("reports_when_signalled")
    if left == "running":
        parent = runner.interrupted_when(runner.running, job, cancelled=False)
        assert "left running, to be adopted by a retry" in parent.log
    else:
        runner.double.fault("error", operations="Create*", code="AccessDeniedException", status=403)
        parent = runner.run(job)
        assert runner.jobs() == []
        runner.double.fault("slow", operations="Create*", seconds=0.3, count=2)
    results = at_once(runner, aws, [partial(runner.resumed, parent, job)] * 2)
    assert results == [(3, runner.job()["describe"]["ProcessingJobArn"])] * 2
    assert runner.job()["starts"] == 1
