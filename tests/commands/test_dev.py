"""The servers that `ruter-dagster dev` runs beside Dagster, and the lines that it prints about them."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

import pytest

from ruter_dagster.commands.dev import Ports, _name_dagster_url, _start_servers, _with_reports_port
from ruter_dagster.commands.dev_servers import (
    _child,
    mlflow_command,
    newest_report,
    serve_dashboard_beside,
    serve_mlflow,
)
from ruter_dagster.config.settings import Settings, load_settings
from tests.chain.small_demo import processes_with, until

TREE = "import os, subprocess, sys, time; subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)']); time.sleep(600)"
"""A server with a child of its own."""


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return load_settings(_env_file=None, state_dir=tmp_path / "my state")


@contextmanager
def taken_port() -> Iterator[int]:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        yield listener.getsockname()[1]


def free_port() -> int:
    with taken_port() as port:
        return port


def record_training(settings: Settings) -> None:
    folder = settings.source_dir / "mlflow"
    folder.mkdir(parents=True)
    (folder / "mlflow.db").touch()


def test_links_open_the_started_dagster(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RUTER_DAGSTER_URL", raising=False)
    _name_dagster_url(settings, 18602)
    assert load_settings(_env_file=None).dagster_url == "http://127.0.0.1:18602"
    monkeypatch.setenv("RUTER_DAGSTER_URL", "https://dagster.example.org")
    _name_dagster_url(load_settings(_env_file=None), 18602)
    assert load_settings(_env_file=None).dagster_url == "https://dagster.example.org"


def test_reports_are_served_and_linked_at_the_chosen_port(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RUTER_REPORTS_URL", "http://127.0.0.1:3001")
    assert _with_reports_port(settings, None) is settings
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    with ExitStack() as stack:
        line = next(_start_servers(_with_reports_port(settings, port), Ports(reports=port), stack))
        assert line == f"Quality reports at {url}/quality/reports/"
        with urlopen(url, timeout=10) as answer:
            assert answer.status == 200
    assert load_settings(_env_file=None).reports_url == url, "Dagster and its jobs link there"


def test_mlflow_starts_once_a_training_is_recorded(settings: Settings) -> None:
    with serve_mlflow(settings, free_port()) as line:
        assert "no training is recorded yet" in line


def test_mlflow_elsewhere_is_named_by_its_address() -> None:
    settings = load_settings(_env_file=None, mlflow_tracking_uri="https://mlflow.example.org")
    with serve_mlflow(settings, free_port()) as line:
        assert line == "MLflow: https://mlflow.example.org"


def test_mlflow_serves_the_store_of_this_state(settings: Settings) -> None:
    command = mlflow_command(f"sqlite:///{settings.source_dir}/mlflow/mlflow.db", 5000)
    assert command[-2:] == ["--backend-store-uri", f"sqlite:///{settings.source_dir}/mlflow/mlflow.db"]
    assert command[command.index("--host") + 1] == "127.0.0.1"


def test_taken_port_of_mlflow_is_named_with_remedy(settings: Settings) -> None:
    record_training(settings)
    with taken_port() as port, serve_mlflow(settings, port) as line:
        assert line.startswith(f"MLflow is not served: Port {port} of 127.0.0.1 is not available")
        assert line.endswith("or run `ruter-dagster dev --mlflow-port PORT`")


def test_taken_port_of_dashboard_is_named_with_remedy() -> None:
    with taken_port() as port, serve_dashboard_beside(port) as line:
        assert line.startswith(f"The dashboard is not served: Port {port} of 127.0.0.1 is not available")
        assert line.endswith("or run `ruter-dagster dev --dashboard-port PORT`")


def test_server_ends_with_its_own_children() -> None:
    marker = f"RUTER_TEST_TREE={os.getpid()}-{time.monotonic_ns()}"
    with _child([sys.executable, "-c", TREE], dict([marker.split("=")]), subprocess.DEVNULL):
        until(lambda: len(processes_with(marker)) == 2, "the server and its child")
    until(lambda: not processes_with(marker), "the end of the child")


def test_newest_report_is_linked(settings: Settings) -> None:
    assert newest_report(settings) == "Newest quality report: there is none yet"
    folder = Path(settings.artifacts_location) / "quality" / "reports"
    for age, name in ((20, "raw.stop_visits/old.html"), (10, "loads.stop_loads/2026-11-20-ab12.html")):
        path = folder / name
        path.parent.mkdir(parents=True)
        path.touch()
        os.utime(path, (1_000_000 - age, 1_000_000 - age))
    address = "http://127.0.0.1:3001/quality/reports/loads.stop_loads/2026-11-20-ab12.html"
    assert newest_report(settings) == f"Newest quality report: {address}"


def test_report_links_lead_to_the_served_address() -> None:
    settings = load_settings(_env_file=None)
    assert settings.report_page("quality/reports/x.html") == "http://127.0.0.1:3001/quality/reports/x.html"


def answer(url: str) -> int | None:
    try:
        with urlopen(url, timeout=5) as response:
            return response.status
    except (URLError, ConnectionError, TimeoutError):
        return None


@pytest.mark.extended
def test_mlflow_answers_and_ends(settings: Settings) -> None:
    from ruter_dagster.storage.catalog import sqlite_address
    from ruter_dagster.storage.experiments import Experiments

    folder = settings.source_dir / "mlflow"
    folder.mkdir(parents=True)
    Experiments(sqlite_address(folder / "mlflow.db"), (folder / "artifacts").as_uri())
    (folder / "mlflow.db").touch()
    port = free_port()
    with serve_mlflow(settings, port) as line:
        assert f"http://127.0.0.1:{port}/" in line
        until(lambda: answer(f"http://127.0.0.1:{port}/health") == 200, "MLflow", every=0.2)
    assert answer(f"http://127.0.0.1:{port}/health") is None


@pytest.mark.extended
def test_dashboard_answers_and_ends(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RUTER_STATE_DIR", str(settings.state_dir))
    port = free_port()
    with serve_dashboard_beside(port) as line:
        assert line.endswith(f"http://127.0.0.1:{port}")
        until(lambda: answer(f"http://127.0.0.1:{port}/_stcore/health") == 200, "the dashboard", every=0.2)
    assert answer(f"http://127.0.0.1:{port}/_stcore/health") is None
