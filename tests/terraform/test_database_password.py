"""The database gets the password that its secret holds, also after a rotation, and no state has it.

An SSM parameter stands in for the database, which would take minutes: its value is written as the database's password is.
"""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path
from typing import Any

import boto3
import pytest

from tests.terraform.moto_shim import REGION
from tests.terraform.terraform import ROOT, initialisation, terraform

pytestmark = [pytest.mark.extended, pytest.mark.xdist_group("terraform")]
NAME = "rd-password"
DATABASE = (ROOT / "modules" / "dagster" / "database.tf").read_text()
STAND_IN = """
variable "name" {}
variable "protected" {}
variable "kms_key_arn" { default = null }
variable "database_password_version" { type = number }

resource "aws_ssm_parameter" "database" {
  name             = var.name
  type             = "SecureString"
  value_wo         = PASSWORD
  value_wo_version = VERSION
}
"""


def blocks() -> str:
    """The blocks of database.tf that draw and keep the password."""
    kept = (
        "locals",
        "aws_secretsmanager_secret",
        "aws_secretsmanager_random_password",
        "aws_secretsmanager_secret_version",
    )
    blocks = re.findall(r"^(?:locals|resource|ephemeral) .*?^\}\n", DATABASE, re.MULTILINE | re.DOTALL)
    return "\n".join(
        block for block in blocks if any(f'"{name}"' in block or block.startswith(name) for name in kept)
    )


def argument(name: str) -> str:
    """The expression of an argument of the database."""
    (expression,) = re.findall(rf"^  {name}\s+= (.*)$", DATABASE, re.MULTILINE)
    return expression


class Root:
    """A root with the password alone."""

    def __init__(self, folder: Path, endpoint: str) -> None:
        self.folder, self.endpoint = folder, endpoint
        text = STAND_IN.replace("PASSWORD", argument("password_wo")).replace(
            "VERSION", argument("password_wo_version")
        )
        (folder / "main.tf").write_text(blocks() + text)
        self.run("init", "-input=false", *initialisation())

    def run(self, *arguments: str) -> None:
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "TF_"))}
        keys = {
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_REGION": REGION,
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
        }
        subprocess.run(
            [terraform(), *arguments],
            cwd=self.folder,
            env=kept | keys,
            check=True,
            capture_output=True,
            timeout=120,
        )

    def apply(self, version: int) -> tuple[str, str]:
        """Applies a version of the password. Returns the password of the secret, and that of the stand-in."""
        values = {"name": NAME, "protected": "false", "database_password_version": version}
        self.run(
            "apply",
            "-auto-approve",
            "-input=false",
            *(f"-var={name}={value}" for name, value in values.items()),
        )
        stored = self.client("secretsmanager").get_secret_value(SecretId=f"{NAME}/database")
        parameter = self.client("ssm").get_parameter(Name=NAME, WithDecryption=True)["Parameter"]
        return stored["SecretString"], parameter["Value"].rpartition(":")[2]

    def client(self, service: str) -> Any:
        return boto3.client(
            service,
            endpoint_url=self.endpoint,
            region_name=REGION,
            aws_access_key_id="test",
            aws_secret_access_key="test",
        )


def test_a_rotation_changes_secret_and_database_alike(tmp_path: Path, aws_endpoint: str) -> None:
    root = Root(tmp_path, aws_endpoint)
    first = root.apply(1)
    again = root.apply(1)
    second = root.apply(2)
    assert first[0] == first[1] == again[0] == again[1]
    assert second[0] == second[1] != first[0]
    assert len(second[0]) == 40
    states = "".join(path.read_text() for path in tmp_path.glob("terraform.tfstate*"))
    assert "rd-password/database" in states
    assert first[0] not in states and second[0] not in states
