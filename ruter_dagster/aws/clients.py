"""boto3 clients with the region and endpoint of the settings and the `AWS_*` variables. Logic of a single service belongs elsewhere."""

from __future__ import annotations

import os
from typing import Any

from ruter_dagster.contracts.certificates import require_named_certificates


def endpoint_of(service: str) -> str | None:
    """`AWS_ENDPOINT_URL_<SERVICE>`, else `AWS_ENDPOINT_URL`: boto3 reads them itself, other libraries need them as options."""
    name = service.upper().replace("-", "_")
    return os.environ.get(f"AWS_ENDPOINT_URL_{name}") or os.environ.get("AWS_ENDPOINT_URL") or None


def client(service: str, region: str | None = None, *, max_attempts: int = 9, timeout: float = 60.0) -> Any:
    """A boto3 client that retries throttled and failed calls.

    Args:
        service: Name of the service, such as `s3`.
        region: By default the region of the environment.
        max_attempts: Use 1 if the caller handles errors and waits itself.
        timeout: Seconds that one attempt may wait for an answer.
    """
    require_named_certificates(("AWS_CA_BUNDLE", "REQUESTS_CA_BUNDLE"))
    # Loading boto3 takes 0.7 CPU seconds, and the code location and local jobs must start without that cost.
    import boto3
    from botocore.config import Config

    config = Config(
        retries={"mode": "standard", "total_max_attempts": max_attempts},
        connect_timeout=min(10.0, timeout),
        read_timeout=timeout,
    )
    return boto3.Session(region_name=region or region_of_environment()).client(service, config=config)


def region_of_environment() -> str | None:
    """Region of the `AWS_*` variables. boto3 reads only `AWS_DEFAULT_REGION`; containers in AWS set `AWS_REGION`."""
    return os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION") or None


def console_url(region: str, path: str) -> str:
    """Address of a page of the AWS console; `path` begins with the service."""
    return f"https://{region}.console.aws.amazon.com/{path}"
