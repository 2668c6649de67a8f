"""Terraform's states of sandboxes in S3: which exist, abandoned locks, and the deletion of a state without resources."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

from ruter_dagster.aws.clients import client
from ruter_dagster.contracts.errors import PermanentFailure
from ruter_dagster.contracts.sandbox import SANDBOX, Sandbox

FOLDER = "sandbox/"
STATE, LOCK = "terraform.tfstate", "terraform.tfstate.tflock"
LOCK_HOURS = 2
"""A lock that is older was left by a job that was killed: the session of the CI role lasts one hour."""
_SHOWN = 20
_KEYS_PER_CALL = 1000


def state_prefix(address: str, sandbox: Sandbox) -> tuple[str, str]:
    """Bucket and prefix of `s3://bucket/sandbox/<id>/`. Raises `PermanentFailure` if it is not this sandbox's."""
    match = re.fullmatch(r"s3://([^/]+)/(.+)", address)
    if match is None or match[2].rstrip("/") != f"{FOLDER}{sandbox.id}":
        raise PermanentFailure(
            f"{address} is not the state of {sandbox.id}. Allowed: s3://BUCKET/{FOLDER}{sandbox.id}/"
        )
    return match[1], f"{FOLDER}{sandbox.id}/"


def existing_states(bucket: str) -> list[Sandbox]:
    """The sandboxes that have a state, or a lock, in the bucket."""
    pages = (
        client("s3").get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=FOLDER, Delimiter="/")
    )
    folders = [
        item["Prefix"].removeprefix(FOLDER).rstrip("/")
        for page in pages
        for item in page.get("CommonPrefixes", [])
    ]
    return [Sandbox(folder) for folder in folders if SANDBOX.fullmatch(folder)]


def lock_holder(bucket: str, sandbox: Sandbox) -> str | None:
    """Who has locked the state, None if nobody has."""
    lock = _read(client("s3"), bucket, f"{FOLDER}{sandbox.id}/{LOCK}")
    return _holder(lock["text"]) if lock else None


def changed_lately(bucket: str, sandbox: Sandbox) -> bool:
    """Whether the state or its lock was written in the last `LOCK_HOURS`."""
    answer = client("s3").list_objects_v2(Bucket=bucket, Prefix=f"{FOLDER}{sandbox.id}/")
    start = datetime.now(UTC) - timedelta(hours=LOCK_HOURS)
    return any(item["LastModified"] > start for item in answer.get("Contents", []))


def release_abandoned_lock(bucket: str, sandbox: Sandbox) -> str | None:
    """Deletes the lock of the state if it is older than `LOCK_HOURS`. Returns who had left it, None if there was none."""
    s3, key = client("s3"), f"{FOLDER}{sandbox.id}/{LOCK}"
    lock = _read(s3, bucket, key)
    if lock is None or datetime.now(UTC) - lock["LastModified"] < timedelta(hours=LOCK_HOURS):
        return None
    s3.delete_object(Bucket=bucket, Key=key)
    return _holder(lock["text"])


def delete_state(sandbox: Sandbox, address: str) -> list[str]:
    """Deletes the state and its lock with all their versions.

    Raises `PermanentFailure`, and deletes nothing, if the state holds resources or somebody has locked it.
    """
    s3 = client("s3")
    bucket, prefix = state_prefix(address, sandbox)
    if lock := _read(s3, bucket, f"{prefix}{LOCK}"):
        raise PermanentFailure(
            f"The state is locked by {_holder(lock['text'])}. Wait for it, then run this again."
        )
    state = _read(s3, bucket, f"{prefix}{STATE}")
    if resources := _resources(json.loads(state["text"])) if state else []:
        more = f" and {len(resources) - _SHOWN} more" if len(resources) > _SHOWN else ""
        raise PermanentFailure(
            f"The state still holds {len(resources)} resources: {', '.join(resources[:_SHOWN])}{more}. It was kept."
        )
    versions = list(_versions(s3, bucket, prefix))
    for start in range(0, len(versions), _KEYS_PER_CALL):
        batch = versions[start : start + _KEYS_PER_CALL]
        answer = s3.delete_objects(Bucket=bucket, Delete={"Objects": batch, "Quiet": True})
        if errors := answer.get("Errors"):
            raise PermanentFailure("; ".join(f"{error['Key']}: {error['Message']}" for error in errors))
    return [f"state {address}, {len(versions)} versions"] if versions else []


def _read(s3: Any, bucket: str, key: str) -> dict[str, Any] | None:
    """Text and time of an object, None if it does not exist."""
    try:
        answer = s3.get_object(Bucket=bucket, Key=key)
    except s3.exceptions.NoSuchKey:
        return None
    return {"text": answer["Body"].read(), "LastModified": answer["LastModified"]}


def _resources(state: dict[str, Any]) -> list[str]:
    """Addresses of the managed resources. A data source is nothing that could be left over."""
    return [
        ".".join(filter(None, (item.get("module"), item["type"], item["name"])))
        for item in state.get("resources", [])
        if item["mode"] == "managed"
    ]


def _holder(lock: bytes) -> str:
    try:
        content = json.loads(lock)
    except ValueError:
        content = {}
    return f"{content.get('Who', 'an unknown user')} ({content.get('Operation')}, since {content.get('Created')})"


def _versions(s3: Any, bucket: str, prefix: str) -> Iterator[dict[str, str]]:
    for page in s3.get_paginator("list_object_versions").paginate(Bucket=bucket, Prefix=prefix):
        for item in (*page.get("Versions", []), *page.get("DeleteMarkers", [])):
            yield {"Key": item["Key"], "VersionId": item["VersionId"]}
