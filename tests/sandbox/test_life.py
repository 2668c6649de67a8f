"""A sandbox from its first deploy to its end, by the scripts of CI, with data that Terraform does not know."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from ruter_dagster.contracts.sandbox import Sandbox, sandbox_id
from ruter_dagster.publishing.broker import Broker
from tests.gitlab.pipeline import Pipeline
from tests.gitlab_stub import GitLabStub, running_gitlab
from tests.sandbox.conftest import ROOT, STATE_BUCKET, job_variables, run_script, stack_variables
from tests.sandbox.leftovers import (
    Clients,
    data,
    empty_state,
    leave_data,
    leave_objects,
    leave_running,
    state_keys,
)
from tests.sandbox.test_topics import names
from tests.terraform.conftest import DIGEST
from tests.terraform.inventory import inventory, of_environment
from tests.terraform.moto_shim import ACCOUNT, REGION
from tests.terraform.terraform import rendered

pytestmark = pytest.mark.extended

BRANCH, OTHER_BRANCH = "feature/seats", "feature/loads"
SANDBOX, OTHER = Sandbox.of(sandbox_id(BRANCH)), Sandbox.of(sandbox_id(OTHER_BRANCH))
LAKE = f"{SANDBOX.name}-lake-{ACCOUNT}-{REGION}"


COMMANDS = {
    "make": 'mkdir -p terraform/stack/rendered; cp -r "$RENDERED"/. terraform/stack/rendered',
    "docker": '[ "$1" != login ] || cat > /dev/null',
    "aws": f"""case "$*" in *describe-images*) echo {DIGEST} ;; esac""",
}
"""Commands of the jobs before the sandbox's: checks pass, definitions are rendered already, images are built already."""


@dataclass
class Life:
    """A sandbox that was deployed, got data and was destroyed."""

    endpoint: str
    deployed: dict[str, set[str]]
    log: str
    running_job: str


def script(
    pipeline: Pipeline, command: str, variables: dict[str, str], check: bool = True
) -> subprocess.CompletedProcess[str]:
    """Runs scripts/cloud/sandbox of the checkout, outside GitLab and in a folder without a checkout."""
    file = pipeline.folder / "scripts/cloud/sandbox"
    return run_script(file, command, pipeline.folder.parent, {**pipeline.variables, **variables}, check)


@pytest.fixture(scope="module")
def pipeline(
    tmp_path_factory: pytest.TempPathFactory, aws_endpoint: str, certificate_arn: str, kafka_broker: Broker
) -> Pipeline:
    """Pipelines of the branch, in a project whose AWS is the server."""
    folder = tmp_path_factory.mktemp("project")
    for name, body in COMMANDS.items():
        (folder / name).write_text(f"#!/bin/bash\n{body}\n")
        (folder / name).chmod(0o755)
    kafka = {"bootstrap_servers": kafka_broker.bootstrap_servers, "cidrs": ["10.0.0.0/24"], "security_protocol": "PLAINTEXT", "sasl_mechanism": "", "replication": 1}  # fmt: skip
    variables = job_variables(aws_endpoint, folder) | stack_variables(certificate_arn, kafka=kafka)
    variables["RENDERED"] = str(rendered())
    return Pipeline.create(folder / "checkout", BRANCH, variables=variables, commands=folder)


@pytest.fixture(scope="module")
def other(clients: Clients, kafka_broker: Broker) -> dict[str, Any]:
    """A second sandbox, of which only data and an empty state exist."""
    make_state_bucket(clients)
    leave_data(clients, OTHER, kafka_broker)
    empty_state(clients, OTHER)
    return everything(clients, OTHER, kafka_broker)


@pytest.fixture(scope="module")
def life(
    pipeline: Pipeline,
    tmp_path_factory: pytest.TempPathFactory,
    aws_endpoint: str,
    clients: Clients,
    kafka_broker: Broker,
    other: dict[str, Any],
) -> Life:
    pipeline.run("sandbox-up", needs=True)
    clients("secretsmanager").put_secret_value(SecretId=f"{SANDBOX.name}/passwords", SecretString="{}")
    leave_data(clients, SANDBOX, kafka_broker)
    leave_objects(clients, LAKE)
    running_job = leave_running(clients, SANDBOX)
    deployed = of_environment(inventory(aws_endpoint), SANDBOX.id)
    image = image_tools(tmp_path_factory.mktemp("image") / "opt")
    before = sorted(image.rglob("*"))
    done = pipeline.run("sandbox-down", TOOLS=str(image))
    assert sorted(image.rglob("*")) == before, "nothing is written into the image's folder"
    return Life(aws_endpoint, deployed, done.stdout, running_job)


def image_tools(folder: Path) -> Path:
    """What the CI image has of this repository: the job `sandbox-down` has no checkout."""
    ignored = shutil.ignore_patterns(".terraform*", "*.tfstate*", "__pycache__")
    for part in ("scripts/cloud", "terraform/teardown", "ruter_dagster"):
        shutil.copytree(ROOT / part, folder / part, ignore=ignored)
    return folder


def make_state_bucket(clients: Clients) -> None:
    s3 = clients("s3")
    s3.create_bucket(Bucket=STATE_BUCKET, CreateBucketConfiguration={"LocationConstraint": REGION})
    s3.put_bucket_versioning(Bucket=STATE_BUCKET, VersioningConfiguration={"Status": "Enabled"})


def everything(clients: Clients, sandbox: Sandbox, broker: Broker) -> dict[str, Any]:
    return data(clients, sandbox) | {"kafka": names(broker, sandbox)}


def test_deploy_names_the_sandbox(life: Life, pipeline: Pipeline) -> None:
    lines = (
        (pipeline.artifacts("sandbox-up") / ".gitlab-ci-reports/dotenv/sandbox.env").read_text().splitlines()
    )
    assert lines[0] == f"SANDBOX_ID={SANDBOX.id}"
    assert lines[1].startswith("DAGSTER_URL=https://")
    assert {"ecs.list_clusters", "s3.list_buckets", "rds.describe_db_instances"} <= life.deployed.keys()


def test_nothing_of_the_sandbox_is_left(life: Life, clients: Clients, kafka_broker: Broker) -> None:
    assert of_environment(inventory(life.endpoint), SANDBOX.id) == {}
    left = everything(clients, SANDBOX, kafka_broker)
    assert not any(left.values()), left


def test_running_job_and_task_were_stopped(life: Life, clients: Clients) -> None:
    job = clients("sagemaker").describe_processing_job(ProcessingJobName=life.running_job)
    assert job["ProcessingJobStatus"] == "Stopped"
    assert f"Deleted: processing job {life.running_job}" in life.log
    assert "Deleted: task " in life.log and "Deleted: service daemon" in life.log


@pytest.mark.usefixtures("life")
def test_other_sandbox_is_untouched(other: dict[str, Any], clients: Clients, kafka_broker: Broker) -> None:
    assert everything(clients, OTHER, kafka_broker) == other


@pytest.mark.usefixtures("life")
def test_second_teardown_does_nothing(pipeline: Pipeline, clients: Clients) -> None:
    done = script(pipeline, "down", {"BRANCH": BRANCH})
    assert [
        line for line in done.stdout.splitlines() if line.startswith("Deleted: ") and "state s3" not in line
    ] == []
    assert state_keys(clients, SANDBOX) == 0


@pytest.fixture
def gitlab() -> Iterator[GitLabStub]:
    with running_gitlab() as stub:
        stub.environments = [{"id": 1, "name": "sandbox/feature-loads", "state": "available"}]
        yield stub


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A repository with the branches main and `OTHER_BRANCH`."""
    folder = tmp_path / "repository"
    for command in (
        ["init", "--quiet", "--initial-branch=main", str(folder)],
        ["-C", str(folder), "-c", "user.name=t", "-c", "user.email=t@example.org", "commit", "--quiet", "--allow-empty", "-m", "x"],
        ["-C", str(folder), "branch", OTHER_BRANCH],
    ):  # fmt: skip
        subprocess.run(["git", *command], check=True)
    return folder


def test_reaper_destroys_only_without_a_branch(
    pipeline: Pipeline,
    other: dict[str, Any],
    clients: Clients,
    kafka_broker: Broker,
    gitlab: GitLabStub,
    repository: Path,
) -> None:
    variables = {
        "REPOSITORY": str(repository),
        "CI_API_V4_URL": gitlab.url,
        "CI_PROJECT_ID": "7",
        "CI_JOB_TOKEN": "token",
    }
    script(pipeline, "reap", variables)
    failed = script(pipeline, "reap", variables | {"REPOSITORY": str(repository / "missing")}, check=False)
    assert failed.returncode != 0 and "Nothing was destroyed" in failed.stdout
    assert everything(clients, OTHER, kafka_broker) == other
    subprocess.run(["git", "-C", str(repository), "branch", "-q", "-D", OTHER_BRANCH], check=True)
    done = script(pipeline, "reap", variables)
    assert f"{OTHER.id} has no branch: it is destroyed" in done.stdout
    assert "Deleted: environment sandbox/feature-loads" in done.stdout
    left = data(clients, OTHER)
    assert not any(left.values()), left
