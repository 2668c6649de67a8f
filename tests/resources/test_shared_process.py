"""Jobs in a shared process behave like jobs in their own process: exit codes, errors, output, and how they end."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import date, timedelta
from pathlib import Path

import pytest

from ruter_dagster.contracts.container import BASE_VARIABLE, Container
from ruter_dagster.contracts.jobs import EXIT_PERMANENT, Balance, JobParameters, Snapshot
from ruter_dagster.contracts.tables import STOP_VISITS, WEATHER_FORECASTS
from ruter_dagster.resources import shared_process
from ruter_dagster.resources.shared_process import EXIT_DIED, SharedProcess
from ruter_dagster.storage.catalog import local_catalog
from ruter_dagster.storage.tables import TableStore

DAY = date(2026, 11, 20)
WEATHER = Snapshot(table=WEATHER_FORECASTS.name, dates=(DAY,))
LONG = Snapshot(
    table=STOP_VISITS.name, dates=tuple(DAY + timedelta(ahead) for ahead in range(200)), of_range=True
)
CALLER = """
import os, sys
from pathlib import Path
from ruter_dagster.resources.shared_process import SharedProcess
shared = SharedProcess("snapshot", Path(sys.argv[1]))
for _ in sys.stdin:
    print("exit code", shared.run("snapshot", dict(os.environ)), flush=True)
"""


@pytest.fixture
def shared(tmp_path: Path) -> SharedProcess:
    return SharedProcess("snapshot", tmp_path)


def environment(parameters: JobParameters, folder: Path) -> dict[str, str]:
    base = folder / "ml"
    Container(base).write_parameters(parameters)
    return {**os.environ, "RUTER_STATE_DIR": str(folder / "state"), BASE_VARIABLE: str(base)}


@contextmanager
def running_caller(folder: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process with a running job. It runs one more job for each line of input."""
    command = [sys.executable, "-c", CALLER, str(folder)]
    with subprocess.Popen(
        command, env=environment(LONG, folder), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as caller:
        assert caller.stdin and caller.stdout
        caller.stdin.write("run\n")
        caller.stdin.flush()
        assert any("28 dates at a time: 1 of 8" in line for line in caller.stdout)
        yield caller


def process_of(folder: Path) -> int:
    return json.loads(next(folder.glob("snapshot-*.json")).read_text())["process"]


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 300
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def is_alive(process: int) -> bool:
    try:
        state = Path(f"/proc/{process}/stat").read_text().rsplit(") ", 1)[1][0]
    except FileNotFoundError:
        return False
    return state != "Z"


def test_jobs_share_one_process_and_print_to_caller(
    shared: SharedProcess, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert shared.run("snapshot", environment(WEATHER, tmp_path)) == 0
    first = process_of(tmp_path)
    assert SharedProcess("snapshot", tmp_path).run(
        "balance", environment(Balance(dates=(DAY,)), tmp_path)
    ) == (EXIT_PERMANENT)
    assert process_of(tmp_path) == first
    printed = capfd.readouterr().out
    assert "raw/weather_forecasts materialised" in printed
    failure = Container(tmp_path / "ml").read_failure() or ""
    assert "raw.stop_visits" in failure and failure in printed
    store = TableStore(local_catalog(tmp_path / "state" / "demo" / "warehouse"))
    assert store.dates(WEATHER_FORECASTS) == [DAY]


def test_each_job_has_environment_of_its_caller(shared: SharedProcess, tmp_path: Path) -> None:
    wrong = environment(WEATHER, tmp_path) | {"RUTER_DEMO_SEED": "many"}
    assert shared.run("snapshot", wrong) == EXIT_PERMANENT
    assert shared.run("snapshot", environment(WEATHER, tmp_path)) == 0


def test_dead_process_fails_job_and_is_replaced(tmp_path: Path) -> None:
    with running_caller(tmp_path) as caller:
        os.kill(former := process_of(tmp_path), signal.SIGKILL)
        wait_until(lambda: not is_alive(former))
        environment(WEATHER, tmp_path)
        printed, _ = caller.communicate("run\n")
    assert re.findall("exit code (.+)", printed) == [str(EXIT_DIED), "0"]


def test_process_that_dies_before_job_is_replaced(shared: SharedProcess, tmp_path: Path) -> None:
    shared.start(environment(WEATHER, tmp_path))
    former = process_of(tmp_path)
    wait_until(
        lambda: Path(json.loads(next(tmp_path.glob("snapshot-*.json")).read_text())["socket"]).exists()
    )
    os.kill(former, signal.SIGSTOP)
    threading.Timer(1.0, os.kill, (former, signal.SIGKILL)).start()
    assert shared.run("snapshot", environment(WEATHER, tmp_path)) == 0
    assert process_of(tmp_path) != former


def test_job_ends_with_its_caller(shared: SharedProcess, tmp_path: Path) -> None:
    with running_caller(tmp_path) as caller:
        server = process_of(tmp_path)
        caller.kill()
        wait_until(lambda: not is_alive(server))
    assert "Stopped by signal" in (Container(tmp_path / "ml").read_failure() or "")
    store = TableStore(local_catalog(tmp_path / "state" / "demo" / "warehouse"))
    assert store.dates(STOP_VISITS) == []


def test_process_ends_with_its_owner(tmp_path: Path) -> None:
    command = [sys.executable, "-c", CALLER, str(tmp_path)]
    subprocess.run(command, env=environment(WEATHER, tmp_path), input="run\n", text=True, check=True)
    server = process_of(tmp_path)
    wait_until(lambda: not is_alive(server))


def test_start_failure_shows_output_of_process(shared: SharedProcess, tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text("import builtins; builtins.__import__ = None")
    broken = environment(WEATHER, tmp_path) | {"PYTHONPATH": str(tmp_path)}
    with pytest.raises(RuntimeError, match=r"ended before it accepted the job. It printed: [^$]*NoneType"):
        shared.run("snapshot", broken)


def test_slow_start_raises_error_after_limit(
    shared: SharedProcess, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "sitecustomize.py").write_text("print('slow', flush=True); import time; time.sleep(20)")
    slow = environment(WEATHER, tmp_path) | {"PYTHONPATH": str(tmp_path)}
    monkeypatch.setattr(shared_process, "START_SECONDS", 2.0)
    with pytest.raises(RuntimeError, match=r"did not start in 2 s. It printed: slow"):
        shared.run("snapshot", slow)
