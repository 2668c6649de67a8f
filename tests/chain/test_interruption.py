"""Whatever ends a command ends its run, its jobs and its broker, within seconds; nothing half-written stays, nothing is retried."""

from __future__ import annotations

import signal
from datetime import date
from pathlib import Path

import pytest
from dagster import DagsterEventType, DagsterRunStatus

from ruter_dagster.config.settings import Settings, load_settings
from ruter_dagster.contracts.tables import PLANNED_DEPARTURES, STOP_VISITS
from ruter_dagster.orchestration.instance import open_instance
from ruter_dagster.storage.catalog import local_catalog
from ruter_dagster.storage.tables import TableStore
from tests.chain.local_chain import foreign_variables
from tests.chain.small_demo import environment, materialize, processes_with, start, until

pytestmark = pytest.mark.extended
REPOSITORY = Path(__file__).parents[2]
DEMO = ("ruter-dagster", "demo")
CLI = materialize("raw/stop_visits", day=date(2026, 6, 1), last=date(2026, 10, 31))


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    for name in foreign_variables():
        monkeypatch.delenv(name)
    for name, value in environment(tmp_path).items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(REPOSITORY)
    return load_settings(_env_file=None)


@pytest.mark.parametrize(
    ("command", "end"),
    [(command, end) for command in (DEMO, CLI) for end in (signal.SIGINT, signal.SIGTERM, signal.SIGKILL)],
    ids=[
        f"{command} is {end}"
        for command in ("the demo", "materialize")
        for end in ("interrupted", "ended", "killed")
    ],
)
def test_processes_end_with_their_command(
    settings: Settings, command: tuple[str, ...], end: signal.Signals
) -> None:
    job = f"RUTER_CONTAINER_BASE={settings.source_dir}/jobs/"
    with start(*command) as process:
        until(lambda: processes_with(job), "the first job")
        process.send_signal(end)
        printed, _ = process.communicate(timeout=180)
    assert process.returncode != 0
    if command == DEMO and end != signal.SIGKILL:
        assert "No run is complete; partial output was discarded" in " ".join(printed.split())
        assert "Run the same command to continue" in " ".join(printed.split())
    state = f"RUTER_STATE_DIR={settings.state_dir}"
    until(lambda: not processes_with(state), "the end of what it started")

    with open_instance() as instance:
        (run,) = instance.get_runs()
        retried = instance.get_records_for_run(run.run_id, of_type=DagsterEventType.STEP_UP_FOR_RETRY)
    if end == signal.SIGKILL and command == CLI:
        assert run.status == DagsterRunStatus.STARTED, "nobody is left to say so: the daemon's monitor would"
    else:
        assert run.status in (DagsterRunStatus.FAILURE, DagsterRunStatus.CANCELED)
    assert not retried.records
    store = TableStore(local_catalog(settings.source_dir / "warehouse"))
    assert all(store.snapshot(table).dates() == [] for table in (PLANNED_DEPARTURES, STOP_VISITS))
