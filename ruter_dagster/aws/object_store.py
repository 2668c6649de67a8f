"""Opens places in an object store (`s3://bucket/prefix`) for obstore: credentials, region and endpoint as boto3 finds them."""

from __future__ import annotations

import os
from datetime import timedelta
from typing import Any

from obstore.store import ObjectStore, from_url

from ruter_dagster.aws.clients import endpoint_of, region_of_environment
from ruter_dagster.contracts.errors import PermanentFailure

_RENEWED_AFTER = timedelta(minutes=5)


def open_store(url: str, region: str | None = None) -> ObjectStore:
    """The files below an address. An endpoint of `AWS_ENDPOINT_URL[_S3]` may be http: a double, or a store of one's own.

    Raises:
        PermanentFailure: no credentials of AWS are to be found.
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
    """What boto3 finds: a profile, single sign-on, a web identity, the role of a container; renewed in time."""
    import boto3
    from obstore.auth.boto3 import Boto3CredentialProvider

    try:
        return Boto3CredentialProvider(boto3.Session(), ttl=_RENEWED_AFTER)
    except ValueError:
        raise PermanentFailure(
            f"{url} cannot be opened: no credentials of AWS were found. Sign in (aws sso login), set AWS_PROFILE or "
            "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or give the container a role."
        ) from None
