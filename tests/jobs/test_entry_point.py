"""`python -m ruter_dagster.jobs <name>` as a process: exit codes, failure reasons and stops."""

from __future__ import annotations

import signal
import subprocess
import sys
from datetime import date, timedelta
from pathlib import Path

import pytest

import ruter_dagster.jobs.__main__ as entry_point
from ruter_dagster.contracts.container import BASE_VARIABLE, OWNER_VARIABLE, Container
from ruter_dagster.contracts.jobs import EXIT_MEMORY, EXIT_NO_DATA, EXIT_PERMANENT, Balance, Publish, Snapshot
from ruter_dagster.contracts.tables import LOAD_FORECASTS, STOP_VISITS, WEATHER_FORECASTS, Table
from ruter_dagster.storage.catalog import local_catalog
from ruter_dagster.storage.tables import TableStore
from tests.jobs import job_process, owner
from tests.publishing.samples import load_forecasts

DAY = date(2026, 11, 20)
WEATHER = Snapshot(table=WEATHER_FORECASTS.name, dates=(DAY,))
LONG = Snapshot(
    table=STOP_VISITS.name, dates=tuple(DAY + timedelta(ahead) for ahead in range(200)), of_range=True
)
PROGRESS_LINE = f"Reading {STOP_VISITS.name}, at most 28 dates at a time: 1 of 8"
"""The job prints it after an eighth of its dates, when nothing is written yet."""


def store_of(folder: Path) -> TableStore:
    return TableStore(local_catalog(folder / "state" / "demo" / "warehouse"))


def dates_of(table: Table, folder: Path) -> list[date]:
    return store_of(folder).snapshot(table).dates()


def reason(folder: Path) -> str | None:
    return Container(folder / "ml").read_failure()


def wait_for_progress(process: subprocess.Popen[str]) -> None:
    assert process.stdout
    for line in process.stdout:
        if PROGRESS_LINE in line:
            return
    raise AssertionError("the job ended before its first progress line")


def test_job_runs_without_dagster(tmp_path: Path) -> None:
    exit_code, printed = job_process.run(WEATHER, tmp_path)
    assert exit_code == 0, printed
    assert "raw/weather_forecasts materialised: {'dates': 1" in printed
    assert dates_of(WEATHER_FORECASTS, tmp_path) == [DAY]
    assert reason(tmp_path) is None


def test_permanent_failure_has_its_own_exit_code(tmp_path: Path) -> None:
    exit_code, printed = job_process.run(Balance(dates=(DAY,)), tmp_path)
    assert exit_code == EXIT_PERMANENT
    message = reason(tmp_path) or ""
    assert "raw.stop_visits" in message and "2026-11-20" in message
    assert message in printed
    assert "Traceback" not in printed


def test_range_without_data_has_its_own_exit_code(tmp_path: Path) -> None:
    exit_code, _ = job_process.run(Balance(dates=(DAY, DAY + timedelta(1)), of_range=True), tmp_path)
    assert exit_code == EXIT_NO_DATA
    assert "raw.stop_visits has no service_date 2026-11-20, 2026-11-21" in (reason(tmp_path) or "")


def test_unread_pinned_table_stops_the_job_first(tmp_path: Path) -> None:
    exit_code, _ = job_process.run(WEATHER.model_copy(update={"pins": {"raw.stop_visit": 1}}), tmp_path)
    assert exit_code == EXIT_PERMANENT
    assert "does not read the pinned table raw.stop_visit" in (reason(tmp_path) or "")
    assert not (tmp_path / "state").exists()


def test_wrong_setting_is_permanent_and_named(tmp_path: Path) -> None:
    exit_code, _ = job_process.run(WEATHER, tmp_path, RUTER_DEMO_SEED="many")
    assert exit_code == EXIT_PERMANENT
    assert "RUTER_DEMO_SEED='many'" in (reason(tmp_path) or "")


def test_missing_parameters_are_permanent_and_named(tmp_path: Path) -> None:
    ended = subprocess.run(
        job_process.command("balance"),
        env=job_process.environment(tmp_path),
        cwd=tmp_path,
        capture_output=True,
    )
    assert ended.returncode == EXIT_PERMANENT
    assert "processing/input/parameters/parameters.json cannot be read" in (reason(tmp_path) or "")


def test_temporary_failure_has_another_exit_code(tmp_path: Path) -> None:
    """No broker listens on the port, which may change within a minute."""
    store_of(tmp_path).write(LOAD_FORECASTS, load_forecasts(40), [DAY], code_version="1")
    exit_code, printed = job_process.run(
        Publish(dates=(DAY,), issued_at="04:30"), tmp_path, KAFKA_BOOTSTRAP_SERVERS="127.0.0.1:1"
    )
    assert exit_code == 1
    assert (reason(tmp_path) or "").startswith("BrokerUnavailable: ")
    assert "127.0.0.1:1" in (reason(tmp_path) or "")
    assert "Traceback" in printed, "unexpected errors have a traceback"


def test_stopped_job_ends_and_writes_nothing(tmp_path: Path) -> None:
    with job_process.start(LONG, tmp_path) as process:
        wait_for_progress(process)
        process.terminate()
        printed, _ = process.communicate(timeout=120)
    assert process.returncode == 128 + 15
    assert "Stopped by signal 15" in printed
    assert dates_of(STOP_VISITS, tmp_path) == []


def test_job_ends_when_its_owner_is_killed(tmp_path: Path) -> None:
    Container(tmp_path / "ml").write_parameters(LONG)
    with subprocess.Popen(
        [sys.executable, owner.__file__, *job_process.command(LONG.job)],
        env=job_process.environment(tmp_path, **{OWNER_VARIABLE: "1"}),
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as launcher:
        wait_for_progress(launcher)
        launcher.kill()
        # The job holds the other end of this pipe, which closes when the job ends.
        printed, _ = launcher.communicate(timeout=120)
    assert f"{STOP_VISITS.name}: 200 of 200" not in printed
    assert dates_of(STOP_VISITS, tmp_path) == []


class PanicException(BaseException):
    """Like polars' error of this name, it is no `Exception`."""


@pytest.mark.parametrize(
    ("error", "exit_code", "message"),
    [
        (
            MemoryError("Unable to allocate 8 GiB"),
            EXIT_MEMORY,
            "Unable to allocate 8 GiB; the job ran out of memory",
        ),
        (PanicException("index out of bounds"), 1, "PanicException: index out of bounds"),
    ],
)
def test_every_error_leaves_a_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException, exit_code: int, message: str
) -> None:
    def run(*_: object) -> None:
        raise error

    Container(tmp_path).write_parameters(WEATHER)
    monkeypatch.setenv(BASE_VARIABLE, str(tmp_path))
    monkeypatch.setattr(entry_point, "_run", run)
    handler = signal.getsignal(signal.SIGTERM)
    try:
        assert entry_point.main(["snapshot"]) == exit_code
    finally:
        signal.signal(signal.SIGTERM, handler)
    assert message in (Container(tmp_path).read_failure() or "")


@pytest.mark.parametrize("name", ["balanse", ""])
def test_unknown_job_lists_the_known_ones(tmp_path: Path, name: str) -> None:
    ended = subprocess.run(
        job_process.command(name),
        env=job_process.environment(tmp_path),
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert ended.returncode == 2
    assert "choose from" in ended.stderr and "check_quality" in ended.stderr
