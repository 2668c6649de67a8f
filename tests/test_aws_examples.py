"""The examples of AWS's policies, event patterns and lifecycle: well-formed, and each takes just what it is for."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import boto3
import pytest
from moto import mock_aws
from moto.events.models import EventPattern

from dagster_sagemaker.folder import Folder
from ruter_dagster.config.settings import Settings
from ruter_dagster.resources.sagemaker.events import EndNotes

EXAMPLES = Path(__file__).parents[1] / "examples" / "aws"
NAME = "rd-dev-loads-stop-loads-0123456789-1"


def takes(rule: str, event: dict[str, Any]) -> bool:
    return EventPattern.load((EXAMPLES / f"{rule}-rule.json").read_text()).matches_event(event)


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.json")), ids=lambda path: path.stem)
def test_an_example_is_json_without_unknown_fields(path: Path) -> None:
    content = json.loads(path.read_text())
    if path.stem.endswith("-rule"):
        assert set(content) == {"source", "detail-type", "detail"}
        return
    if path.stem == "lifecycle":
        assert set(content) == {"Rules"}
        return
    known = {"Sid", "Effect", "Principal", "Action", "Resource", "Condition"}
    assert content["Version"] == "2012-10-17"
    assert all(set(statement) <= known for statement in content["Statement"])


def statements(name: str) -> list[dict[str, Any]]:
    return json.loads((EXAMPLES / f"{name}.json").read_text())["Statement"]


@pytest.mark.parametrize("role", ["job-role", "orchestrator-role"])
def test_keys_are_granted_to_services_of_aws_alone(role: str) -> None:
    granting = [statement for statement in statements(role) if "kms:CreateGrant" in statement["Action"]]
    assert granting
    for statement in granting:
        assert statement["Action"] == "kms:CreateGrant"
        assert statement["Condition"] == {"Bool": {"kms:GrantIsForAWSResource": "true"}}


def test_sagemaker_takes_the_jobs_role_for_this_account_alone() -> None:
    (statement,) = statements("job-trust")
    assert statement["Condition"] == {"StringEquals": {"aws:SourceAccount": "123456789012"}}


def test_a_job_deletes_no_record_of_jobs() -> None:
    denied = [statement for statement in statements("job-role") if statement["Effect"] == "Deny"]
    assert [(statement["Action"], statement["Resource"].partition("/dev/")[2]) for statement in denied] == [
        ("s3:DeleteObject", "*/artifacts/pipes/*")
    ]


@pytest.mark.parametrize("kind", ["Processing", "Training"])
@pytest.mark.parametrize(
    ("name", "status", "taken"),
    [
        (NAME, "Completed", True),
        (NAME, "Failed", True),
        (NAME, "Stopped", True),
        (NAME, "InProgress", False),
        (NAME.replace("dev", "prod"), "Completed", False),
    ],
)
def test_event_rule_of_jobs_matches_ends_of_the_environment(
    kind: str, name: str, status: str, taken: bool
) -> None:
    event = {
        "source": "aws.sagemaker",
        "detail-type": f"SageMaker {kind} Job State Change",
        "detail": {f"{kind}JobName": name, f"{kind}JobStatus": status},
    }
    assert takes("jobs", event) == taken


@pytest.mark.parametrize(
    ("key", "taken"), [("tides/stop_visits.csv", True), ("other/stop_visits.csv", False)]
)
def test_event_rule_of_arrivals_matches_new_objects(key: str, taken: bool) -> None:
    event = {
        "source": "aws.s3",
        "detail-type": "Object Created",
        "detail": {"bucket": {"name": "my-counts"}, "object": {"key": key}},
    }
    assert takes("arrivals", event) == taken


@mock_aws
def test_lifecycle_expires_only_files_of_single_runs() -> None:
    s3 = boto3.client("s3", region_name="eu-north-1")
    s3.create_bucket(Bucket="my-bucket", CreateBucketConfiguration={"LocationConstraint": "eu-north-1"})
    lifecycle = json.loads((EXAMPLES / "lifecycle.json").read_text())
    s3.put_bucket_lifecycle_configuration(Bucket="my-bucket", LifecycleConfiguration=lifecycle)
    rules = s3.get_bucket_lifecycle_configuration(Bucket="my-bucket")["Rules"]
    given = {
        "lake": "s3://my-bucket/lake",
        "source": "tides",
        "tides_path": "s3://my-counts/tides",
        "operator": "ruter",
        "AWS_REGION": "eu-north-1",
        "mlflow_tracking_uri": "https://mlflow.example",
    }
    settings = Settings(environment="dev", _env_file=None, **given)  # type: ignore[call-arg]
    artifacts = settings.artifacts_location
    assert {rule["Filter"]["Prefix"] for rule in rules} == {
        Folder(None, None, artifacts, "", "").prefix + "/",  # type: ignore[arg-type]
        EndNotes(artifacts, None).prefix,
        f"{artifacts}/pipelines/".removeprefix("s3://my-bucket/"),
        f"{settings.lake_dir}/staging/".removeprefix("s3://my-bucket/"),
    }
