"""A sandbox from its first deploy to its end, by the scripts of CI, with data that Terraform does not know."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from ruter_dagster.contracts.sandbox import Sandbox, sandbox_id
from ruter_dagster.publishing.broker import Broker
from tests.gitlab_stub import running_gitlab
from tests.sandbox.conftest import ROOT, SCRIPT, STATE_BUCKET, CiJob, stack_variables
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
from tests.terraform.inventory import inventory, of_environment
from tests.terraform.moto_shim import ACCOUNT, REGION

pytestmark = pytest.mark.extended

BRANCH, OTHER_BRANCH = "feature/seats", "feature/loads"
SANDBOX, OTHER = Sandbox.of(sandbox_id(BRANCH)), Sandbox.of(sandbox_id(OTHER_BRANCH))
LAKE = f"{SANDBOX.name}-lake-{ACCOUNT}-{REGION}"


@dataclass
class Life:
    """A sandbox that was deployed, got data and was destroyed; a second one, of which only data and an empty state exist."""

    job: CiJob
    other_before: dict[str, Any]
    deployed: dict[str, set[str]]
    log: str
    running_job: str


@pytest.fixture(scope="module")
def life(
    tmp_path_factory: pytest.TempPathFactory,
    aws_endpoint: str,
    certificate_arn: str,
    clients: Clients,
    kafka_broker: Broker,
) -> Life:
    make_state_bucket(clients)
    kafka = {"bootstrap_servers": kafka_broker.bootstrap_servers, "cidrs": ["10.0.0.0/24"], "security_protocol": "PLAINTEXT", "sasl_mechanism": "", "replication": 1}  # fmt: skip
    variables = stack_variables(certificate_arn, kafka=kafka)
    job = CiJob(BRANCH, tmp_path_factory.mktemp("job"), aws_endpoint, variables)
    job.run(SCRIPT, "up")
    clients("secretsmanager").put_secret_value(SecretId=f"{SANDBOX.name}/passwords", SecretString="{}")
    for sandbox in (SANDBOX, OTHER):
        leave_data(clients, sandbox, kafka_broker)
    empty_state(clients, OTHER)
    leave_objects(clients, LAKE)
    running_job = leave_running(clients, SANDBOX)
    other_before = everything(clients, OTHER, kafka_broker)
    deployed = of_environment(inventory(aws_endpoint), SANDBOX.id)
    done = without_checkout(job, tmp_path_factory.mktemp("image"))
    return Life(job, other_before, deployed, done.stdout, running_job)


def make_state_bucket(clients: Clients) -> None:
    s3 = clients("s3")
    s3.create_bucket(Bucket=STATE_BUCKET, CreateBucketConfiguration={"LocationConstraint": REGION})
    s3.put_bucket_versioning(Bucket=STATE_BUCKET, VersioningConfiguration={"Status": "Enabled"})


def everything(clients: Clients, sandbox: Sandbox, broker: Broker) -> dict[str, Any]:
    return data(clients, sandbox) | {"kafka": names(broker, sandbox)}


def without_checkout(job: CiJob, folder: Path) -> subprocess.CompletedProcess[str]:
    """`sandbox-down` as CI runs it: from the image's copy of scripts and Terraform, which is read-only, in an empty folder."""
    image = folder / "opt"
    ignored = shutil.ignore_patterns(".terraform*", "rendered", "*.tfstate*")
    for part in ("scripts/cloud", "terraform", "ruter_dagster/contracts"):
        shutil.copytree(ROOT / part, image / part, ignore=ignored)
    shutil.copy(ROOT / "ruter_dagster/__init__.py", image / "ruter_dagster")
    before = sorted(image.rglob("*"))
    empty = folder / "builds"
    empty.mkdir()
    done = replace(job, folder=empty).run(image / "scripts/cloud/sandbox", "down")
    assert sorted(image.rglob("*")) == before, "nothing is written into the image's folder"
    return done


def test_deploy_names_the_sandbox(life: Life) -> None:
    lines = (life.job.folder / "sandbox.env").read_text().splitlines()
    assert lines[0] == f"SANDBOX_ID={SANDBOX.id}"
    assert lines[1].startswith("DAGSTER_URL=https://")
    assert {"ecs.list_clusters", "s3.list_buckets", "rds.describe_db_instances"} <= life.deployed.keys()


def test_nothing_of_the_sandbox_is_left(life: Life, clients: Clients, kafka_broker: Broker) -> None:
    assert of_environment(inventory(life.job.endpoint), SANDBOX.id) == {}
    left = everything(clients, SANDBOX, kafka_broker)
    assert not any(left.values()), left


def test_running_job_and_task_were_stopped(life: Life, clients: Clients) -> None:
    job = clients("sagemaker").describe_processing_job(ProcessingJobName=life.running_job)
    assert job["ProcessingJobStatus"] == "Stopped"
    assert f"Deleted: processing job {life.running_job}" in life.log
    assert "Deleted: task " in life.log and "Deleted: service daemon" in life.log


def test_other_sandbox_is_untouched(life: Life, clients: Clients, kafka_broker: Broker) -> None:
    assert all(life.other_before.values()) is False, "it has no log streams"
    assert everything(clients, OTHER, kafka_broker) == life.other_before


def test_second_teardown_does_nothing(life: Life, clients: Clients) -> None:
    done = life.job.run(SCRIPT, "down")
    assert "Deleted: " not in done.stdout.replace("Deleted: state", "")
    assert state_keys(clients, SANDBOX) == 0


@pytest.fixture
def reaping(life: Life, tmp_path: Path) -> Iterator[CiJob]:
    """The scheduled job `reap` of a repository with the branches main and `OTHER_BRANCH`."""
    repository = tmp_path / "repository"
    for command in (
        ["init", "--quiet", "--initial-branch=main", str(repository)],
        ["-C", str(repository), "-c", "user.name=t", "-c", "user.email=t@example.org", "commit", "--quiet", "--allow-empty", "-m", "x"],
        ["-C", str(repository), "branch", OTHER_BRANCH],
    ):  # fmt: skip
        subprocess.run(["git", *command], check=True)
    with running_gitlab() as gitlab:
        gitlab.environments = [{"id": 1, "name": "sandbox/feature-loads", "state": "available"}]
        variables = {
            "REPOSITORY": str(repository),
            "CI_API_V4_URL": gitlab.url,
            "CI_PROJECT_ID": "7",
            "CI_JOB_TOKEN": "token",
        }
        yield replace(life.job, branch="main", folder=tmp_path, variables=variables)


def test_reaper_destroys_only_without_a_branch(
    reaping: CiJob, life: Life, clients: Clients, kafka_broker: Broker
) -> None:
    reaping.run(SCRIPT, "reap")
    assert everything(clients, OTHER, kafka_broker) == life.other_before
    broken = replace(reaping, variables=reaping.variables | {"REPOSITORY": f"{reaping.folder}/missing"})
    assert broken.run(SCRIPT, "reap", check=False).returncode != 0
    assert everything(clients, OTHER, kafka_broker) == life.other_before, "git failed"
    subprocess.run(
        ["git", "-C", reaping.variables["REPOSITORY"], "branch", "-q", "-D", OTHER_BRANCH], check=True
    )
    done = reaping.run(SCRIPT, "reap")
    assert f"{OTHER.id} has no branch: it is destroyed" in done.stdout
    assert "Deleted: environment sandbox/feature-loads" in done.stdout
    left = data(clients, OTHER)
    assert not any(left.values()), left
