"""Opens a prefix of an object store (`s3://bucket/prefix`) with obstore. Credentials, region and endpoint are those of boto3."""

from __future__ import annotations

import os
from datetime import timedelta
from typing import Any

from obstore.store import ObjectStore, from_url

from ruter_dagster.aws.clients import endpoint_of, region_of_environment
from ruter_dagster.contracts.errors import PermanentFailure

_RENEWED_AFTER = timedelta(minutes=5)


def open_store(url: str, region: str | None = None) -> ObjectStore:
    """Opens the files below an address. `AWS_ENDPOINT_URL[_S3]` may be an http address, such as a local S3 server.

    Raises:
        PermanentFailure: There are no AWS credentials.
    """
    if not url.startswith("s3://"):
        return from_url(url)
    options: dict[str, Any] = {"client_options": {"allow_http": True}}
    if region := region or region_of_environment():
        options["region"] = region
    if endpoint := endpoint_of("s3"):
        options["endpoint"] = endpoint
    if "AWS_ACCESS_KEY_ID" not in os.environ:
        options["credential_provider"] = _credentials(url)
    return from_url(url, **options)


def _credentials(url: str) -> Any:
    """Credentials that boto3 finds (profile, single sign-on, web identity, container role), renewed before they expire."""
    import boto3
    from obstore.auth.boto3 import Boto3CredentialProvider

    try:
        return Boto3CredentialProvider(boto3.Session(), ttl=_RENEWED_AFTER)
    except ValueError:
        raise PermanentFailure(
            f"{url} cannot be opened: there are no AWS credentials. Sign in (aws sso login), set AWS_PROFILE or "
            "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or give the container a role."
        ) from None
