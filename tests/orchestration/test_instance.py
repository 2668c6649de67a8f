"""The daemon fails only runs whose code server is gone. An invalid DAGSTER_HOME is refused."""

from __future__ import annotations

import json
import logging
import os
import shutil
import socket
import time
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
from dagster import DagsterInstance, DagsterRunStatus, RunsFilter
from dagster._core.storage.tags import GRPC_INFO_TAG
from dagster._core.test_utils import create_run_for_test, instance_for_test
from dagster._daemon.monitoring.run_monitoring import monitor_started_run

from ruter_dagster.contracts.errors import SettingsError
from ruter_dagster.orchestration.instance import open_instance, require_dagster_home

WATCHED = {
    "run_launcher": {"module": "ruter_dagster.orchestration.instance", "class": "WatchedRunLauncher"},
    "run_monitoring": {"enabled": True},
}


@pytest.mark.parametrize(
    ("home", "reason"),
    [
        ("state/home", "is a relative path, which Dagster refuses. Set it to {folder}/state/home"),
        ("{folder}/none", "is not a folder. Create it"),
        ("{folder}/file", "is not a folder. Create it"),
    ],
)
def test_invalid_dagster_home_is_refused_with_remedy(
    home: str, reason: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.chdir(tmp_path)
    home = home.format(folder=tmp_path)
    monkeypatch.setenv("DAGSTER_HOME", home)
    with pytest.raises(SettingsError) as error, open_instance():
        pass
    assert f"DAGSTER_HOME={home} {reason.format(folder=tmp_path)}" in str(error.value)


@pytest.mark.parametrize("file", ["docker/ecs/dagster.yaml", None], ids=["storage elsewhere", "no file"])
def test_read_only_home_needs_storage_elsewhere(
    file: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if file:
        shutil.copy(Path(__file__).parents[2] / file, tmp_path)
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path))
    monkeypatch.setattr(os, "access", lambda path, mode: mode != os.W_OK)  # root may write everywhere
    with nullcontext() if file else pytest.raises(SettingsError, match="is not writable"):
        require_dagster_home()


@pytest.fixture
def watched() -> Iterator[DagsterInstance]:
    with instance_for_test(overrides=WATCHED) as instance:
        yield instance


@pytest.fixture
def code_server() -> Iterator[socket.socket]:
    """A code server that accepts connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server


def monitor(instance: DagsterInstance, code_server: socket.socket) -> DagsterRunStatus:
    """The status of a new run of this code server after the daemon has checked it."""
    return monitor_run(instance, start_run(instance, code_server))


def start_run(instance: DagsterInstance, code_server: socket.socket) -> str:
    address = {"host": "127.0.0.1", "port": code_server.getsockname()[1]}
    tags = {GRPC_INFO_TAG: json.dumps(address)}
    return create_run_for_test(instance, status=DagsterRunStatus.STARTED, tags=tags).run_id


def monitor_run(instance: DagsterInstance, run_id: str) -> DagsterRunStatus:
    (record,) = instance.get_run_records(RunsFilter(run_ids=[run_id]))
    no_workspace: Any = None
    monitor_started_run(instance, no_workspace, record, logging.getLogger(__name__))
    run = instance.get_run_by_id(run_id)
    assert run
    return run.status


def test_run_of_slow_code_server_continues(
    watched: DagsterInstance, code_server: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ruter_dagster.orchestration.instance.ANSWER_SECONDS", 1)
    assert monitor(watched, code_server) == DagsterRunStatus.STARTED


def test_run_of_lost_code_server_fails(watched: DagsterInstance, code_server: socket.socket) -> None:
    address = code_server.getsockname()
    code_server.close()
    with socket.socket() as kept_free:
        kept_free.bind(address)
        assert monitor(watched, kept_free) == DagsterRunStatus.FAILURE


def test_run_survives_short_outage_of_code_server(
    code_server: socket.socket,
) -> None:
    address = code_server.getsockname()
    code_server.close()
    launcher = {**WATCHED["run_launcher"], "config": {"gone_after": 0.5}}
    with (
        instance_for_test(overrides={**WATCHED, "run_launcher": launcher}) as instance,
        socket.socket() as kept_free,
    ):
        kept_free.bind(address)
        run_id = start_run(instance, kept_free)
        assert monitor_run(instance, run_id) == DagsterRunStatus.STARTED
        time.sleep(0.6)
        assert monitor_run(instance, run_id) == DagsterRunStatus.FAILURE
