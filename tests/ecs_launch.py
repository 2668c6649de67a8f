"""Runs as tasks of ECS, launched by the launcher that docker/ecs/dagster.yaml names."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from dagster import DagsterInstance, DagsterRun
from dagster._core.code_pointer import ModuleCodePointer
from dagster._core.instance.ref import InstanceRef
from dagster._core.launcher import LaunchRunContext, RunLauncher
from dagster._core.origin import JobPythonOrigin, RepositoryPythonOrigin
from dagster._core.test_utils import create_run_for_test
from dagster_aws.ecs import EcsRunLauncher

FILE = Path(__file__).parents[1] / "docker/ecs/dagster.yaml"


def open_launcher(folder: Path) -> EcsRunLauncher[Any]:
    """The launcher of the file, as a daemon has it that starts now."""
    data = InstanceRef.from_dir(str(folder), config_dir=str(FILE.parent)).run_launcher_data
    assert data is not None
    launcher = data.rehydrate(as_type=RunLauncher)
    assert isinstance(launcher, EcsRunLauncher)
    return launcher


def launch(instance: DagsterInstance, launcher: EcsRunLauncher[Any]) -> DagsterRun:
    """A run of the job `counts` that has a task. The command of the task names the instance of the file."""
    repository = RepositoryPythonOrigin("python", ModuleCodePointer("ruter_dagster.definitions", "defs"))
    origin = JobPythonOrigin("counts", repository)
    run = create_run_for_test(instance, job_name="counts", job_code_origin=origin)
    if not launcher.has_instance:
        launcher.register_instance(instance)
    launcher.launch_run(LaunchRunContext(dagster_run=run, workspace=None))
    launched = instance.get_run_by_id(run.run_id)
    assert launched is not None
    return launched
