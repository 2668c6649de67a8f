"""AWS for a sandbox's life: a server, and the variables of a CI job whose scripts and commands use it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import boto3
import pytest

from tests.terraform.conftest import REGISTRY, _values, certificate_arn
from tests.terraform.moto_shim import ACCOUNT, REGION
from tests.terraform.terraform import provider_mirror

__all__ = ["certificate_arn"]

ROOT = Path(__file__).parents[2]
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


def job_variables(endpoint: str, folder: Path) -> dict[str, str]:
    """CI/CD variables of a project whose AWS is the server, and whose runner has a copy of Terraform's provider."""
    mirror, config = provider_mirror(), folder / "terraform.rc"
    content = f'provider_installation {{\n  filesystem_mirror {{\n    path = "{mirror}"\n  }}\n}}\n'
    config.write_text(content if mirror else "")
    return {
        "AWS_ENDPOINT_URL": endpoint,
        "AWS_ENDPOINT_URL_STS": endpoint,
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_REGION": REGION,
        "ECR_REGISTRY": REGISTRY,
        "SANDBOX_ROLE_ARN": f"arn:aws:iam::{ACCOUNT}:role/rd-ci-sandbox",
        "SANDBOX_BOUNDARY_ARN": f"arn:aws:iam::{ACCOUNT}:policy/rd-sandbox-boundary",
        "STATE_BUCKET": STATE_BUCKET,
        "TF_CLI_CONFIG_FILE": str(config),
    }


def run_script(
    script: Path, command: str, folder: Path, variables: Mapping[str, str], check: bool = True
) -> subprocess.CompletedProcess[str]:
    """Runs `sandbox COMMAND` in a folder, with these CI/CD variables alone. Raises AssertionError if it fails and `check` is set."""
    private = ("AWS_", "TF_", "CI_", "RUTER_", "KAFKA_", "DAGSTER_")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(private)}
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    keys = {"AWS_ACCESS_KEY_ID": "tests", "AWS_SECRET_ACCESS_KEY": "tests"}
    done = subprocess.run(
        [script, command],
        cwd=folder,
        env={**kept, "PATH": path, **keys, **variables},
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=600,
    )
    assert not check or done.returncode == 0, done.stdout[-6000:]
    return done


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
    for name in ("branch", "commit", "jobs_image", "orchestrator_image"):
        values.pop(name)
    return {
        f"TF_VAR_{name}": value if isinstance(value, str) else json.dumps(value)
        for name, value in values.items()
    }
