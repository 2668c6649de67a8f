"""`ruter-dagster clone` starts a state from another one, and `compare` then reads the pinned snapshots of that state."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from ruter_dagster.commands.cli import main
from ruter_dagster.commands.reforecast import REFORECAST_FILE
from ruter_dagster.config.settings import load_settings
from ruter_dagster.contracts.errors import PermanentFailure
from ruter_dagster.contracts.tables import LOAD_FORECASTS
from ruter_dagster.storage.artifacts import ArtifactStore
from ruter_dagster.storage.configured_tables import open_tables
from ruter_dagster.storage.tables import TableStore
from tests.commands.compared_states import (
    DEPARTURES,
    ISSUE_DATE,
    ISSUE_DATES,
    NEXT,
    forecasts,
    write,
    write_truth,
)

pytestmark = pytest.mark.filterwarnings("ignore:Delete operation did not match any records")
ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def _own_state(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("RUTER_ENV_FILE", "")
    monkeypatch.setenv("RUTER_STATE_DIR", str(tmp_path / "try"))
    for name in ("DAGSTER_HOME", "CI_JOB_URL", "RUTER_ENVIRONMENT", "RUTER_LAKE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(ROOT)


@pytest.fixture
def production(_own_state: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> TableStore:
    """A state with forecasts of two issue dates and some loads."""
    with monkeypatch.context() as variables:
        variables.setenv("RUTER_STATE_DIR", str(tmp_path / "production"))
        store = open_tables(load_settings())
    write(store, forecasts())
    write_truth(store, [ISSUE_DATE, NEXT])
    return store


def run(*arguments: str, exit_code: int = 0) -> str:
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == exit_code, result.output
    return result.output if exit_code else result.stdout


def clone(tmp_path: Path, *options: str, exit_code: int = 0) -> str:
    return run("clone", "--from", str(tmp_path / "production"), *options, exit_code=exit_code)


def own() -> TableStore:
    return open_tables(load_settings())


def record_reforecast(*issue_dates: str, cost: float | None, original: int | None = None) -> None:
    """Records the present forecasts of these dates as a reforecast on another machine."""
    settings, store = load_settings(), own()
    versions = {str(day): version for day, version in store.versions(LOAD_FORECASTS, ISSUE_DATES).items()}
    values = {
        "original": original or int(store.load(LOAD_FORECASTS).properties["clone.snapshot-id"]),  # type: ignore[union-attr]
        "runs": ["run-1"],
        "versions": {day: versions[day] for day in issue_dates},
        "jobs": 2,
        "cost": cost,
    }
    ArtifactStore.at(settings.artifacts_location).put(REFORECAST_FILE, json.dumps(values).encode())


def test_clone_is_described(production: TableStore, tmp_path: Path) -> None:
    printed = clone(tmp_path)
    assert "Cloned 3 tables" in printed
    assert str(production.current_snapshot(LOAD_FORECASTS)) in printed


def test_commit_in_production_during_the_report_changes_nothing(
    production: TableStore, tmp_path: Path
) -> None:
    pinned = production.current_snapshot(LOAD_FORECASTS)
    clone(tmp_path)
    write(own(), forecasts(1.1))
    before = run("compare", "--with", str(tmp_path / "production"))
    write(production, forecasts(9.0))
    write_truth(production, [ISSUE_DATE, NEXT], factor=0.5, verdict="act")
    assert run("compare", "--with", str(tmp_path / "production")) == before
    assert f"| {own().current_snapshot(LOAD_FORECASTS)} | {pinned} |" in before
    assert "**local is less accurate: WAPE 0.1000, production/demo 0.0000.**" in before


def test_clone_is_compared_with_its_source_by_default(production: TableStore, tmp_path: Path) -> None:
    clone(tmp_path)
    note = run("compare")
    assert "## Forecasts of local compared with production/demo" in note
    assert "All forecasts are equal." in note


def test_state_that_is_no_clone_has_no_default(production: TableStore) -> None:
    write(own(), forecasts())
    assert "was not cloned from another one" in run("compare", exit_code=1)


def test_only_dates_that_were_forecast_again_are_compared(production: TableStore, tmp_path: Path) -> None:
    clone(tmp_path)
    write(own(), forecasts(1.1, [NEXT]))
    record_reforecast(str(NEXT), cost=None)
    assert f"Issue dates {NEXT}: both have forecasts of {DEPARTURES:,} departures" in run("compare")


def test_record_of_an_earlier_clone_is_ignored(production: TableStore, tmp_path: Path) -> None:
    clone(tmp_path)
    record_reforecast(str(NEXT), cost=None, original=1)
    assert f"Issue dates {ISSUE_DATE} to {NEXT}" in run("compare")


def test_cost_is_that_of_the_recorded_reforecast(production: TableStore, tmp_path: Path) -> None:
    clone(tmp_path)
    record_reforecast(str(ISSUE_DATE), str(NEXT), cost=0.5)
    assert "- local: 0.50 USD (2 jobs, 1 run)" in run("compare")
    write(own(), forecasts(1.3))
    assert "- local: not recorded here" in run("compare"), "the forecasts are others now"


def test_reforecast_needs_a_clone(production: TableStore) -> None:
    write(own(), forecasts())
    assert "Run `" in run("reforecast", exit_code=1)


def test_refused_access_has_an_exit_code_of_its_own(
    production: TableStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    warehouse = tmp_path / "production" / "demo" / "warehouse"
    with monkeypatch.context() as changes:
        changes.setattr(TableStore, "load", refuse)
        assert f"{warehouse.parent} cannot be read: AccessDenied" in clone(tmp_path, "--replace", exit_code=3)


def refuse(*_: Any) -> None:
    raise PermanentFailure("AccessDenied")


def test_own_tables_are_kept_without_replace(production: TableStore, tmp_path: Path) -> None:
    write(own(), forecasts(1.1))
    message = clone(tmp_path, exit_code=1)
    assert "has tables of its own, for instance forecasts.load_forecasts" in message
    clone(tmp_path, "--replace")
    assert own().versions(LOAD_FORECASTS, ISSUE_DATES) == production.versions(LOAD_FORECASTS, ISSUE_DATES)
    clone(tmp_path)


def test_state_is_not_cloned_into_itself(
    production: TableStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RUTER_STATE_DIR", str(tmp_path / "production"))
    assert "is this state itself" in clone(tmp_path, "--replace", exit_code=1)
    assert production.dates(LOAD_FORECASTS) == list(ISSUE_DATES)


@pytest.mark.parametrize("environment", ["dev", "test", "stage", "prod"])
def test_shared_environment_keeps_its_tables(
    production: TableStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, environment: str
) -> None:
    monkeypatch.setenv("RUTER_ENVIRONMENT", environment)
    monkeypatch.setenv("RUTER_LAUNCHER", "local")
    message = clone(tmp_path, "--replace", exit_code=1)
    assert f"The environment {environment} keeps its own tables" in message


def test_reforecast_needs_no_package_of_the_jobs() -> None:
    """Dagster's container on ECS has no pyiceberg."""
    code = "import sys; sys.modules.update(pyiceberg=None, pyarrow=None); import ruter_dagster.commands.reforecast"
    subprocess.run([sys.executable, "-c", code], check=True)
