"""Where Dagster keeps its history: a folder per source of raw data, so that the demo's runs never meet a real operator's.

`dagster.yaml` names these classes. No job and no asset belongs here.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from dagster import DagsterInstance, DagsterRun, Field

from ruter_dagster.compat.instance import ConfigurableClassData, InstanceRef
from ruter_dagster.compat.launcher import (
    CheckRunHealthResult,
    CodeServerRunLauncher,
    DagsterUserCodeUnreachableError,
    WorkerStatus,
    is_timeout,
)
from ruter_dagster.compat.storage import DagsterSqliteStorage, LocalComputeLogManager
from ruter_dagster.config.settings import SettingsError, load_settings
from ruter_dagster.config.state_folder import state_folder
from ruter_dagster.contracts.errors import PermanentFailure

ANSWER_SECONDS = 10


def instance_dir() -> Path:
    return state_folder(load_settings()) / "instance"


class SourceStorage(DagsterSqliteStorage):
    """Runs, events and schedules in SQLite, below the state folder of the source in use."""

    @classmethod
    def config_type(cls) -> Any:
        return {}

    @classmethod
    def from_config_value(
        cls, inst_data: ConfigurableClassData, config_value: Mapping[str, Any]
    ) -> SourceStorage:
        return cls.from_local(str(instance_dir()), inst_data=inst_data)


class SourceComputeLogs(LocalComputeLogManager):
    """What steps print, beside the runs."""

    @classmethod
    def config_type(cls) -> Any:
        return {}

    @classmethod
    def from_config_value(
        cls, inst_data: ConfigurableClassData | None, config_value: Mapping[str, Any]
    ) -> SourceComputeLogs:
        return cls(str(instance_dir() / "compute_logs"), inst_data=inst_data)


class WatchedRunLauncher(CodeServerRunLauncher):
    """The default launcher, with a health check: a run whose worker is gone fails and frees its slot.

    A code server that takes no connection is gone once it has taken none for `gone_after` seconds.
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
                # Any status but RUNNING and SUCCESS, UNKNOWN too, has the daemon fail the run and start a second worker beside it.
                return CheckRunHealthResult(
                    WorkerStatus.RUNNING, f"The code server did not answer within {ANSWER_SECONDS} s"
                )
            since = self._unreachable_since.setdefault(run.run_id, time.monotonic())
            if time.monotonic() - since < self._gone_after:
                return CheckRunHealthResult(WorkerStatus.RUNNING, "The code server takes no connection")
            return CheckRunHealthResult(WorkerStatus.FAILED, "The code server that ran it is gone")
        self._unreachable_since.pop(run.run_id, None)
        if has_process is None:
            return CheckRunHealthResult(
                WorkerStatus.RUNNING, "The run has no code server: it was started by the command line"
            )
        if has_process:
            return CheckRunHealthResult(WorkerStatus.RUNNING)
        return CheckRunHealthResult(WorkerStatus.FAILED, "The code server no longer knows the run's process")


def require_dagster_home() -> None:
    """Raises SettingsError where DAGSTER_HOME is set to what Dagster cannot use: it must be a whole path of a folder."""
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
        raise SettingsError(f"DAGSTER_HOME={home} is no folder. Make it, with a dagster.yaml in it, {remedy}")
    if not os.access(folder, os.W_OK):
        raise SettingsError(
            f"DAGSTER_HOME={home} cannot be written. Give this user write access to it, {remedy}"
        )


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
            f"No dagster.yaml in {Path.cwd()}: run the command in the project's folder, or set DAGSTER_HOME to a folder with one"
        )
    with (
        tempfile.TemporaryDirectory(prefix="ruter-dagster-") as home,
        DagsterInstance.from_ref(InstanceRef.from_dir(home, config_dir=str(Path.cwd()))) as instance,
    ):
        yield instance
