"""Deletes what a sandbox's runs, AWS and people have made beside Terraform: model packages, tables, logs, secrets, stacks, snapshots."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ruter_dagster.aws.clients import client
from ruter_dagster.contracts.errors import PermanentFailure
from ruter_dagster.contracts.sandbox import Sandbox

JOB_LOGS = ("/aws/sagemaker/ProcessingJobs", "/aws/sagemaker/TrainingJobs")
"""Log groups that all environments share. A job's streams begin with its name."""
_GONE = "DELETE_COMPLETE"
_TABLES_PER_CALL = 100
_DEFINITIONS_PER_CALL = 10


def delete_model_packages(sandbox: Sandbox) -> list[str]:
    """Deletes all versions of the sandbox's model package groups. SageMaker refuses to delete a group with versions."""
    sagemaker = client("sagemaker")
    deleted = []
    for group in _pages(sagemaker, "list_model_package_groups", NameContains=sandbox.name):
        name = group["ModelPackageGroupName"]
        if not sandbox.owns(name):
            continue
        for package in list(_pages(sagemaker, "list_model_packages", ModelPackageGroupName=name)):
            sagemaker.delete_model_package(ModelPackageName=package["ModelPackageArn"])
            deleted.append(f"model package {package['ModelPackageArn'].partition('/')[2]}")
    return deleted


def delete_tables(sandbox: Sandbox) -> list[str]:
    """Deletes the tables of the sandbox's Glue databases. Their files are in its bucket, or belong to the tables of another environment."""
    glue = client("glue")
    deleted = []
    for database in [item["Name"] for item in _pages(glue, "get_databases")]:
        if database != sandbox.database and not database.startswith(f"{sandbox.database}_"):
            continue
        tables = [table["Name"] for table in _pages(glue, "get_tables", DatabaseName=database)]
        for start in range(0, len(tables), _TABLES_PER_CALL):
            batch = tables[start : start + _TABLES_PER_CALL]
            _require_no_errors(glue.batch_delete_table(DatabaseName=database, TablesToDelete=batch))
        deleted += [f"table {database}.{table}" for table in tables]
        if database != sandbox.database:  # Terraform does not know it
            glue.delete_database(Name=database)
            deleted.append(f"Glue database {database}")
    return deleted


def delete_logs(sandbox: Sandbox) -> list[str]:
    """Deletes the log groups that AWS made for the sandbox, and its jobs' streams in the groups that environments share."""
    logs = client("logs")
    deleted = []
    for prefix in (f"/aws/rds/instance/{sandbox.name}/", f"/aws/ecs/containerinsights/{sandbox.name}/"):
        for group in list(_pages(logs, "describe_log_groups", logGroupNamePrefix=prefix)):
            logs.delete_log_group(logGroupName=group["logGroupName"])
            deleted.append(f"log group {group['logGroupName']}")
    return deleted + [
        f"log stream {name}" for group in JOB_LOGS for name in _delete_streams(logs, group, sandbox)
    ]


def delete_task_definitions(sandbox: Sandbox) -> list[str]:
    """Deletes the revisions that earlier deploys left inactive, and those still active."""
    ecs = client("ecs")
    definitions = []
    for status in ("ACTIVE", "INACTIVE"):
        arns = _pages(ecs, "list_task_definitions", status=status)
        definitions += [
            (status, arn) for arn in arns if sandbox.owns(arn.rpartition("/")[2].partition(":")[0])
        ]
    for status, arn in definitions:
        if status == "ACTIVE":
            ecs.deregister_task_definition(taskDefinition=arn)
    arns = [arn for _, arn in definitions]
    for start in range(0, len(arns), _DEFINITIONS_PER_CALL):
        batch = arns[start : start + _DEFINITIONS_PER_CALL]
        if failures := ecs.delete_task_definitions(taskDefinitions=batch).get("failures"):
            raise PermanentFailure(
                "; ".join(f"task definition {item['arn']}: {item['reason']}" for item in failures)
            )
    return [f"task definition {arn.rpartition('/')[2]}" for arn in arns]


def delete_secrets(sandbox: Sandbox) -> list[str]:
    """Deletes secrets below `rd-<id>/` at once, without the days in which a secret can be restored."""
    secrets = client("secretsmanager")
    filters = [{"Key": "name", "Values": [f"{sandbox.name}/"]}]
    deleted = []
    for name in [item["Name"] for item in _pages(secrets, "list_secrets", Filters=filters)]:
        if name.startswith(f"{sandbox.name}/"):
            secrets.delete_secret(SecretId=name, ForceDeleteWithoutRecovery=True)
            deleted.append(f"secret {name}")
    return deleted


def delete_stacks(sandbox: Sandbox) -> list[str]:
    """Deletes CloudFormation stacks of the sandbox, such as one whose deletion had failed, and waits."""
    cloudformation = client("cloudformation")
    stacks = [
        stack["StackName"]
        for stack in _pages(cloudformation, "list_stacks")
        if stack["StackStatus"] != _GONE and sandbox.owns(stack["StackName"])
    ]
    for stack in stacks:
        cloudformation.delete_stack(StackName=stack)
    for stack in stacks:
        cloudformation.get_waiter("stack_delete_complete").wait(StackName=stack)
    return [f"stack {stack}" for stack in stacks]


def delete_snapshots(sandbox: Sandbox) -> list[str]:
    """Deletes snapshots of the sandbox's database that people have made."""
    rds = client("rds")
    deleted = []
    for snapshot in _pages(rds, "describe_db_snapshots", SnapshotType="manual"):
        if snapshot["DBInstanceIdentifier"] == sandbox.name:
            rds.delete_db_snapshot(DBSnapshotIdentifier=snapshot["DBSnapshotIdentifier"])
            deleted.append(f"database snapshot {snapshot['DBSnapshotIdentifier']}")
    return deleted


def _delete_streams(logs: Any, group: str, sandbox: Sandbox) -> Iterator[str]:
    try:
        streams = list(
            _pages(logs, "describe_log_streams", logGroupName=group, logStreamNamePrefix=f"{sandbox.name}-")
        )
    except logs.exceptions.ResourceNotFoundException:
        return
    for stream in streams:
        logs.delete_log_stream(logGroupName=group, logStreamName=stream["logStreamName"])
        yield f"{group}/{stream['logStreamName']}"


def _pages(service: Any, operation: str, **arguments: Any) -> Iterator[Any]:
    """All items of a list of AWS."""
    paginator = service.get_paginator(operation)
    (key,) = (result.expression for result in paginator.result_keys)
    for page in paginator.paginate(**arguments):
        yield from page.get(key, [])


def _require_no_errors(answer: dict[str, Any]) -> None:
    if errors := answer.get("Errors"):
        raise PermanentFailure(
            "; ".join(
                f"table {item['TableName']}: {item['ErrorDetail'].get('ErrorMessage')}" for item in errors
            )
        )
