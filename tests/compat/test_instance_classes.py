"""What we rely on in the classes that `dagster.yaml` names."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from dagster import DagsterInstance, DagsterRun, DagsterRunStatus
from dagster._core.storage.compute_log_manager import ComputeIOType
from dagster._core.test_utils import create_run_for_test, instance_for_test

from ruter_dagster.compat.instance import ConfigurableClassData
from ruter_dagster.compat.launcher import (
    CodeServerRunLauncher,
    DagsterUserCodeUnreachableError,
    WorkerStatus,
    is_timeout,
)
from ruter_dagster.compat.storage import (
    DagsterSqliteStorage,
    LocalComputeLogManager,
    SqliteRunStorage,
    runs_directory,
)
from ruter_dagster.compat.tags import GRPC_INFO_TAG

LAUNCHER = {
    "run_launcher": {"module": "ruter_dagster.compat.launcher", "class": "CodeServerRunLauncher"},
}


@pytest.fixture
def instance() -> Iterator[DagsterInstance]:
    with instance_for_test(LAUNCHER) as instance:
        yield instance


def has_process(instance: DagsterInstance, port: int | None) -> bool | None:
    """The answer for a run whose code server listens on this port."""
    tags = {GRPC_INFO_TAG: json.dumps({"host": "127.0.0.1", "port": port})} if port else {}
    run = create_run_for_test(instance, status=DagsterRunStatus.STARTED, tags=tags)
    launcher = instance.run_launcher
    assert isinstance(launcher, CodeServerRunLauncher)
    return launcher.has_process(run.run_id, timeout=1)


def test_run_of_the_command_line_has_no_code_server(instance: DagsterInstance) -> None:
    assert has_process(instance, None) is None


def test_closed_port_is_unreachable_without_timeout(instance: DagsterInstance) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))  # bound, so that nobody else gets the port, but not listening
        with pytest.raises(DagsterUserCodeUnreachableError) as unreachable:
            has_process(instance, closed.getsockname()[1])
    assert not is_timeout(unreachable.value)


def test_silent_code_server_is_a_timeout(instance: DagsterInstance) -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as silent,
        pytest.raises(DagsterUserCodeUnreachableError) as unreachable,
    ):
        has_process(instance, silent.getsockname()[1])
    assert is_timeout(unreachable.value)


def test_worker_statuses_are_those_of_the_daemon() -> None:
    assert {WorkerStatus.RUNNING, WorkerStatus.FAILED} < set(WorkerStatus)


def test_storage_keeps_its_files_in_its_folder(tmp_path: Path) -> None:
    settings = ConfigurableClassData("a_module", "AClass", "{}")
    storage = DagsterSqliteStorage.from_local(str(tmp_path), inst_data=settings)
    assert storage.inst_data is settings
    assert storage.run_storage.get_runs_count() == 0
    assert list(tmp_path.rglob("*.db"))
    storage.dispose()


def test_run_storage_opens_the_runs_of_a_storage(tmp_path: Path) -> None:
    storage = DagsterSqliteStorage.from_local(str(tmp_path))
    run = storage.run_storage.add_run(DagsterRun("counts"))
    assert SqliteRunStorage.from_local(runs_directory(str(tmp_path))).has_run(run.run_id)
    storage.dispose()


def test_compute_logs_lie_in_their_folder(tmp_path: Path) -> None:
    logs = LocalComputeLogManager(str(tmp_path), inst_data=None)
    log = logs.get_captured_local_path(["run", "step"], ComputeIOType.STDOUT.value)
    assert Path(log).is_relative_to(tmp_path)
