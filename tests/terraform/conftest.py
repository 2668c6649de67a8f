"""The server of AWS's API, once for all tests of a process, and workspaces in which Terraform runs."""

from __future__ import annotations

import datetime
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any

import boto3
import pytest

from tests.terraform.account import account
from tests.terraform.moto_shim import ACCOUNT, REGION
from tests.terraform.roles import roles
from tests.terraform.terraform import Workspace

__all__ = ["account", "roles"]

DIGEST = "sha256:" + "a" * 64
REGISTRY = f"{ACCOUNT}.dkr.ecr.{REGION}.amazonaws.com"


@pytest.fixture(scope="session")
def aws_endpoint() -> Iterator[str]:
    """Address of a server that starts empty."""
    variables = os.environ | {"MOTO_IAM_LOAD_MANAGED_POLICIES": "true", "AWS_EC2_METADATA_DISABLED": "true"}
    server = subprocess.Popen(
        [sys.executable, "-m", "tests.terraform.moto_shim", "0"],
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


@pytest.fixture(scope="session")
def certificate_arn(aws_endpoint: str) -> str:
    """A certificate of the load balancer, which Terraform expects to exist."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import rsa
    from cryptography.x509.oid import NameOID

    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "dagster.example.org")])
    start = datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC)
    certificate = (
        x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key()).serial_number(1)
        .not_valid_before(start).not_valid_after(start + datetime.timedelta(days=20_000)).sign(key, hashes.SHA256())
    )  # fmt: skip
    pem = serialization.Encoding.PEM
    private = key.private_bytes(
        pem, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption()
    )
    acm = boto3.client(
        "acm",
        endpoint_url=aws_endpoint,
        region_name=REGION,
        aws_access_key_id="test",
        aws_secret_access_key="test",
    )
    return acm.import_certificate(Certificate=certificate.public_bytes(pem), PrivateKey=private)[
        "CertificateArn"
    ]


@pytest.fixture(scope="session")
def workspace(
    tmp_path_factory: pytest.TempPathFactory, aws_endpoint: str, certificate_arn: str
) -> Callable[..., Workspace]:
    """Makes an initialised workspace of an environment, with values for what no file has. Each has its own state."""

    def make(environment: str, **variables: Any) -> Workspace:
        folder = tmp_path_factory.mktemp(environment)
        made = Workspace(folder, environment, aws_endpoint, _values(certificate_arn) | variables)
        made.init()
        return made

    return make


def _values(certificate_arn: str) -> dict[str, Any]:
    return {
        "branch": "feature/example",
        "commit": "0123456789abcdef0123456789abcdef01234567",
        "jobs_image": f"{REGISTRY}/rd-jobs@{DIGEST}",
        "orchestrator_image": f"{REGISTRY}/rd-dagster@{DIGEST}",
        "repository_arns": {
            "jobs": f"arn:aws:ecr:{REGION}:{ACCOUNT}:repository/rd-jobs",
            "orchestrator": f"arn:aws:ecr:{REGION}:{ACCOUNT}:repository/rd-dagster",
        },
        "kafka": {
            "bootstrap_servers": "broker-1.example.org:9096",
            "cidrs": ["10.0.0.0/24"],
            "sasl_username": "ruter",
        },
        "certificate_arn": certificate_arn,
        "alarm_emails": ["alarms@example.org"],
        "slack": {"workspace_id": "T0123ABCD", "channel_id": "C0123ABCD"},
        "wait_for_services": False,
    }
