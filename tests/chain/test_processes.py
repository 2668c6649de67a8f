"""How many processes a run starts: one a job, and one for all quality reports together; counted, not timed."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest

from ruter_dagster.resources import local
from tests.chain.local_chain import Chain
from tests.chain.tides_days import DAY, FORMER, LAST, NEW

pytestmark = pytest.mark.extended


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What was started of this project's modules: module and job."""
    commands: list[str] = []

    class Noting(subprocess.Popen):
        def __init__(self, command: Any, **options: Any) -> None:
            if list(command[:2]) == [sys.executable, "-m"] and command[2].startswith("ruter_dagster"):
                commands.append(" ".join(command[2:4]))
            super().__init__(command, **options)

    monkeypatch.setattr(subprocess, "Popen", Noting)
    return commands


def test_quality_reports_of_two_runs_share_one_process(chain: Chain, started: list[str]) -> None:
    assert chain.run("counts", DAY).succeeded
    assert chain.run("plan", NEW).succeeded
    servers = [each for each in started if each.startswith("ruter_dagster.jobs.shared_process")]
    jobs = [each for each in started if each not in servers]
    assert len(servers) <= 1, (
        "one process for this command's reports; an earlier test of the session may have started it"
    )
    assert jobs == [f"ruter_dagster.jobs {job}" for job in ("snapshot", "balance", "snapshot", "features")]


def test_range_is_one_job_per_step(chain: Chain, started: list[str]) -> None:
    assert chain.run("plan", FORMER, LAST).succeeded
    assert [each for each in started if "server" not in each] == [
        "ruter_dagster.jobs snapshot",
        "ruter_dagster.jobs features",
    ]


def test_job_without_report_has_failed(chain: Chain, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local, "_run", lambda job, environment: 0)
    outcome = chain.run("counts", DAY, assets=("loads/stop_loads",))
    assert not outcome.succeeded
    assert outcome.retried
    assert "Job balance succeeded, but its report is incomplete: " in outcome.message
