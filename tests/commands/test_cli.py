"""Commands refuse wrong options and settings before anything starts."""

from __future__ import annotations

import errno
import os
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from ruter_dagster.commands.cli import as_typed, main

OPERATOR = """
name = "Midttrafik"
country = "DK"
time_zone = "Europe/Copenhagen"
history_start = 2023-01-01
"""


@pytest.fixture(autouse=True)
def _own_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("RUTER_ENV_FILE", "")
    monkeypatch.setenv("RUTER_STATE_DIR", str(tmp_path / "state"))
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


@pytest.fixture
def taken_port() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


def refused(*command: str) -> Result:
    result = CliRunner().invoke(main, command)
    assert result.exit_code != 0
    assert not Path("state").exists(), "something was started"
    return result


def test_named_command_can_be_typed_in_the_project_folder(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    program = tmp_path / ".venv" / "bin" / "ruter-dagster"
    program.parent.mkdir(parents=True)
    monkeypatch.setattr(sys, "executable", str(program.with_name("python")))
    monkeypatch.setenv("PATH", str(tmp_path))
    hint = "The package ruter-dagster. Run `RUTER_SOURCE=tides ruter-dagster retry 01`"
    typed = "The package ruter-dagster. Run `RUTER_SOURCE=tides .venv/bin/ruter-dagster retry 01`"
    assert as_typed(hint) == as_typed(typed) == typed

    program.touch(mode=0o755)
    monkeypatch.setenv("PATH", str(program.parent))
    assert as_typed(hint) == hint


def test_dev_needs_a_free_port(taken_port: int) -> None:
    Path("workspace.yaml").touch()
    result = refused("dev", "--port", str(taken_port))
    assert f"Port {taken_port} of 127.0.0.1 is not available" in result.output
    assert "--port" in result.output


def test_dev_needs_the_project_folder() -> None:
    assert "run the command in the project's folder" in refused("dev").output


@pytest.mark.parametrize("command", ["dev", "broker"])
def test_invalid_port_is_refused(command: str) -> None:
    assert "65536 is not in the range" in refused(command, "--port", "65536").output


def test_backtest_needs_an_output_folder_and_days_of_history() -> None:
    command = ("backtest", "--from", "2026-09-01", "--to", "2026-09-07", "--out", "nowhere/forecasts.parquet")
    assert "there is no folder nowhere" in refused(*command).output
    assert "-3 is not in the range" in refused(*command, "--history-days", "-3").output


def test_pipeline_definition_ignores_the_local_launcher(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RUTER_LAUNCHER", "sagemaker")  # which the command changes
    result = refused("pipeline-definition")
    assert "RUTER_LAKE is not set" in result.output
    assert "RUTER_LAUNCHER=local" not in result.output


def test_rejected_rows_need_a_date_that_was_read() -> None:
    result = refused("rejected", "--date", "2026-11-20")
    assert "raw.stop_visits has no service_date 2026-11-20" in result.output
    assert "materialise raw/stop_visits for it first" in result.output


COMMANDS = [
    ("demo",),
    ("dev",),
    ("broker",),
    ("retry", "0123"),
    ("replay", "0123"),
    ("backtest", "--from", "2026-09-01", "--to", "2026-09-07", "--out", "nowhere/forecasts.parquet"),
    ("rejected", "--date", "2026-09-01"),
    ("forecasts",),
    ("compare", "--with", "snapshot:1"),
    ("cost", "--from", "2026-09-01", "--to", "2026-09-07"),
    ("pipeline-definition",),
]


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command[0])
def test_first_line_names_the_operator_in_use(
    command: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("operator.toml").write_text(OPERATOR)
    Path("workspace.yaml").touch()
    monkeypatch.setenv("RUTER_SOURCE", "tides")
    monkeypatch.setenv("RUTER_TIDES_PATH", ".")
    monkeypatch.setenv("RUTER_LAUNCHER", "local")
    monkeypatch.setenv("RUTER_STATE_DIR", "operator.toml")  # no folder: nothing is started
    monkeypatch.setenv("DAGSTER_HOME", "relative")
    result = CliRunner().invoke(main, command)
    first = result.stderr.splitlines()[0]
    assert first == "Operator Midttrafik: holidays of DK, time zone Europe/Copenhagen, from ./operator.toml"
    assert "Warning" not in result.stderr
    assert command[0] == "pipeline-definition" or result.exit_code == 1
    assert result.exception is None or isinstance(result.exception, SystemExit)


@pytest.mark.parametrize(
    ("number", "remedy"),
    [
        (errno.EACCES, "Give this user access"),
        (errno.EROFS, "Give this user access"),
        (errno.ENOSPC, "Free space"),
    ],
)
def test_disk_error_is_one_sentence(number: int, remedy: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(number, os.strerror(number), "/place")

    monkeypatch.setattr("ruter_dagster.commands.rejected.rejected_rows", refuse)
    result = refused("rejected", "--date", "2026-09-01")
    assert f"/place: {os.strerror(number)}. {remedy}" in result.stderr
    assert isinstance(result.exception, SystemExit)


def test_counts_without_operator_file_give_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RUTER_SOURCE", "tides")
    monkeypatch.setenv("RUTER_TIDES_PATH", "counts")
    result = refused("backtest", "--from", "2026-09-01", "--to", "2026-09-07", "--out", "nowhere/f.parquet")
    first, second = result.stderr.splitlines()[:2]
    assert first.startswith("Operator Ruter: holidays of NO, time zone Europe/Oslo, from ")
    assert second.startswith("Warning: this operator is only the default.")
    assert "put an operator.toml into counts, or set RUTER_OPERATOR" in second


@pytest.mark.parametrize("command", ["demo", "dev", "broker", "retry", "replay"])
def test_unwritable_state_is_one_sentence(
    command: str, free_port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("file").touch()
    Path("workspace.yaml").touch()
    monkeypatch.setenv("RUTER_STATE_DIR", "file")
    monkeypatch.setenv("RUTER_ISSUE_DATE", "2026-11-20")
    arguments = {"retry": ["0123"], "replay": ["0123"], "dev": ["--port", str(free_port)]}
    result = CliRunner().invoke(main, [command, *arguments.get(command, [])])
    assert result.exit_code == 1
    assert "file/demo cannot be written (Not a directory)" in result.stderr
    assert "RUTER_STATE_DIR" in result.stderr and "Traceback" not in result.stderr
