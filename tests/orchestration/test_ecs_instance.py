"""The instance on ECS as Terraform configures it: its variables, its task of a run, and the calls that its role may make."""

from __future__ import annotations

import logging
import os
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
import yaml
from botocore.client import BaseClient
from dagster import DagsterEvent, DagsterEventType, DagsterInstance, DagsterRun, DagsterRunStatus, RunRecord
from dagster._core.test_utils import instance_for_test
from dagster._daemon.monitoring import run_monitoring
from dagster._daemon.monitoring.run_monitoring import monitor_started_run, monitor_starting_run
from dagster_aws.ecs import EcsRunLauncher
from dagster_aws.ecs import launcher as launcher_module
from dagster_aws.ecs.tasks import CurrentEcsTaskMetadata
from moto import mock_aws

from ruter_dagster.config.settings import Settings
from scripts.reference import variable
from tests.ecs_launch import FILE, launch, open_launcher
from tests.instance_files import variables_of, variables_of_terraform

ROOT = Path(__file__).parents[2]
MODULE = (ROOT / "terraform/modules/dagster/main.tf").read_text()
LOGGER = logging.getLogger(__name__)
REGION, CLUSTER, FAMILY = "eu-north-1", "rd-dev", "rd-dev-run"


@pytest.fixture
def ecs(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """ECS with two revisions of the runs' task. The process has only variables of AWS that Terraform sets."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "tests")
    for name in variables_of_terraform() & {"AWS_REGION", "AWS_DEFAULT_REGION"}:
        monkeypatch.setenv(name, REGION)
    monkeypatch.setenv("DAGSTER_RUN_TASK", FAMILY)
    with mock_aws():
        ecs = boto3.client("ecs", region_name=REGION)
        ecs.create_cluster(clusterName=CLUSTER)
        for image in ("old", "new"):
            ecs.register_task_definition(
                family=FAMILY,
                networkMode="awsvpc",
                containerDefinitions=[{"name": "dagster", "image": image, "memory": 512}],
            )
        yield ecs


@pytest.fixture
def launcher(ecs: Any, tmp_path: Path) -> EcsRunLauncher[Any]:
    return open_launcher(tmp_path)


@pytest.fixture
def network(ecs: Any, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """The network of this process, which is a task of ECS too: the daemon's."""
    ec2 = boto3.client("ec2", region_name=REGION)
    subnet = ec2.describe_subnets()["Subnets"][0]
    group = ec2.create_security_group(GroupName="dagster", Description="dagster", VpcId=subnet["VpcId"])
    network = {
        "subnets": [subnet["SubnetId"]],
        "securityGroups": [group["GroupId"]],
        "assignPublicIp": "DISABLED",
    }
    (daemon,) = ecs.run_task(
        cluster=CLUSTER,
        taskDefinition=FAMILY,
        launchType="FARGATE",
        networkConfiguration={"awsvpcConfiguration": network},
    )["tasks"]
    metadata = CurrentEcsTaskMetadata(cluster=CLUSTER, task_arn=daemon["taskArn"])
    monkeypatch.setattr(launcher_module, "get_current_ecs_task_metadata", lambda: metadata)
    return network


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, dict[str, Any]]]:
    """The calls to AWS: action and arguments."""
    calls: list[tuple[str, dict[str, Any]]] = []
    call = BaseClient._make_api_call  # pyright: ignore[reportAttributeAccessIssue]

    def record(client: Any, operation: str, arguments: dict[str, Any]) -> Any:
        calls.append((f"{client.meta.service_model.signing_name}:{operation}", arguments))
        return call(client, operation, arguments)

    monkeypatch.setattr(BaseClient, "_make_api_call", record)
    return calls


def test_launcher_uses_newest_task_of_terraform(launcher: EcsRunLauncher[Any]):
    assert launcher.task_definition
    assert launcher.task_definition.endswith(f"task-definition/{FAMILY}:2")
    assert 'DAGSTER_RUN_TASK = "${var.name}-run"' in MODULE


def test_run_is_a_task_in_the_network_of_the_daemon(
    instance: DagsterInstance,
    network: dict[str, Any],
    launcher: EcsRunLauncher[Any],
    calls: list[tuple[str, dict[str, Any]]],
):
    run = launch(instance, launcher)
    task = dict(calls)["ecs:RunTask"]
    assert task["networkConfiguration"] == {"awsvpcConfiguration": network}
    assert (task["cluster"], task["launchType"]) == (CLUSTER, "FARGATE")
    (container,) = task["overrides"]["containerOverrides"]
    assert container["name"] == "dagster"
    assert container["command"][:5] == ["python", "-m", "dagster", "api", "execute_run"]
    assert {"key": "dagster/run_id", "value": run.run_id} in task["tags"]


def test_role_may_make_each_call_of_a_run(
    instance: DagsterInstance,
    network: dict[str, Any],
    launcher: EcsRunLauncher[Any],
    calls: list[tuple[str, dict[str, Any]]],
):
    run = launch(instance, launcher)
    launcher.check_run_worker_health(run)
    launcher.terminate(run.run_id)
    policy = (ROOT / "terraform/modules/iam/orchestrator_policy.tf").read_text()
    allowed = set(re.findall(r'"((?:ecs|ec2|iam):\w+)"', policy))
    made = {action for action, _ in calls}
    assert {"ecs:RunTask", "ecs:StopTask", "ec2:DescribeNetworkInterfaces"} <= made <= allowed
    assert {"ecs:TagResource", "iam:PassRole"} <= allowed, "RunTask needs both for tags and roles"


def test_sandbox_reaches_the_services_that_a_run_is_started_with():
    """By its NAT gateway: it has no endpoint of ECS, EC2, CloudWatch and its logs."""
    sandbox = (ROOT / "terraform/envs/sandbox.tfvars").read_text()
    assert re.search(r"(?m)^nat_gateway\s+= true$", sandbox)


@pytest.fixture
def monitored(ecs: Any, network: dict[str, Any]) -> Iterator[DagsterInstance]:
    """An instance with the file's launcher, monitoring and retries, but local storage."""
    parts = yaml.safe_load(FILE.read_text())
    overrides = {name: parts[name] for name in ("run_launcher", "run_monitoring", "run_retries")}
    with instance_for_test(overrides=overrides) as instance:
        yield instance


def test_run_whose_task_was_killed_fails_and_is_retried(
    monitored: DagsterInstance, ecs: Any, monkeypatch: pytest.MonkeyPatch
):
    launcher: Any = monitored.run_launcher
    run = launch(monitored, launcher)
    monitored.report_dagster_event(_event(DagsterEventType.PIPELINE_START), run.run_id)
    ecs.stop_task(cluster=CLUSTER, task=run.tags["ecs/task_arn"])
    describe = launcher.ecs.describe_tasks
    # moto describes no containers of a stopped task.
    killed = {"containers": [{"name": "dagster", "exitCode": 137}]}
    monkeypatch.setattr(
        launcher.ecs, "describe_tasks", lambda **task: {"tasks": [describe(**task)["tasks"][0] | killed]}
    )
    monitor_started_run(monitored, None, _record(monitored, run), LOGGER)  # type: ignore[arg-type]
    record = _record(monitored, run).dagster_run
    assert record.status is DagsterRunStatus.FAILURE
    assert record.tags["dagster/will_retry"] == "true"


@pytest.mark.parametrize(("seconds", "fails"), [(290, False), (310, True)])
def test_run_that_does_not_start_fails_after_five_minutes(
    monitored: DagsterInstance, monkeypatch: pytest.MonkeyPatch, seconds: int, fails: bool
):
    run = launch(monitored, monitored.run_launcher)  # type: ignore[arg-type]
    monitored.report_dagster_event(_event(DagsterEventType.PIPELINE_STARTING), run.run_id)
    monkeypatch.setattr(run_monitoring, "get_current_timestamp", lambda: time.time() + seconds)
    monitor_starting_run(monitored, _record(monitored, run), LOGGER)
    record = _record(monitored, run).dagster_run
    assert (record.status is DagsterRunStatus.FAILURE) is fails
    assert ("dagster/will_retry" in record.tags) is fails


def _event(kind: DagsterEventType) -> DagsterEvent:
    return DagsterEvent(event_type_value=kind.value, job_name="counts")


def _record(instance: DagsterInstance, run: DagsterRun) -> RunRecord:
    record = instance.get_run_record_by_id(run.run_id)
    assert record is not None
    return record


def test_launcher_lists_no_secrets(launcher: EcsRunLauncher[Any]):
    assert launcher.secrets_tags == []


def test_each_variable_is_set_by_terraform():
    assert variables_of(FILE) <= variables_of_terraform()


def test_image_has_the_file_in_the_home_of_terraform():
    match = re.search(r'DAGSTER_HOME\s+= "(.*)"', MODULE)
    dockerfile = (ROOT / "docker/orchestrator.Dockerfile").read_text()
    assert match and f"COPY docker/ecs/dagster.yaml {match[1]}/dagster.yaml\n" in dockerfile


def test_writable_folder_of_the_task_belongs_to_every_user_of_the_image():
    """Fargate mounts an empty volume as root's, unless the last stage of the image declares the folder."""
    folders = re.findall(r'containerPath = "(.*?)", readOnly = false', MODULE)
    dockerfile = (ROOT / "docker/orchestrator.Dockerfile").read_text()
    declared = re.findall(r'(?m)^VOLUME \["(.*)"\]$', dockerfile.rpartition("\nFROM ")[2])
    assert folders and set(folders) <= set(declared)
    assert "readonlyRootFilesystem = true" in MODULE


def test_container_has_the_name_of_the_launcher():
    name = yaml.safe_load(FILE.read_text())["run_launcher"]["config"]["container_name"]
    containers = re.search(r"container_definitions = jsonencode\((.*?)\n  \)", MODULE, re.DOTALL)
    assert containers and re.search(rf'(?m)^\s+name\s+= "{name}"$', containers[1])


def test_each_setting_of_terraform_exists():
    """A misspelt variable would be ignored in the containers."""
    settings = {variable(name) for name in Settings.model_fields}
    named = {
        name
        for file in (ROOT / "terraform").rglob("*.tf")
        for name in re.findall(r"\b(?:RUTER|KAFKA)_[A-Z_]*[A-Z]\b", file.read_text())
    }
    assert named and named <= settings
