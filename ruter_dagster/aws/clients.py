"""AWS's clients with the region and endpoint that the settings and the usual `AWS_*` variables name. No service's own logic."""

from __future__ import annotations

import os
from typing import Any

from ruter_dagster.contracts.certificates import require_named_certificates


def endpoint_of(service: str) -> str | None:
    """`AWS_ENDPOINT_URL_<SERVICE>`, else `AWS_ENDPOINT_URL`: boto3 reads them itself, other libraries must be told."""
    name = service.upper().replace("-", "_")
    return os.environ.get(f"AWS_ENDPOINT_URL_{name}") or os.environ.get("AWS_ENDPOINT_URL") or None


def client(service: str, region: str | None = None, *, tries: int = 9, patience: float = 60.0) -> Any:
    """A boto3 client that repeats throttled and broken calls by itself. boto3 takes 0.7 CPU-s to load: only here.

    `tries` is 1 for whoever sorts errors and waits by itself, between other work; `patience` is how many seconds one try may
    wait for an answer.
    """
    require_named_certificates(("AWS_CA_BUNDLE", "REQUESTS_CA_BUNDLE"))
    import boto3
    from botocore.config import Config

    config = Config(
        retries={"mode": "standard", "total_max_attempts": tries},
        connect_timeout=min(10.0, patience),
        read_timeout=patience,
    )
    return boto3.Session(region_name=region or region_of_environment()).client(service, config=config)


def region_of_environment() -> str | None:
    """boto3 itself reads `AWS_DEFAULT_REGION` alone; containers of AWS have `AWS_REGION`."""
    return os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION") or None


def console(region: str, path: str) -> str:
    """A link into the AWS console; `path` begins with the service."""
    return f"https://{region}.console.aws.amazon.com/{path}"
