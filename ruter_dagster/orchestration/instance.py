"""The Dagster instance. Each source of raw data has its own history, so that runs of the demo and of an operator are separate.

`dagster.yaml` names the classes of this module.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml
from dagster import DagsterInstance, DagsterRun, Field

from ruter_dagster.compat.instance import ConfigurableClassData, InstanceRef
from ruter_dagster.compat.launcher import (
    CheckRunHealthResult,
    CodeServerRunLauncher,
    DagsterUserCodeUnreachableError,
    WorkerStatus,
    is_timeout,
)
from ruter_dagster.compat.storage import DagsterSqliteStorage, LocalComputeLogManager, runs_directory
from ruter_dagster.config.settings import SettingsError, load_settings
from ruter_dagster.config.state_folder import state_folder
from ruter_dagster.contracts.errors import PermanentFailure
from ruter_dagster.orchestration.run_history import RunHistory

STORED_BESIDE_THE_FILE = {"storage", "compute_logs", "local_artifact_storage"}
"""Keys of dagster.yaml. Dagster stores these things in DAGSTER_HOME if the file does not name another place."""
ANSWER_SECONDS = 10
"""The longest wait for an answer of the code server."""


def instance_dir() -> Path:
    """The folder of the history of the source in the settings."""
    return state_folder(load_settings()) / "instance"


class SourceStorage(DagsterSqliteStorage):
    """Stores runs, events and schedules in SQLite, in the state folder of the source."""

    def __init__(self, base_dir: str, inst_data: ConfigurableClassData | None = None) -> None:
        super().__init__(base_dir, inst_data)
        self._run_storage = RunHistory.from_local(runs_directory(base_dir))

    @classmethod
    def config_type(cls) -> Any:
        return {}

    @classmethod
    def from_config_value(
        cls, inst_data: ConfigurableClassData, config_value: Mapping[str, Any]
    ) -> SourceStorage:
        return cls.from_local(str(instance_dir()), inst_data=inst_data)


class SourceComputeLogs(LocalComputeLogManager):
    """Stores the output of steps, in the same folder as the runs."""

    @classmethod
    def config_type(cls) -> Any:
        return {}

    @classmethod
    def from_config_value(
        cls, inst_data: ConfigurableClassData | None, config_value: Mapping[str, Any]
    ) -> SourceComputeLogs:
        return cls(str(instance_dir() / "compute_logs"), inst_data=inst_data)


class WatchedRunLauncher(CodeServerRunLauncher):
    """Dagster's default launcher with a health check: a run without a process fails and frees its slot.

    A code server counts as gone after it has accepted no connection for `gone_after` seconds.
    """

    def __init__(self, inst_data: ConfigurableClassData | None = None, gone_after: float = 0.0) -> None:
        super().__init__(inst_data)
        self._gone_after = gone_after
        self._unreachable_since: dict[str, float] = {}

    @classmethod
    def config_type(cls) -> Any:
        return {"gone_after": Field(float, default_value=0.0, is_required=False)}

    @classmethod
    def from_config_value(
        cls, inst_data: ConfigurableClassData, config_value: Mapping[str, Any]
    ) -> WatchedRunLauncher:
        return cls(inst_data, config_value["gone_after"])

    @property
    def supports_check_run_worker_health(self) -> bool:
        return True

    def check_run_worker_health(self, run: DagsterRun) -> CheckRunHealthResult:
        try:
            has_process = self.has_process(run.run_id, timeout=ANSWER_SECONDS)
        except DagsterUserCodeUnreachableError as error:
            if is_timeout(error):
                self._unreachable_since.pop(run.run_id, None)
                # For any status but RUNNING and SUCCESS, the daemon fails the run and starts a second process beside it.
                return CheckRunHealthResult(
                    WorkerStatus.RUNNING, f"The code server did not answer within {ANSWER_SECONDS} s"
                )
            since = self._unreachable_since.setdefault(run.run_id, time.monotonic())
            if time.monotonic() - since < self._gone_after:
                return CheckRunHealthResult(WorkerStatus.RUNNING, "The code server accepts no connection")
            return CheckRunHealthResult(WorkerStatus.FAILED, "The code server of the run is gone")
        self._unreachable_since.pop(run.run_id, None)
        if has_process is None:
            return CheckRunHealthResult(
                WorkerStatus.RUNNING, "The run has no code server: the command line started it"
            )
        if has_process:
            return CheckRunHealthResult(WorkerStatus.RUNNING)
        return CheckRunHealthResult(WorkerStatus.FAILED, "The code server has no process of the run")


def require_dagster_home() -> None:
    """Raises SettingsError if DAGSTER_HOME is set and is not the absolute path of a folder in which Dagster can work.

    The folder may be read-only, as on ECS, if its dagster.yaml stores everything elsewhere.
    """
    home = os.environ.get("DAGSTER_HOME")
    if not home:
        return
    folder = Path(home).expanduser()
    remedy = "or unset it to use the dagster.yaml of the project's folder"
    if not folder.is_absolute():
        raise SettingsError(
            f"DAGSTER_HOME={home} is a relative path, which Dagster refuses. Set it to {Path(home).absolute()}, {remedy}"
        )
    if not folder.is_dir():
        raise SettingsError(
            f"DAGSTER_HOME={home} is not a folder. Create it, with a dagster.yaml in it, {remedy}"
        )
    if not os.access(folder, os.W_OK) and not _stores_elsewhere(folder / "dagster.yaml"):
        raise SettingsError(
            f"DAGSTER_HOME={home} is not writable. Give this user write access to it, {remedy}"
        )


def _stores_elsewhere(file: Path) -> bool:
    """Whether a dagster.yaml names all that Dagster would otherwise store beside it."""
    try:
        configuration = yaml.safe_load(file.read_text())
    except (OSError, ValueError, yaml.YAMLError):
        return False
    return isinstance(configuration, dict) and configuration.keys() >= STORED_BESIDE_THE_FILE


@contextmanager
def open_instance() -> Iterator[DagsterInstance]:
    """The instance of `dagster dev` and the `dagster` commands in this folder: one history for all of them."""
    require_dagster_home()
    if os.environ.get("DAGSTER_HOME"):
        with DagsterInstance.get() as instance:
            yield instance
        return
    if not Path("dagster.yaml").is_file():
        raise PermanentFailure(
            f"No dagster.yaml in {Path.cwd()}. Run the command in the project's folder, or set DAGSTER_HOME to a folder with one"
        )
    with (
        tempfile.TemporaryDirectory(prefix="ruter-dagster-") as home,
        DagsterInstance.from_ref(InstanceRef.from_dir(home, config_dir=str(Path.cwd()))) as instance,
    ):
        yield instance
