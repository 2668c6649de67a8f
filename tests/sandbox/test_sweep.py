"""The sweep deletes what runs have made in one sandbox, touches no other, and goes on if a kind fails."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError
from click.testing import CliRunner
from moto import mock_aws

from ruter_dagster.aws.sandbox import leftovers, running
from ruter_dagster.commands import sandbox_sweep
from ruter_dagster.commands.cli import main
from ruter_dagster.contracts.errors import PermanentFailure
from ruter_dagster.contracts.sandbox import Sandbox
from tests.sandbox.moto_patches import patch_model_packages

REGION = "eu-north-1"
SANDBOX, OTHER = Sandbox.of("s-seats-1a2b3c"), Sandbox.of("s-seats-ffffff")
SKIPPED = ("quicksight", "topics", "stacks", "state")
"""Kinds with tests of their own: moto does not know them."""
ADDRESS = f"s3://rd-state/sandbox/{SANDBOX.id}/"


@pytest.fixture
def aws(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """`aws("s3")`: a client of moto, which has what two sandboxes have made."""
    for name, value in {
        "AWS_ACCESS_KEY_ID": "tests",
        "AWS_SECRET_ACCESS_KEY": "tests",
        "AWS_REGION": REGION,
    }.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(running, "POLL_SECONDS", 0.01)
    patch_model_packages()
    with mock_aws():
        clients = lambda service: boto3.client(service, region_name=REGION)  # noqa: E731
        for sandbox in (SANDBOX, OTHER):
            make_leftovers(clients, sandbox)
        yield clients


def make_leftovers(aws: Any, sandbox: Sandbox) -> None:
    ecs, glue, logs, sagemaker = aws("ecs"), aws("glue"), aws("logs"), aws("sagemaker")
    for _ in range(2):
        ecs.register_task_definition(
            family=f"{sandbox.name}-run",
            containerDefinitions=[{"name": "dagster", "image": "image", "memory": 512}],
        )
    ecs.deregister_task_definition(taskDefinition=f"{sandbox.name}-run:1")
    for database in (sandbox.database, f"{sandbox.database}_tides"):
        glue.create_database(DatabaseInput={"Name": database})
        for table in ("raw_stop_visits", "loads_stop_loads"):
            glue.create_table(DatabaseName=database, TableInput={"Name": table})
    for group in (
        f"/aws/rds/instance/{sandbox.name}/postgresql",
        f"/aws/ecs/containerinsights/{sandbox.name}/performance",
    ):
        logs.create_log_group(logGroupName=group)
    if sandbox is SANDBOX:
        logs.create_log_group(logGroupName=leftovers.JOB_LOGS[0])
    logs.create_log_stream(logGroupName=leftovers.JOB_LOGS[0], logStreamName=f"{sandbox.name}-0123/algo-1-1")
    group = f"{sandbox.name}-load-model"
    sagemaker.create_model_package_group(ModelPackageGroupName=group)
    for _ in range(2):
        sagemaker.create_model_package(ModelPackageGroupName=group)
    for name in ("passwords", "by-hand"):
        aws("secretsmanager").create_secret(Name=f"{sandbox.name}/{name}", SecretString="{}")


def inventory(aws: Any, sandbox: Sandbox) -> dict[str, list[str]]:
    """What exists of the sandbox, by kind."""
    glue, sagemaker = aws("glue"), aws("sagemaker")
    databases = [
        item["Name"]
        for item in glue.get_databases()["DatabaseList"]
        if item["Name"].startswith(sandbox.database)
    ]
    streams = aws("logs").describe_log_streams(logGroupName=leftovers.JOB_LOGS[0])["logStreams"]
    definitions = [
        arn
        for status in ("ACTIVE", "INACTIVE")
        for arn in aws("ecs").list_task_definitions(status=status)["taskDefinitionArns"]
    ]
    return {
        "databases": databases,
        "tables": [table["Name"] for name in databases for table in glue.get_tables(DatabaseName=name)["TableList"]],
        "groups": [group["logGroupName"] for group in aws("logs").describe_log_groups()["logGroups"] if f"/{sandbox.name}/" in group["logGroupName"]],
        "streams": [item["logStreamName"] for item in streams if item["logStreamName"].startswith(sandbox.name)],
        "packages": [
            item["ModelPackageArn"]
            for item in sagemaker.list_model_packages(ModelPackageGroupName=f"{sandbox.name}-load-model")["ModelPackageSummaryList"]
        ],
        "secrets": [item["Name"] for item in aws("secretsmanager").list_secrets()["SecretList"] if item["Name"].startswith(sandbox.name)],
        "definitions": [arn for arn in definitions if f"/{sandbox.name}-run:" in arn],
    }  # fmt: skip


def test_everything_of_one_sandbox_is_deleted(aws: Any) -> None:
    before = inventory(aws, OTHER)
    assert all(before.values()) and {kind: len(items) for kind, items in before.items()} == {
        kind: len(items) for kind, items in inventory(aws, SANDBOX).items()
    }
    lines: list[str] = []
    assert sandbox_sweep.sweep(SANDBOX, lines.append, None, SKIPPED) == []
    assert sandbox_sweep.sweep(SANDBOX, lines.append, ADDRESS, SKIPPED) == []
    left = inventory(aws, SANDBOX)
    assert left.pop("databases") == [SANDBOX.database], "Terraform's own database"
    assert not any(left.values()), left
    assert inventory(aws, OTHER) == before
    assert f"Deleted: table {SANDBOX.database}.raw_stop_visits" in lines


def test_repeating_it_deletes_nothing(aws: Any) -> None:
    for address in (None, ADDRESS):
        sandbox_sweep.sweep(SANDBOX, lambda _: None, address, SKIPPED)
    lines: list[str] = []
    for address in (None, ADDRESS):
        assert sandbox_sweep.sweep(SANDBOX, lines.append, address, SKIPPED) == []
    assert [line for line in lines if line.startswith("Deleted")] == []


def test_other_kinds_are_deleted_if_one_fails(aws: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: Sandbox) -> list[str]:
        raise ClientError({"Error": {"Code": "AccessDenied", "Message": "no"}}, "StopTask")

    monkeypatch.setitem(sandbox_sweep.BEFORE, "tasks", refuse)
    monkeypatch.setitem(sandbox_sweep.BEFORE, "topics", lambda _: [])
    monkeypatch.setitem(sandbox_sweep.BEFORE, "quicksight", lambda _: [])
    done = CliRunner().invoke(main, ["sandbox-sweep", SANDBOX.id])
    assert done.exit_code == 1
    assert "Left: tasks: An error occurred (AccessDenied)" in done.output
    assert inventory(aws, SANDBOX)["tables"] == []


@pytest.mark.parametrize("environment", ["dev", "prod", "", "s-seats", "rd-s-seats-1a2b3c"])
def test_other_environments_are_refused(aws: Any, environment: str) -> None:
    done = CliRunner().invoke(main, ["sandbox-sweep", environment])
    assert done.exit_code == 1 and "is no sandbox" in done.output


def test_state_of_another_sandbox_is_refused_before_anything_is_deleted(aws: Any) -> None:
    before = inventory(aws, SANDBOX)
    with pytest.raises(PermanentFailure, match="is not the state of"):
        sandbox_sweep.sweep(SANDBOX, lambda _: None, "s3://rd-state/env/prod/")
    assert inventory(aws, SANDBOX) == before


def test_unknown_kind_is_refused() -> None:
    done = CliRunner().invoke(main, ["sandbox-sweep", SANDBOX.id, "--skip", "topic"])
    assert done.exit_code == 2 and "allowed: services, tasks" in done.output
