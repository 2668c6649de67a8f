"""A command runs in a task of the sandbox's ECS. moto keeps the task; this test's process runs its command, as Fargate would."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import boto3
import pytest
from click.testing import CliRunner
from moto import mock_aws
from moto.core.models import DEFAULT_ACCOUNT_ID
from moto.ecs.models import ecs_backends
from moto.moto_api import state_manager

from ruter_dagster.commands import sandbox_run
from ruter_dagster.commands.cli import main
from ruter_dagster.contracts.errors import PermanentFailure
from ruter_dagster.contracts.sandbox import Sandbox

REGION = "eu-north-1"
SANDBOX = Sandbox.of("s-seats-1a2b3c")
GROUP = f"/rd/{SANDBOX.name}/dagster/run"
Clients = Callable[[str], Any]


@pytest.fixture
def aws(monkeypatch: pytest.MonkeyPatch) -> Iterator[Clients]:
    """`aws("ecs")`: a client of moto, with the cluster, the service and the definition that Terraform makes."""
    for name, value in {
        "AWS_ACCESS_KEY_ID": "tests",
        "AWS_SECRET_ACCESS_KEY": "tests",
        "AWS_REGION": REGION,
    }.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(sandbox_run, "POLL_SECONDS", 0.05)
    with mock_aws():
        # A task keeps its state until the test changes it. By default, each description moves it on.
        state_manager.set_transition("ecs::task", {"progression": "manual", "times": 10**6})
        clients = lambda service: boto3.client(service, region_name=REGION)  # noqa: E731
        ecs, ec2 = clients("ecs"), clients("ec2")
        ecs.create_cluster(clusterName=SANDBOX.name)
        ecs.register_task_definition(
            family=f"{SANDBOX.name}-run",
            networkMode="awsvpc",
            containerDefinitions=[{"name": "dagster", "image": "image", "memory": 512}],
        )
        subnet = ec2.describe_subnets()["Subnets"][0]
        group = ec2.create_security_group(GroupName="dagster", Description="dagster", VpcId=subnet["VpcId"])
        network = {"subnets": [subnet["SubnetId"]], "securityGroups": [group["GroupId"]]}
        ecs.create_service(
            cluster=SANDBOX.name,
            serviceName="daemon",
            taskDefinition=f"{SANDBOX.name}-run",
            desiredCount=0,
            networkConfiguration={"awsvpcConfiguration": network},
        )
        clients("logs").create_log_group(logGroupName=GROUP)
        yield clients
        state_manager.unset_transition("ecs::task")


def run_tasks(aws: Clients, ended: threading.Event) -> None:
    """Runs the command of the first task that appears: its output goes to its log stream, its exit code to the task."""
    backend = ecs_backends[DEFAULT_ACCOUNT_ID][REGION]
    while not (tasks := backend.tasks.get(SANDBOX.name)):
        if ended.wait(0.02):
            return
    (arn,) = tasks
    (override,) = tasks[arn].overrides["containerOverrides"]
    done = subprocess.run(override["command"], capture_output=True, text=True)
    stream = {"logGroupName": GROUP, "logStreamName": f"run/dagster/{arn.rpartition('/')[2]}"}
    aws("logs").create_log_stream(**stream)
    events = [{"timestamp": int(time.time() * 1000), "message": line} for line in done.stdout.splitlines()]
    if events:
        aws("logs").put_log_events(**stream, logEvents=events)
    vars(tasks[arn].containers[0])["exitCode"] = done.returncode
    tasks[arn].last_status = tasks[arn].status = "STOPPED"


@pytest.fixture
def fargate(aws: Clients) -> Iterator[None]:
    ended = threading.Event()
    thread = threading.Thread(target=run_tasks, args=(aws, ended))
    thread.start()
    yield
    ended.set()
    thread.join()


def python(code: str) -> list[str]:
    return [sys.executable, "-c", code]


@pytest.mark.usefixtures("fargate")
def test_exit_code_and_log_are_those_of_the_command(aws: Clients) -> None:
    done = CliRunner().invoke(
        main,
        [
            "sandbox-run",
            "--max-minutes",
            "1",
            SANDBOX.id,
            "--",
            *python("print('one'); print('two'); exit(3)"),
        ],
    )
    assert done.exit_code == 3, done.output
    assert done.output.splitlines()[1:] == ["one", "two"]
    (arn,) = aws("ecs").list_tasks(cluster=SANDBOX.name, desiredStatus="RUNNING")["taskArns"]
    (task,) = aws("ecs").describe_tasks(cluster=SANDBOX.name, tasks=[arn])["tasks"]
    assert task["startedBy"] == "ruter-dagster sandbox-run"


@pytest.mark.usefixtures("fargate")
def test_command_without_output_says_so(aws: Clients) -> None:
    lines: list[str] = []
    assert sandbox_run.run_in_sandbox(SANDBOX, python("pass"), lines.append, 1) == 0
    assert "has no log" in lines[-1]


def test_task_that_does_not_end_is_stopped(aws: Clients) -> None:
    with pytest.raises(PermanentFailure, match=r"has not ended within 0 minutes\. It was stopped"):
        sandbox_run.run_in_sandbox(SANDBOX, ["true"], print, max_minutes=0)
    assert aws("ecs").list_tasks(cluster=SANDBOX.name, desiredStatus="STOPPED")["taskArns"]


def test_missing_sandbox_is_named(aws: Clients) -> None:
    with pytest.raises(PermanentFailure, match="The sandbox s-other-1a2b3c does not exist"):
        sandbox_run.run_in_sandbox(Sandbox.of("s-other-1a2b3c"), ["true"], print)


def test_prod_is_refused() -> None:
    assert "is no sandbox" in CliRunner().invoke(main, ["sandbox-run", "prod", "true"]).output
