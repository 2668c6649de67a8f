"""The commands of docs/deploy.md bootstrap an account: run as they stand on the page, against the server of `moto_shim.py`."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
import pytest

from tests.terraform.moto_shim import ACCOUNT, REGION
from tests.terraform.terraform import ROOT, provider_mirror, terraform

pytestmark = [pytest.mark.extended, pytest.mark.xdist_group("terraform")]

PAGE = Path(__file__).parents[2] / "docs" / "deploy.md"
OVERRIDE = """
provider "aws" {
  access_key                  = "test"
  secret_key                  = "test"
  s3_use_path_style           = true
  max_retries                 = 1
  skip_metadata_api_check     = true
  skip_credentials_validation = true
}
"""
BACKEND = "use_path_style skip_credentials_validation skip_metadata_api_check skip_requesting_account_id"
POLICY_LIMIT = 6144
MANIFEST = {
    "schemaVersion": 2,
    "mediaType": "application/vnd.oci.image.manifest.v1+json",
    "config": {},
    "layers": [],
}


def commands(heading: str) -> list[str]:
    """The blocks of commands below a heading of the page, without those inside a list."""
    section = PAGE.read_text().split(f"\n## {heading}\n")[1].split("\n## ")[0]
    blocks = re.findall(r"(?:^    .*\n|^\n(?=    ))+", section, re.MULTILINE)
    return [re.sub(r"^    ", "", block, flags=re.MULTILINE).strip() + "\n" for block in blocks]


@dataclass
class Account:
    """An account after its bootstrap."""

    folder: Path
    endpoint: str
    outputs: Mapping[str, Any]

    def client(self, service: str) -> Any:
        return boto3.client(
            service,
            endpoint_url=self.endpoint,
            region_name=REGION,
            aws_access_key_id="test",
            aws_secret_access_key="test",
        )

    def policies(self) -> dict[str, dict[str, Any]]:
        """The managed policies that bootstrap made, by name."""
        iam = self.client("iam")
        found = iam.list_policies(Scope="Local", MaxItems=1000)["Policies"]
        return {
            policy["PolicyName"]: iam.get_policy_version(
                PolicyArn=policy["Arn"], VersionId=policy["DefaultVersionId"]
            )["PolicyVersion"]["Document"]
            for policy in found
            if policy["PolicyName"].startswith("rd-")
        }


@pytest.fixture(scope="module")
def account(tmp_path_factory: pytest.TempPathFactory, aws_endpoint: str) -> Account:
    folder = tmp_path_factory.mktemp("account") / "terraform"
    shutil.copytree(ROOT, folder, ignore=shutil.ignore_patterns(".terraform*", "*.tfstate*"))
    (folder / "bootstrap" / "test_override.tf").write_text(OVERRIDE)
    first, second, roles = commands("How do I bootstrap an account?")
    _run(first, folder, aws_endpoint)
    backend = "".join(f" -backend-config={name}=true" for name in BACKEND.split())
    _run(f"{second}", folder / "bootstrap", aws_endpoint, backend)
    _run(roles, folder, aws_endpoint)
    outputs = _run("terraform output -json", folder / "bootstrap", aws_endpoint)
    return Account(
        folder, aws_endpoint, {name: output["value"] for name, output in json.loads(outputs).items()}
    )


def _run(script: str, folder: Path, endpoint: str, init: str = "") -> str:
    """Runs commands of the page in a folder, and answers Terraform's questions with yes."""
    mirror = provider_mirror()
    script = script.replace("cd terraform/bootstrap", f"cd {folder}/bootstrap")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "TF_"))}
    variables = kept | {
        "PATH": f"{Path(terraform()).parent}{os.pathsep}{os.environ['PATH']}",
        "AWS_ENDPOINT_URL": endpoint,
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_EC2_METADATA_DISABLED": "true",
        "TF_CLI_CONFIG_FILE": os.devnull,
        "TF_CLI_ARGS_init": (f"-plugin-dir={mirror}" if mirror else "") + init,
        "TF_CLI_ARGS_apply": "-auto-approve -input=false",
        "TF_CLI_ARGS_plan": "-detailed-exitcode",
        "TF_CLI_ARGS_destroy": "-auto-approve -input=false",
        "AWS_DEFAULT_REGION": REGION,  # version 1 of the AWS CLI
        "AWS_PAGER": "",
    }
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script],
        cwd=folder,
        env=variables,
        text=True,
        capture_output=True,
        timeout=600,
    )
    assert done.returncode == 0, f"{script}\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}"
    return done.stdout


def test_state_is_in_the_bucket_after_the_commands_of_the_page(account: Account) -> None:
    bucket = account.outputs["state_bucket"]
    state = account.client("s3").get_object(Bucket=bucket, Key="bootstrap/terraform.tfstate")["Body"].read()
    assert {"aws_iam_role", "aws_ecr_repository"} <= {item["type"] for item in json.loads(state)["resources"]}
    assert not list((account.folder / "bootstrap").glob("terraform.tfstate*"))


def test_services_have_their_roles(account: Account) -> None:
    roles = account.client("iam").list_roles(PathPrefix="/aws-service-role/", MaxItems=1000)["Roles"]
    assert {"ecs.amazonaws.com", "elasticloadbalancing.amazonaws.com", "rds.amazonaws.com"} <= {
        role["Path"].split("/")[2] for role in roles
    }


def test_outputs_name_the_variables_of_gitlab(account: Account) -> None:
    variables = account.outputs["gitlab_variables"]
    assert variables["STATE_BUCKET"] == f"rd-state-{ACCOUNT}-{REGION}"
    assert set(json.loads(variables["TF_VAR_repository_arns"])) == {"jobs", "orchestrator"}
    command, *_ = commands("Which variables does GitLab need?")
    printed = _run(command, account.folder / "bootstrap", account.endpoint)
    assert printed.splitlines() == [f"{name}={value}" for name, value in sorted(variables.items())]


def test_every_policy_fits_into_the_limit_of_aws(account: Account) -> None:
    lengths = {
        name: len(json.dumps(policy, separators=(",", ":"))) for name, policy in account.policies().items()
    }
    assert {"rd-ci-deploy-data", "rd-ci-deploy-compute", "rd-sandbox-boundary"} <= set(lengths)
    assert {name: length for name, length in lengths.items() if length > POLICY_LIMIT} == {}


def test_no_pipeline_may_delete_images(account: Account) -> None:
    actions = {
        action
        for name, policy in account.policies().items()
        if name.startswith("rd-ci-")
        for statement in policy["Statement"]
        if statement["Effect"] == "Allow"
        for action in ([statement["Action"]] if isinstance(statement["Action"], str) else statement["Action"])
        if action.startswith("ecr:")
    }
    assert "ecr:PutImage" in actions
    assert [action for action in actions if "*" in action or "Delete" in action] == []


def test_a_branch_may_not_retag_resources_of_prod(account: Account) -> None:
    denied = [
        statement
        for statement in account.policies()["rd-ci-sandbox-tagged"]["Statement"]
        if statement["Effect"] == "Deny"
    ]
    assert [statement["Condition"]["StringNotLike"] for statement in denied] == [
        {"aws:ResourceTag/environment": "s-*"}
    ]


def test_only_deploy_branches_plan_and_deploy(account: Account) -> None:
    iam = account.client("iam")
    for name in ("plan", "deploy"):
        trust = iam.get_role(RoleName=f"rd-ci-{name}")["Role"]["AssumeRolePolicyDocument"]
        (subject,) = [
            value
            for key, value in trust["Statement"][0]["Condition"]["StringLike"].items()
            if key.endswith(":sub")
        ]
        assert subject == "project_path:group/ruter-dagster:ref_type:branch:ref:main"


def test_commands_of_the_page_remove_the_account(account: Account) -> None:
    """The last test: it destroys the account of the others."""
    section = PAGE.read_text().split("\n## How do I remove everything?\n")[1]
    (block,) = re.findall(r"(?:^        .*\n)+", section, re.MULTILINE)
    account.client("ecr").put_image(
        repositoryName="rd-jobs", imageTag="0123abc", imageManifest=json.dumps(MANIFEST)
    )
    _run(re.sub(r"(?m)^        ", "", block), account.folder, account.endpoint)
    assert account.outputs["state_bucket"] not in {
        bucket["Name"] for bucket in account.client("s3").list_buckets()["Buckets"]
    }
    assert account.client("ecr").describe_repositories()["repositories"] == []
    roles = account.client("iam").list_roles(MaxItems=1000)["Roles"]
    assert [role["RoleName"] for role in roles if role["RoleName"].startswith("rd-")] == []
    assert account.policies() == {}
