"""The rules of EventBridge and the lifecycle of the lake, as Terraform has them, each take just what they are for."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from moto.events.models import EventPattern

from dagster_sagemaker.folder import Folder
from ruter_dagster.config.settings import Settings
from ruter_dagster.resources.sagemaker.events import EndNotes
from tests.terraform.roles import NAME, NAMES, Roles

pytestmark = [pytest.mark.extended, pytest.mark.xdist_group("terraform")]
STORAGE = Path(__file__).parents[2] / "terraform" / "modules" / "storage" / "main.tf"
JOB = f"{NAME}-loads-stop-loads-0123456789-1"


def takes(roles: Roles, rule: str, event: Any) -> bool:
    return EventPattern.load(roles.rules[rule]).matches_event(event)


@pytest.mark.parametrize("kind", ["Processing", "Training"])
@pytest.mark.parametrize(
    ("name", "status", "taken"),
    [
        (JOB, "Completed", True),
        (JOB, "Failed", True),
        (JOB, "Stopped", True),
        (JOB, "InProgress", False),
        (JOB.replace(NAME, "rd-prod"), "Completed", False),
    ],
)
def test_rule_of_jobs_matches_ends_of_the_environment(
    roles: Roles, kind: str, name: str, status: str, taken: bool
) -> None:
    event = {
        "source": "aws.sagemaker",
        "detail-type": f"SageMaker {kind} Job State Change",
        "detail": {f"{kind}JobName": name, f"{kind}JobStatus": status},
    }
    assert takes(roles, "jobs", event) == taken


@pytest.mark.parametrize(
    ("key", "taken"), [("tides/stop_visits.csv", True), ("other/stop_visits.csv", False)]
)
def test_rule_of_arrivals_matches_new_objects(roles: Roles, key: str, taken: bool) -> None:
    bucket = NAMES["events"]["raw_bucket"]
    detail = {"bucket": {"name": bucket}, "object": {"key": key}}
    event = {"source": "aws.s3", "detail-type": "Object Created", "detail": detail}
    assert takes(roles, "arrivals", event) == taken


def test_lifecycle_expires_only_files_of_single_runs() -> None:
    values = {"lake": "s3://bucket/lake", "AWS_REGION": "eu-north-1", "mlflow_tracking_uri": "none"}
    settings = Settings(environment="dev", _env_file=None, **values)  # type: ignore[call-arg]
    lake = STORAGE.read_text().split('module "lake" {')[1].split("\n}\n")[0]
    prefixes = re.findall(r'prefix = "\$\{var.lake_prefix\}/([^"]+)"', lake)
    artifacts = settings.artifacts_location
    assert {f"lake/dev/demo/{prefix}" for prefix in prefixes} == {
        Folder(None, None, artifacts, "", "").prefix + "/",  # type: ignore[arg-type]
        EndNotes(artifacts, None).prefix,
        f"{artifacts}/pipelines/".removeprefix("s3://bucket/"),
        f"{settings.lake_dir}/staging/".removeprefix("s3://bucket/"),
    }
