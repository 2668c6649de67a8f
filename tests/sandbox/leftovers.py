"""What runs, AWS and people leave in a sandbox beside Terraform: made by the APIs of a server, and by a real Kafka."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any

from ruter_dagster.contracts.sandbox import Sandbox
from ruter_dagster.publishing.broker import Broker
from sagemaker_double.requests import processing
from tests.sandbox.conftest import STATE_BUCKET
from tests.sandbox.test_topics import publish

Clients = Callable[[str], Any]
GLUE_TABLE = {"Name": "raw_stop_visits", "Parameters": {"table_type": "ICEBERG"}}


def leave_data(clients: Clients, sandbox: Sandbox, broker: Broker) -> None:
    """Topics, a Glue table, a model package, logs and old revisions of a task definition."""
    publish(broker, sandbox)
    glue = clients("glue")
    if sandbox.database not in [item["Name"] for item in glue.get_databases()["DatabaseList"]]:
        glue.create_database(DatabaseInput={"Name": sandbox.database})
    glue.create_table(DatabaseName=sandbox.database, TableInput=GLUE_TABLE)
    group, sagemaker = f"{sandbox.name}-load-model", clients("sagemaker")
    if not sagemaker.list_model_package_groups(NameContains=group)["ModelPackageGroupSummaryList"]:
        sagemaker.create_model_package_group(ModelPackageGroupName=group)
    sagemaker.create_model_package(ModelPackageGroupName=group)
    clients("logs").create_log_group(logGroupName=f"/aws/rds/instance/{sandbox.name}/iam-db-auth-error")
    clients("ecs").register_task_definition(
        family=f"{sandbox.name}-old",
        containerDefinitions=[{"name": "dagster", "image": "image", "memory": 512}],
    )
    clients("secretsmanager").create_secret(Name=f"{sandbox.name}/by-hand", SecretString="{}")


def leave_objects(clients: Clients, bucket: str) -> None:
    """An object with two versions, and one that was deleted, so that a version and a marker of it are left."""
    s3 = clients("s3")
    for body in (b"old", b"new"):
        s3.put_object(Bucket=bucket, Key="lake/warehouse/data.parquet", Body=body)
    s3.put_object(Bucket=bucket, Key="lake/artifacts/model.json", Body=b"{}")
    s3.delete_object(Bucket=bucket, Key="lake/artifacts/model.json")


def leave_running(clients: Clients, sandbox: Sandbox) -> str:
    """A job and a task that run. Returns the name of the job."""
    name = f"{sandbox.name}-counts-0123456789ab"
    clients("sagemaker").create_processing_job(
        **processing(name, "print('on', flush=True); import time; time.sleep(600)")
    )
    # moto runs no task of a definition that has its memory outside the container.
    clients("ecs").run_task(cluster=sandbox.name, taskDefinition=f"{sandbox.name}-old", launchType="FARGATE")
    deadline = time.monotonic() + 30
    while not streams(clients, sandbox) and time.monotonic() < deadline:
        time.sleep(0.2)
    return name


def streams(clients: Clients, sandbox: Sandbox) -> list[str]:
    """Log streams of the sandbox's jobs."""
    logs = clients("logs")
    try:
        answer = logs.describe_log_streams(
            logGroupName="/aws/sagemaker/ProcessingJobs", logStreamNamePrefix=f"{sandbox.name}-"
        )
    except logs.exceptions.ResourceNotFoundException:
        return []
    return [item["logStreamName"] for item in answer["logStreams"]]


def state_keys(clients: Clients, sandbox: Sandbox) -> int:
    """Versions and markers of the sandbox's state."""
    answer = clients("s3").list_object_versions(Bucket=STATE_BUCKET, Prefix=f"sandbox/{sandbox.id}/")
    return len(answer.get("Versions", [])) + len(answer.get("DeleteMarkers", []))


def data(clients: Clients, sandbox: Sandbox) -> dict[str, Any]:
    """Data of a sandbox that no list of resources shows."""
    glue, sagemaker = clients("glue"), clients("sagemaker")
    databases = [
        item["Name"] for item in glue.get_databases()["DatabaseList"] if item["Name"] == sandbox.database
    ]
    definitions = [
        arn
        for status in ("ACTIVE", "INACTIVE")
        for arn in clients("ecs").list_task_definitions(status=status)["taskDefinitionArns"]
    ]
    packages = sagemaker.list_model_packages()["ModelPackageSummaryList"]
    return {
        "tables": [
            table["Name"] for name in databases for table in glue.get_tables(DatabaseName=name)["TableList"]
        ],
        "packages": [
            item["ModelPackageArn"] for item in packages if f"/{sandbox.name}-" in item["ModelPackageArn"]
        ],
        "definitions": [arn for arn in definitions if f"/{sandbox.name}-" in arn],
        "streams": streams(clients, sandbox),
        "state": state_keys(clients, sandbox),
    }


def empty_state(clients: Clients, sandbox: Sandbox) -> None:
    """A state without resources, as a deploy leaves it that was cancelled at once."""
    content = {
        "version": 4,
        "terraform_version": "1.11.4",
        "serial": 1,
        "lineage": "tests",
        "outputs": {},
        "resources": [],
    }
    clients("s3").put_object(
        Bucket=STATE_BUCKET, Key=f"sandbox/{sandbox.id}/terraform.tfstate", Body=json.dumps(content)
    )
