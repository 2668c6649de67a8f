"""The check of a sandbox queues a run as the UI does. Here a real daemon takes it from the queue, on a state of the test."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner
from dagster import AssetKey, AssetMaterialization, DagsterInstance, DagsterRunStatus
from dagster._core.test_utils import create_run_for_test

from ruter_dagster.commands import sandbox_smoke
from ruter_dagster.commands.cli import main
from ruter_dagster.contracts.errors import PermanentFailure
from ruter_dagster.contracts.sandbox import Sandbox
from tests.recorded_runs import record

ROOT = Path(__file__).parents[2]
SANDBOX = Sandbox.of("s-seats-1a2b3c")
DAY = "2026-11-18"
WORKSPACE = (
    "load_from: [{python_module: {module_name: ruter_dagster.definitions, location_name: ruter_dagster}}]"
)
INSTANCE = """
telemetry: {enabled: false}
run_coordinator:
  module: dagster._core.run_coordinator
  class: QueuedRunCoordinator
  config: {dequeue_interval_seconds: 1}
"""


@pytest.fixture(scope="module")
def variables(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Variables of a sandbox's containers, with jobs as processes and the state in a folder."""
    folder = tmp_path_factory.mktemp("smoke")
    (folder / "dagster.yaml").write_text(INSTANCE)
    (folder / "workspace.yaml").write_text(WORKSPACE)
    # SQLite's tables exist before the daemon and the command open them at the same time.
    with DagsterInstance.from_config(str(folder)) as instance:
        instance.get_runs_count()
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("RUTER_", "DAGSTER_"))}
    return kept | {
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "DAGSTER_HOME": str(folder),
        "DAGSTER_WORKSPACE": WORKSPACE,
        "RUTER_ENV_FILE": "",
        "RUTER_ENVIRONMENT": SANDBOX.id,
        "RUTER_LAUNCHER": "local",
        "RUTER_STATE_DIR": str(folder / "state"),
        "RUTER_HISTORY_START": "2026-11-01",
    }


@pytest.fixture(scope="module")
def daemon(variables: dict[str, str]) -> Iterator[None]:
    command = ["dagster-daemon", "run", "-w", f"{variables['DAGSTER_HOME']}/workspace.yaml"]
    log = Path(variables["DAGSTER_HOME"], "daemon.log")
    with log.open("w") as output:
        process = subprocess.Popen(command, env=variables, cwd=ROOT, stdout=output, stderr=output)
        yield
        process.send_signal(signal.SIGTERM)
        process.wait(60)


def check(variables: dict[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["ruter-dagster", "sandbox-smoke", SANDBOX.id, "--inside", *arguments],
        env=variables,
        cwd=ROOT,
        text=True,
        capture_output=True,
        timeout=300,
    )


@pytest.mark.extended
@pytest.mark.usefixtures("daemon")
def test_run_goes_through_the_queue_and_writes_rows(variables: dict[str, str]) -> None:
    done = check(variables, "--date", DAY)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"of counts for {DAY}" in done.stdout
    assert "SUCCESS" in done.stdout
    rows = [line for line in done.stdout.splitlines() if line.endswith(" rows")]
    assert [line.partition(":")[0] for line in rows] == ["raw/stop_visits", "loads/stop_loads"]


def test_settings_of_another_environment_are_refused(variables: dict[str, str]) -> None:
    done = check(variables | {"RUTER_ENVIRONMENT": "dev"})
    assert done.returncode == 1
    assert "These are the settings of dev" in done.stderr


def test_reason_of_a_failed_run_is_shown(instance: DagsterInstance) -> None:
    run = create_run_for_test(instance, job_name="counts", status=DagsterRunStatus.STARTED)
    instance.report_run_failed(run, "Run failed: no instances of ml.m5.large")
    with pytest.raises(
        PermanentFailure, match=f"Run {run.run_id} of counts failed: Run failed: no instances"
    ):
        sandbox_smoke._wait(instance, run.run_id, print)


def test_run_that_does_not_end_is_an_error(
    instance: DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sandbox_smoke, "MAX_MINUTES", 0)
    run = create_run_for_test(instance, job_name="counts", status=DagsterRunStatus.STARTED)
    with pytest.raises(PermanentFailure, match="has not ended within 0 minutes: STARTED"):
        sandbox_smoke._wait(instance, run.run_id, print)


def test_table_without_rows_is_an_error(instance: DagsterInstance) -> None:
    rows = {"dagster/row_count": 7}
    run_id = record(
        instance,
        AssetMaterialization(AssetKey(["raw", "stop_visits"]), partition=DAY, metadata=rows),
        AssetMaterialization(
            AssetKey(["loads", "stop_loads"]), partition=DAY, metadata={"dagster/row_count": 0}
        ),
    )
    assert sandbox_smoke._rows(instance, "raw/stop_visits", run_id) == 7
    with pytest.raises(PermanentFailure, match="wrote no rows of loads/stop_loads"):
        sandbox_smoke._rows(instance, "loads/stop_loads", run_id)


def test_task_in_the_sandbox_gets_the_check(monkeypatch: pytest.MonkeyPatch) -> None:
    commands: list[list[str]] = []
    monkeypatch.setattr(
        sandbox_smoke, "run_in_sandbox", lambda _, command, *__: commands.append(command) or 0
    )
    done = CliRunner().invoke(main, ["sandbox-smoke", SANDBOX.id, "--date", DAY])
    assert done.exit_code == 0, done.output
    assert commands == [["ruter-dagster", "sandbox-smoke", SANDBOX.id, "--inside", "--date", DAY]]
