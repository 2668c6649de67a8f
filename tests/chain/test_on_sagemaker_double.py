"""The same chain with every job a SageMaker job, tables in Glue's catalog and files on S3: the demo on the double of AWS."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ruter_dagster.commands.local_aws import RESOURCES
from ruter_dagster.orchestration.instance import open_instance
from tests.chain.local_chain import foreign_variables
from tests.chain.small_demo import DATED, UNDATED, SmallDemo, environment, run
from tests.terraform.policies import Statement, allowed
from tests.terraform.recorded_calls import DEMO_NAMES, requests
from tests.terraform.roles import NAME, Roles

pytestmark = pytest.mark.extended
REPOSITORY = Path(__file__).parents[2]
JOB_METADATA = {"job_arn", "console", "studio", "logs", "image_digest", "instance_type"}
"""Metadata of every date about the job that wrote it."""
JOB_COSTS = {"start_seconds", "run_seconds", "estimated_cost"}
"""Metadata of every job. A range states them once, as totals of its last date."""


@pytest.fixture(scope="module")
def small_demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SmallDemo]:
    state = tmp_path_factory.mktemp("demo")
    with pytest.MonkeyPatch.context() as patch:
        for name in (*foreign_variables(), *(name for name in os.environ if name.startswith("AWS_"))):
            patch.delenv(name)
        for name, value in (environment(state) | {"RUTER_ENVIRONMENT": "local"}).items():
            patch.setenv(name, value)
        patch.chdir(REPOSITORY)
        printed = run("ruter-dagster", "demo", "--on", "sagemaker-double", "--json")
        patch.setenv("RUTER_STATE_DIR", str(state / "on-sagemaker-double"))
        with open_instance() as instance:
            yield SmallDemo(instance, json.loads(printed[printed.index("\n{") :]))


def test_chain_has_the_same_results_as_on_a_laptop(small_demo: SmallDemo) -> None:
    rows = {row["asset"]: row["rows"] for row in small_demo.first["assets"]}
    assert set(rows) == {*DATED, *UNDATED}
    assert all(rows[asset] > 0 for asset in DATED)
    assert small_demo.first["exactly_once"]
    assert (
        small_demo.first["published"]
        == small_demo.first["read_back"]
        == rows["forecasts/load_forecasts"]
        > 10_000
    )
    assert all(row["improvement"] > 0 for row in small_demo.first["accuracy"])


@pytest.mark.parametrize("asset", [*DATED, *UNDATED])
def test_materialisation_has_metadata_of_its_job(small_demo: SmallDemo, asset: str) -> None:
    _, made = small_demo.newest(asset, DATED.get(asset))
    metadata = _job_metadata({name: value.value for name, value in made.metadata.items()})
    kind = "training" if asset in ("models/load_model", "models/refitted_model") else "processing"
    name = f"{kind}-job/rd-local-{asset.replace('/', '-').replace('_', '-')[:20]}"
    assert set(metadata) >= JOB_METADATA
    assert metadata["job_arn"].split(":")[5].startswith(name)


@pytest.mark.parametrize("asset", [*DATED, *UNDATED])
def test_materialisation_has_the_costs_of_its_job(small_demo: SmallDemo, asset: str) -> None:
    _, made = small_demo.newest(asset)
    metadata: dict[str, Any] = {name: value.value for name, value in made.metadata.items()}
    costs = _job_metadata(metadata | metadata.get("range_totals", {}))
    assert set(costs) >= JOB_COSTS
    assert costs["run_seconds"] > 0


def _job_metadata(metadata: dict[str, Any]) -> dict[str, Any]:
    return {name.removeprefix("sagemaker/"): value for name, value in metadata.items()}


def test_job_output_is_in_the_lake(small_demo: SmallDemo) -> None:
    """What is left here is Dagster's history, and where the state was made."""
    assert {path.name for path in small_demo.settings.source_dir.iterdir()} == {
        "instance", "location.json", "logs",
    }  # fmt: skip


UNSEEN = {
    "tables": {
        "s3:DeleteObject": "expired snapshots, and files of a failed commit",
        "s3:AbortMultipartUpload": "a failed upload",
    },
    "snapshot": {"s3:DeleteObject": "as for tables", "s3:AbortMultipartUpload": "as for tables"},
    "model": {
        "s3:DeleteObject": "as for tables",
        "s3:AbortMultipartUpload": "as for tables",
        "glue:GetDatabase": "tables of a new namespace",
        "glue:CreateTable": "as for tables",
        "glue:UpdateTable": "as for tables",
        "sagemaker-mlflow:*": "experiments: the demo's MLflow is a file",
    },
    "publish": {
        "s3:DeleteObject": "as for tables",
        "s3:AbortMultipartUpload": "as for tables",
        "s3:ListBucket": "S3 reports an absent object as forbidden without it",
        "glue:GetDatabase": "as for model",
        "glue:CreateTable": "as for tables",
        "glue:UpdateTable": "as for tables",
    },
    "orchestrator": {
        "sagemaker:StopProcessingJob": "a cancelled run",
        "sagemaker:StopTrainingJob": "a cancelled run",
        "sagemaker:AddTags": "SageMaker checks it when a job with tags is created",
    },
}
"""Actions that no call of the demo needs, and why a role has them."""
OF_SERVICES = {
    "Configuration": "files of operators and warehouses, which the demo has not",
    "RawData": "raw data in S3: the demo generates it",
    "RawBucket": "raw data in S3",
    "Keys": "S3, Glue and SQS call KMS",
    "KeysOfVolumes": "SageMaker encrypts volumes",
    "LogLines": "SageMaker writes them",
    "Image": "SageMaker pulls it",
    "SignIn": "SageMaker pulls the image",
    "Metrics": "SageMaker writes those of jobs, the sensor `run_metrics` those of runs",
    "NewInterfaces": "SageMaker connects jobs to subnets",
    "Interfaces": "SageMaker connects jobs to subnets",
    "Network": "SageMaker connects jobs to subnets",
    "Queries": "the warehouse: test_warehouse_role.py",
    "WarehouseTables": "Athena reads them",
    "WarehouseRows": "Athena reads them",
    "BucketsOfAthena": "Athena reads and writes there",
    "Results": "Athena writes them",
    "FilesOfAnotherEnvironment": "a sandbox whose tables begin as prod's",
    "BucketsOfAnotherEnvironment": "a sandbox whose tables begin as prod's",
    "KeyOfAnotherEnvironment": "a sandbox whose tables begin as prod's",
    "Alerts": "the sensor `alerts`: test_email.py",
    "RunsOfDagster": "EcsRunLauncher: test_ecs_instance.py",
    "TagsOfRuns": "EcsRunLauncher",
    "TaskDefinitions": "EcsRunLauncher",
    "RolesOfRuns": "EcsRunLauncher",
}
"""Statements that no call of the demo needs, and who needs them."""


READ_BY_THE_COMMAND = "/forecasts_publications/data/"
"""The command `demo` compares Kafka's messages with the recorded publication. Dagster's own processes do not read it."""


def requests_by_role(small_demo: SmallDemo, roles: Roles) -> dict[str, set[tuple[str, str, Any]]]:
    """What IAM would check for each call of the demo, by role without its environment."""
    recorded = json.loads((small_demo.settings.state_dir / RESOURCES).read_text())
    by_role: dict[str, set[tuple[str, str, Any]]] = {}
    for caller, calls in recorded.items():
        role = roles.role_of_job.get(caller, f"{NAME}-job-tables") if caller != "demo" else "orchestrator"
        calls_of_role = by_role.setdefault(role.removeprefix(f"{NAME}-").removeprefix("job-"), set())
        calls_of_role |= {
            (action, resource, frozenset(context.items()))
            for action, resource, context in requests(calls, DEMO_NAMES, roles.role_of_job)
            if caller != "demo" or READ_BY_THE_COMMAND not in resource
        }
    return by_role


def statements_of(role: str, roles: Roles) -> list[Statement]:
    return roles.of[role if role == "orchestrator" else f"job-{role}"]


def test_roles_allow_every_call_of_the_chain(small_demo: SmallDemo, roles: Roles) -> None:
    by_role = requests_by_role(small_demo, roles)
    assert set(by_role) == {"tables", "snapshot", "model", "publish", "orchestrator"}
    refused = {
        (role, action, resource)
        for role, calls in by_role.items()
        for action, resource, context in calls
        if not allowed(statements_of(role, roles), action, resource, dict(context))
    }
    assert refused == set()


def test_feeds_are_written_with_the_role_of_tables(small_demo: SmallDemo, roles: Roles) -> None:
    writers = {
        role
        for role, calls in requests_by_role(small_demo, roles).items()
        for action, resource, _ in calls
        if action == "s3:PutObject" and resource.endswith("/artifacts/feeds/latest.json")
    }
    assert writers == {"tables"}


def test_every_right_of_a_role_is_used_or_explained(small_demo: SmallDemo, roles: Roles) -> None:
    unused = {
        (role, statement.sid, action)
        for role, calls in requests_by_role(small_demo, roles).items()
        for statement in statements_of(role, roles)
        if statement.allows and statement.sid not in OF_SERVICES
        for action in statement.actions
        if action
        not in {
            used for used, resource, context in calls if statement.matches(used, resource, _lower(context))
        }
    }
    assert unused - {(role, sid, action) for role, sid, action in unused if action in UNSEEN[role]} == set()


def _lower(context: Any) -> dict[str, str]:
    return {key.lower(): value for key, value in context}
