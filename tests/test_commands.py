"""Commands that cannot do what they are asked for say so before anything starts."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from ruter_dagster.cli import main


@pytest.fixture(autouse=True)
def _a_folder_of_its_own(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("RUTER_ENV_FILE", "")
    monkeypatch.setenv("RUTER_STATE_DIR", str(tmp_path / "state"))
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def taken_port() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


def refused(*command: str) -> Result:
    result = CliRunner().invoke(main, command)
    assert result.exit_code != 0
    assert not Path("state").exists(), "something was started"
    return result


def test_the_ui_needs_its_port(taken_port: int) -> None:
    Path("workspace.yaml").touch()
    result = refused("dev", "--port", str(taken_port))
    assert f"Port {taken_port} of 127.0.0.1 cannot be had" in result.output
    assert "--port" in result.output


def test_the_ui_needs_the_projects_folder() -> None:
    assert "run the command in the project's folder" in refused("dev").output


@pytest.mark.parametrize("command", ["dev", "broker"])
def test_a_port_is_one(command: str) -> None:
    assert "65536 is not in the range" in refused(command, "--port", "65536").output


def test_a_backtest_needs_the_folder_of_its_file_and_days_of_history() -> None:
    asked = ("backtest", "--from", "2026-09-01", "--to", "2026-09-07", "--out", "nowhere/forecasts.parquet")
    assert "there is no folder nowhere" in refused(*asked).output
    assert "-3 is not in the range" in refused(*asked, "--history-days", "-3").output


def test_a_pipeline_is_not_told_to_run_here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RUTER_LAUNCHER", "sagemaker")  # which the command changes
    result = refused("pipeline-definition")
    assert "RUTER_LAKE is not set" in result.output
    assert "RUTER_LAUNCHER=local" not in result.output


def test_rejected_rows_need_a_date_that_was_read() -> None:
    result = refused("rejected", "--date", "2026-11-20")
    assert "raw.stop_visits has no service_date 2026-11-20" in result.output
    assert "Materialise raw/stop_visits for it first" in result.output
