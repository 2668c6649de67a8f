"""An account after the commands of docs/deploy.md: run as they stand on the page, against the server of `moto_shim.py`."""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
import pytest

from tests.terraform.moto_shim import ACCOUNT, REGION
from tests.terraform.terraform import copy_terraform, provider_mirror, terraform

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
SHARED = f"""
readable_buckets    = ["rd-prod-lake-{ACCOUNT}-{REGION}"]
sandbox_mlflow_arns = ["arn:aws:sagemaker:{REGION}:{ACCOUNT}:mlflow-tracking-server/rd-dev"]
"""
"""What sandboxes may use of other environments."""


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
    boundary: Mapping[str, Any]
    policies_of_ci: Mapping[str, Mapping[str, Any]]
    """Policies by name, for each role of CI."""

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
        policies = iam.list_policies(Scope="Local", MaxItems=1000)["Policies"]
        return {
            policy["PolicyName"]: iam.get_policy_version(
                PolicyArn=policy["Arn"], VersionId=policy["DefaultVersionId"]
            )["PolicyVersion"]["Document"]
            for policy in policies
            if policy["PolicyName"].startswith("rd-")
        }


@pytest.fixture(scope="session")
def account(tmp_path_factory: pytest.TempPathFactory, aws_endpoint: str) -> Account:
    folder = tmp_path_factory.mktemp("account") / "terraform"
    copy_terraform(folder)
    (folder / "bootstrap" / "test_override.tf").write_text(OVERRIDE)
    (folder / "bootstrap" / "shared.auto.tfvars").write_text(SHARED)
    first, second, roles = commands("How do I bootstrap an account?")
    run_commands(first, folder, aws_endpoint)
    backend = "".join(f" -backend-config={name}=true" for name in BACKEND.split())
    run_commands(f"{second}", folder / "bootstrap", aws_endpoint, backend)
    run_commands(roles, folder, aws_endpoint)
    outputs = run_commands("terraform output -json", folder / "bootstrap", aws_endpoint)
    made = Account(
        folder, aws_endpoint, {name: output["value"] for name, output in json.loads(outputs).items()}, {}, {}
    )
    policies = made.policies()
    made.boundary = policies["rd-sandbox-boundary"]
    made.policies_of_ci = {role: _policies_of(made, role, policies) for role in ("sandbox", "plan", "deploy")}
    return made


def _policies_of(account: Account, role: str, policies: Mapping[str, Any]) -> dict[str, Any]:
    """The policies of a role of CI by name, its inline policies too."""
    iam = account.client("iam")
    inline = iam.list_role_policies(RoleName=f"rd-ci-{role}")["PolicyNames"]
    return {name: policy for name, policy in policies.items() if name.startswith(f"rd-ci-{role}-")} | {
        name: iam.get_role_policy(RoleName=f"rd-ci-{role}", PolicyName=name)["PolicyDocument"]
        for name in inline
    }


def run_commands(script: str, folder: Path, endpoint: str, init: str = "") -> str:
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
