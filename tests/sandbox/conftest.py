"""AWS for a sandbox's life: a server, and the variables of a CI job whose scripts and commands use it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import boto3
import pytest

from tests.terraform.conftest import _values, certificate_arn
from tests.terraform.moto_shim import ACCOUNT, REGION
from tests.terraform.terraform import provider_mirror

__all__ = ["certificate_arn"]

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "scripts" / "cloud" / "sandbox"
STATE_BUCKET = "rd-state-tests"


@pytest.fixture(scope="session")
def aws_endpoint() -> Iterator[str]:
    """Address of a server that starts empty. It has its own copy of moto, so that no other test changes it."""
    variables = os.environ | {"MOTO_IAM_LOAD_MANAGED_POLICIES": "true", "AWS_EC2_METADATA_DISABLED": "true"}
    server = subprocess.Popen(
        [sys.executable, "-m", "tests.sandbox.server"],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
        env=variables,
    )
    try:
        assert server.stdout is not None
        yield server.stdout.readline().strip()
    finally:
        server.terminate()
        server.wait(30)


@dataclass
class CiJob:
    """A job of GitLab CI for one branch: `run` executes a command as the job's script, in a folder of its own."""

    branch: str
    folder: Path
    endpoint: str
    variables: dict[str, str] = field(default_factory=dict)

    def run(self, *command: str | Path, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Raises AssertionError with the output if the command fails and `check` is set."""
        done = subprocess.run(
            command,
            cwd=self.folder,
            env=self.environment(),
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=900,
        )
        (self.folder / "job.log").write_text(done.stdout)
        if check and done.returncode != 0:
            raise AssertionError(f"{command}: exit code {done.returncode}\n{done.stdout[-6000:]}")
        return done

    def environment(self) -> dict[str, str]:
        kept = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("AWS_", "TF_", "CI_", "RUTER_", "KAFKA_", "DAGSTER_"))
        }
        return {
            **kept,
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_ACCESS_KEY_ID": "tests",
            "AWS_SECRET_ACCESS_KEY": "tests",
            "AWS_EC2_METADATA_DISABLED": "true",
            "AWS_REGION": REGION,
            "CI_COMMIT_REF_NAME": self.branch,
            "CI_COMMIT_SHA": "0123456789abcdef0123456789abcdef01234567",
            "SANDBOX_BOUNDARY_ARN": f"arn:aws:iam::{ACCOUNT}:policy/rd-sandbox-boundary",
            "STATE_BUCKET": STATE_BUCKET,
            "TF_CLI_CONFIG_FILE": str(self._cli_config()),
            **self.variables,
        }

    def _cli_config(self) -> Path:
        """Terraform's own settings: where it finds the provider, if a copy of it is on this machine."""
        mirror, file = provider_mirror(), self.folder / "terraform.rc"
        content = f'provider_installation {{\n  filesystem_mirror {{\n    path = "{mirror}"\n  }}\n}}\n'
        file.write_text(content if mirror else "")
        return file


@pytest.fixture(scope="module")
def clients(aws_endpoint: str) -> Any:
    """`clients("s3")`: a client of the server."""

    def client(service: str) -> Any:
        return boto3.client(
            service,
            region_name=REGION,
            endpoint_url=aws_endpoint,
            aws_access_key_id="tests",
            aws_secret_access_key="tests",
        )

    return client


def stack_variables(certificate: str, **more: Any) -> dict[str, str]:
    """Values of the stack's variables as a GitLab project sets them: TF_VAR_… in JSON."""
    values = _values(certificate) | more
    for name in ("branch", "commit"):
        values.pop(name)
    return {
        f"TF_VAR_{name}": value if isinstance(value, str) else json.dumps(value)
        for name, value in values.items()
    }
