"""The daemon fails the runs whose code server is gone, and those alone."""

from __future__ import annotations

import json
import logging
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from dagster import DagsterInstance, DagsterRunStatus, RunsFilter
from dagster._core.storage.tags import GRPC_INFO_TAG
from dagster._core.test_utils import create_run_for_test, instance_for_test
from dagster._daemon.monitoring.run_monitoring import monitor_started_run

from ruter_dagster.contracts.errors import SettingsError
from ruter_dagster.orchestration.instance import open_instance

WATCHED = {
    "run_launcher": {"module": "ruter_dagster.orchestration.instance", "class": "WatchedRunLauncher"},
    "run_monitoring": {"enabled": True},
}


@pytest.mark.parametrize(
    ("home", "reason"),
    [
        ("state/home", "is a relative path, which Dagster refuses. Set it to {folder}/state/home"),
        ("{folder}/none", "is no folder. Make it"),
        ("{folder}/file", "is no folder. Make it"),
    ],
)
def test_dagster_home_that_cannot_be_used_is_a_sentence(
    home: str, reason: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.chdir(tmp_path)
    home = home.format(folder=tmp_path)
    monkeypatch.setenv("DAGSTER_HOME", home)
    with pytest.raises(SettingsError) as refused, open_instance():
        pass
    assert f"DAGSTER_HOME={home} {reason.format(folder=tmp_path)}" in str(refused.value)


@pytest.fixture
def watched() -> Iterator[DagsterInstance]:
    with instance_for_test(overrides=WATCHED) as instance:
        yield instance


@pytest.fixture
def code_server() -> Iterator[socket.socket]:
    """It takes connections, and answers none: too busy to."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server


def looked_after(instance: DagsterInstance, code_server: socket.socket) -> DagsterRunStatus:
    """Status of a run of this code server once the daemon has looked after it."""
    return looked_at(instance, run_of(instance, code_server))


def run_of(instance: DagsterInstance, code_server: socket.socket) -> str:
    place = {"host": "127.0.0.1", "port": code_server.getsockname()[1]}
    tags = {GRPC_INFO_TAG: json.dumps(place)}
    return create_run_for_test(instance, status=DagsterRunStatus.STARTED, tags=tags).run_id


def looked_at(instance: DagsterInstance, run_id: str) -> DagsterRunStatus:
    (record,) = instance.get_run_records(RunsFilter(run_ids=[run_id]))
    no_workspace: Any = None
    monitor_started_run(instance, no_workspace, record, logging.getLogger(__name__))
    found = instance.get_run_by_id(run_id)
    assert found
    return found.status


def test_a_run_of_a_slow_code_server_is_left_alone(
    watched: DagsterInstance, code_server: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ruter_dagster.orchestration.instance.ANSWER_SECONDS", 1)
    assert looked_after(watched, code_server) == DagsterRunStatus.STARTED


def test_a_run_whose_code_server_is_gone_fails(watched: DagsterInstance, code_server: socket.socket) -> None:
    place = code_server.getsockname()
    code_server.close()
    with socket.socket() as kept_free:
        kept_free.bind(place)
        assert looked_after(watched, kept_free) == DagsterRunStatus.FAILURE


def test_a_run_whose_code_server_takes_no_connection_for_a_moment_is_left_alone(
    code_server: socket.socket,
) -> None:
    place = code_server.getsockname()
    code_server.close()
    patient = {**WATCHED["run_launcher"], "config": {"gone_after": 0.5}}
    with (
        instance_for_test(overrides={**WATCHED, "run_launcher": patient}) as instance,
        socket.socket() as kept_free,
    ):
        kept_free.bind(place)
        run = run_of(instance, kept_free)
        assert looked_at(instance, run) == DagsterRunStatus.STARTED
        time.sleep(0.6)
        assert looked_at(instance, run) == DagsterRunStatus.FAILURE
