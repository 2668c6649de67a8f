"""A run of one step forks its process, where that is safe; every other has a fork server's."""

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
    """The run's process, what each asset told of the one that started it, and what was printed."""
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
        printed, _ = run.communicate(timeout=300)
    with DagsterInstance.get() as instance:
        (record,) = instance.get_runs()
        events = instance.all_logs(record.run_id, of_type=DagsterEventType.ASSET_MATERIALIZATION)
    made = [event.asset_materialization for event in events]
    told = [{name: int(str(value.value)) for name, value in each.metadata.items()} for each in made if each]
    return run.pid, told, printed


def test_a_run_of_one_step_forks_it(home: Path) -> None:
    run, told, printed = materialize("one")
    assert told == [{"parent": run, "threads": 1}], printed


def test_a_step_that_is_retried_is_forked_from_one_thread_again(home: Path) -> None:
    run, told, printed = materialize("at_second_go")
    assert told == [{"parent": run, "threads": 1}], printed


def test_a_process_with_more_threads_is_not_forked(home: Path) -> None:
    run, told, printed = materialize("one", WITH_A_THREAD="1")
    assert len(told) == 1 and told[0]["parent"] != run, printed


def test_a_run_of_more_steps_is_not_forked(home: Path) -> None:
    run, told, printed = materialize("one", "another")
    assert len(told) == 2 and run not in {each["parent"] for each in told}, printed


def test_a_forked_step_that_dies_fails_the_run_and_is_told(home: Path) -> None:
    _, told, printed = materialize("dying")
    assert not told
    assert "process for step dying" in printed and "17" in printed
