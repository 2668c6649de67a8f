"""What jobs report and print: not to the end, not readable, in several streams."""

from __future__ import annotations

import textwrap

import pytest

from dagster_sagemaker_tests.faults.conftest import KINDS, JobRunner, job_of, processing

pytestmark = pytest.mark.extended

NO_UTF_8 = b'{"method": "log", "params": {"message": "bl\xe5", "level": "INFO"}}'


@pytest.mark.parametrize("job", ["never_opens", "never_closes"])
@KINDS
def test_job_without_closed(runner: JobRunner, kind: str, job: str):
    """The failure says that the job completed but never said `closed`, where its messages are, and how to write them."""
    result = runner.run(job_of(kind, job))
    assert result.final
    assert "Its messages are expected at s3://bucket/artifacts/pipes/" in result.description
    assert "it sent no `closed` message" in result.description
    assert (result.lines, runner.job()["status"]) == (["line 1"], "Completed")


def test_malformed_message(runner: JobRunner):
    """The failure quotes the message: a success without its report would be worse."""
    result = runner.run(processing("speaks", *textwrap.wrap(NO_UTF_8.hex(), 200)))
    assert result.final
    assert "completed, but 1 of its messages cannot be read" in result.description
    assert NO_UTF_8.decode(errors="replace")[:20] in result.description
    assert runner.job()["status"] == "Completed"


def test_logs_in_three_streams(runner: JobRunner):
    """Each line stands in the compute log once, behind its host, each host's in their order, the late ones too."""
    runner.double.fault("log_lag", seconds=0.5, skip=1)
    result = runner.run(processing("counts_on_each_host", 40, instance_count=3))
    assert result.metadata["rows"] == 1
    assert len(result.lines) == 120
    for host in ("algo-1", "algo-2", "algo-3"):
        mine = [line for line in result.lines if line.startswith(f"[{host}]")]
        assert mine == [f"[{host}] {host} line {number}" for number in range(40)]
    assert len(runner.job()["pids"]) == 3
