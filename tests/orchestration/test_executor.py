"""A run of one step forks its process if that is safe. Other runs use a fork server."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from dagster import DagsterEventType, DagsterInstance

pytestmark = pytest.mark.extended
REPOSITORY = Path(__file__).parents[2]


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "dagster.yaml").touch()
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path))
    return tmp_path


def materialize(*assets: str, **variables: str) -> tuple[int, list[dict[str, int]], str]:
    """Materialises the assets. Returns the run's process id, what each asset reported of its parent, and the output."""
    command = (
        "-m",
        "dagster",
        "asset",
        "materialize",
        "-m",
        "tests.step_processes",
        "--select",
        ",".join(assets),
    )
    with subprocess.Popen(
        [sys.executable, *command],
        cwd=REPOSITORY,
        env={**os.environ, **variables},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as run:
        output, _ = run.communicate(timeout=300)
    with DagsterInstance.get() as instance:
        (record,) = instance.get_runs()
        events = instance.all_logs(record.run_id, of_type=DagsterEventType.ASSET_MATERIALIZATION)
    materialisations = [event.asset_materialization for event in events]
    reports = [
        {name: int(str(value.value)) for name, value in each.metadata.items()}
        for each in materialisations
        if each
    ]
    return run.pid, reports, output


def test_run_of_one_step_forks(home: Path) -> None:
    run, reports, output = materialize("one")
    assert reports == [{"parent": run, "threads": 1}], output


def test_retried_step_forks_from_one_thread(home: Path) -> None:
    run, reports, output = materialize("at_second_go")
    assert reports == [{"parent": run, "threads": 1}], output


def test_process_with_several_threads_does_not_fork(home: Path) -> None:
    run, reports, output = materialize("one", WITH_A_THREAD="1")
    assert len(reports) == 1 and reports[0]["parent"] != run, output


def test_run_of_several_steps_does_not_fork(home: Path) -> None:
    run, reports, output = materialize("one", "another")
    assert len(reports) == 2 and run not in {each["parent"] for each in reports}, output


def test_dead_forked_step_fails_run_with_message(home: Path) -> None:
    _, reports, output = materialize("dying")
    assert not reports
    assert "process for step dying" in output and "17" in output
