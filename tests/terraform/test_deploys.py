"""A deploy of another image: runs that have started continue, later ones have the new image, and none finds no task definition."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import boto3
import pytest
from dagster import DagsterInstance
from dagster._core.launcher import WorkerStatus
from dagster_aws.ecs import launcher as launcher_module
from dagster_aws.ecs.tasks import CurrentEcsTaskMetadata

from tests.ecs_launch import launch, open_launcher
from tests.terraform.conftest import REGISTRY
from tests.terraform.moto_patches import UNHEALTHY_DIGEST
from tests.terraform.moto_shim import REGION
from tests.terraform.terraform import ROOT, Workspace

# A group of its own: most of the time the provider waits for the database.
pytestmark = [pytest.mark.extended, pytest.mark.xdist_group("deploys")]
TARGETS = ("aws_ecs_service", "aws_ecs_task_definition")
ID = "s-deploy-1a2b3c"
NAME = f"rd-{ID}"
OLD, NEW = (f"{REGISTRY}/rd-dagster@sha256:{letter * 64}" for letter in "ab")
UNHEALTHY = f"{REGISTRY}/rd-dagster@{UNHEALTHY_DIGEST}"
OVERRIDES_LIMIT = 8192
"""Most characters of a task's overrides in ECS."""


def deploy(workspace: Workspace, image: str, check: bool = True) -> str:
    """Applies the services with an image, and returns Terraform's errors."""
    targets = [f"-target=module.dagster.{kind}.this" for kind in TARGETS]
    arguments = ("apply", "-auto-approve", f"-var=orchestrator_image={image}", *targets)
    done = workspace.run(*workspace.with_values(*arguments), check=check)
    assert (done.returncode == 0) is check
    return done.stderr


@pytest.fixture
def ecs(aws_endpoint: str, monkeypatch: pytest.MonkeyPatch) -> Any:
    """ECS, for this process and for Dagster's launcher."""
    variables = {
        "AWS_ENDPOINT_URL": aws_endpoint,
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_REGION": REGION,
        "AWS_DEFAULT_REGION": REGION,
        "DAGSTER_RUN_TASK": f"{NAME}-run",
    }
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    return boto3.client("ecs")


def run_as_daemon(ecs: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """This process is the daemon's task. moto starts no tasks of services."""
    (service,) = ecs.describe_services(cluster=NAME, services=["daemon"])["services"]
    (task,) = ecs.run_task(
        cluster=NAME,
        taskDefinition=service["taskDefinition"],
        launchType="FARGATE",
        networkConfiguration=service["networkConfiguration"],
    )["tasks"]
    metadata = CurrentEcsTaskMetadata(cluster=NAME, task_arn=task["taskArn"])
    monkeypatch.setattr(launcher_module, "get_current_ecs_task_metadata", lambda: metadata)


def task_of(ecs: Any, run: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """The task of a run, and its definition."""
    (task,) = ecs.describe_tasks(cluster=NAME, tasks=[run.tags["ecs/task_arn"]], include=["TAGS"])["tasks"]
    definition = ecs.describe_task_definition(taskDefinition=task["taskDefinitionArn"])["taskDefinition"]
    return task, definition


def images_of_services(ecs: Any) -> set[str]:
    services = ecs.describe_services(cluster=NAME, services=["code", "web", "daemon"])["services"]
    definitions = [ecs.describe_task_definition(taskDefinition=each["taskDefinition"]) for each in services]
    return {each["taskDefinition"]["containerDefinitions"][0]["image"] for each in definitions}


def test_deploy_keeps_started_runs_and_gives_later_runs_the_new_image(
    workspace: Callable[..., Workspace],
    ecs: Any,
    instance: DagsterInstance,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    sandbox = workspace(ID)
    deploy(sandbox, OLD)
    run_as_daemon(ecs, monkeypatch)
    started = launch(instance, open_launcher(tmp_path))
    deploy(sandbox, NEW)
    daemon = open_launcher(tmp_path)
    later = launch(instance, daemon)
    assert images_of_services(ecs) == {NEW}
    for run, image, status in ((started, OLD, "INACTIVE"), (later, NEW, "ACTIVE")):
        _, definition = task_of(ecs, run)
        assert (definition["containerDefinitions"][0]["image"], definition["status"]) == (image, status)
        assert daemon.check_run_worker_health(run).status is WorkerStatus.RUNNING
    assert_task_is_as_terraform_defines_it(*task_of(ecs, later), later.run_id)
    assert daemon.terminate(started.run_id)
    assert daemon.check_run_worker_health(started).status is not WorkerStatus.RUNNING
    assert_rollback_fails_the_deploy(sandbox, ecs)


def assert_rollback_fails_the_deploy(sandbox: Workspace, ecs: Any) -> None:
    """The provider itself reports success, and the old revision must stay for the containers that ECS brought back."""
    errors = deploy(sandbox, UNHEALTHY, check=False)
    assert "ECS brought the old ones back" in " ".join(errors.replace("│", " ").split())
    assert images_of_services(ecs) == {NEW}
    definition = ecs.describe_task_definition(taskDefinition=f"{NAME}-daemon:2")["taskDefinition"]
    assert definition["status"] == "ACTIVE"


def assert_task_is_as_terraform_defines_it(
    task: dict[str, Any], definition: dict[str, Any], run_id: str
) -> None:
    file = (ROOT / "envs" / "sandbox.tfvars").read_text()
    size = re.search(r"run += \{ cpu = (\d+), memory = (\d+) \}", file)
    assert size and (definition["cpu"], definition["memory"]) == size.groups()
    (container,) = definition["containerDefinitions"]
    assert [secret["name"] for secret in container["secrets"]] == ["DAGSTER_PG_PASSWORD"]
    assert "DAGSTER_PG_PASSWORD" not in {variable["name"] for variable in container["environment"]}
    assert {"key": "dagster/run_id", "value": run_id} in task["tags"]
    assert len(json.dumps(task["overrides"])) < OVERRIDES_LIMIT


def test_task_definitions_are_replaced_before_the_old_ones_go() -> None:
    """Terraform would otherwise deregister the revision of which the old daemon starts runs."""
    module = (ROOT / "modules" / "dagster" / "main.tf").read_text()
    block = re.search(r'resource "aws_ecs_task_definition" "this" \{(.*?)\n\}', module, re.DOTALL)
    assert block and "create_before_destroy = true" in block[1]
