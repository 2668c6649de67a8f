"""A state is deleted with all its versions, and only if it is the sandbox's, holds no resources and is not locked."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import boto3
import pytest
from moto import mock_aws

from ruter_dagster.aws.sandbox import state
from ruter_dagster.contracts.errors import PermanentFailure
from ruter_dagster.contracts.sandbox import Sandbox

BUCKET, REGION = "rd-state", "eu-north-1"
SANDBOX, OTHER = Sandbox.of("s-seats-1a2b3c"), Sandbox.of("s-seats-ffffff")
ADDRESS = f"s3://{BUCKET}/sandbox/{SANDBOX.id}/"
EMPTY = {"version": 4, "resources": [{"mode": "data", "type": "aws_region", "name": "current"}]}
FULL = {"version": 4, "resources": [{"mode": "managed", "module": "module.storage", "type": "aws_kms_key", "name": "this"}]}  # fmt: skip
LOCK = {"Who": "runner@host", "Operation": "OperationTypeApply", "Created": "2026-11-30"}


@pytest.fixture
def s3(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    for name, value in {
        "AWS_ACCESS_KEY_ID": "tests",
        "AWS_SECRET_ACCESS_KEY": "tests",
        "AWS_REGION": REGION,
    }.items():
        monkeypatch.setenv(name, value)
    with mock_aws():
        s3 = boto3.client("s3", region_name=REGION)
        s3.create_bucket(Bucket=BUCKET, CreateBucketConfiguration={"LocationConstraint": REGION})
        s3.put_bucket_versioning(Bucket=BUCKET, VersioningConfiguration={"Status": "Enabled"})
        yield s3


def put(s3: Any, sandbox: Sandbox, content: dict[str, Any], name: str = state.STATE) -> None:
    s3.put_object(Bucket=BUCKET, Key=f"sandbox/{sandbox.id}/{name}", Body=json.dumps(content))


def versions(s3: Any, sandbox: Sandbox) -> int:
    answer = s3.list_object_versions(Bucket=BUCKET, Prefix=f"sandbox/{sandbox.id}/")
    return len(answer.get("Versions", [])) + len(answer.get("DeleteMarkers", []))


def test_all_versions_are_deleted_and_others_kept(s3: Any) -> None:
    for content in (FULL, EMPTY):
        put(s3, SANDBOX, content)
        put(s3, OTHER, content)
    put(s3, SANDBOX, LOCK, state.LOCK)
    s3.delete_object(Bucket=BUCKET, Key=f"sandbox/{SANDBOX.id}/{state.LOCK}")
    assert state.delete_state(SANDBOX, ADDRESS) == [f"state {ADDRESS}, 4 versions"]
    assert (versions(s3, SANDBOX), versions(s3, OTHER)) == (0, 2)
    assert state.delete_state(SANDBOX, ADDRESS) == [], "repeating it does nothing"


def test_state_with_resources_is_kept(s3: Any) -> None:
    put(s3, SANDBOX, FULL)
    with pytest.raises(
        PermanentFailure, match=r"still holds 1 resources: module\.storage\.aws_kms_key\.this"
    ):
        state.delete_state(SANDBOX, ADDRESS)
    assert versions(s3, SANDBOX) == 1


def test_locked_state_is_kept(s3: Any) -> None:
    put(s3, SANDBOX, EMPTY)
    put(s3, SANDBOX, LOCK, state.LOCK)
    with pytest.raises(
        PermanentFailure, match=r"locked by runner@host \(OperationTypeApply, since 2026-11-30\)"
    ):
        state.delete_state(SANDBOX, ADDRESS)
    assert versions(s3, SANDBOX) == 2


@pytest.mark.parametrize(
    "address",
    [
        f"s3://{BUCKET}/env/prod/",
        f"s3://{BUCKET}/sandbox/",
        f"s3://{BUCKET}/sandbox/{OTHER.id}/",
        f"s3://{BUCKET}/",
        "rd-state/sandbox",
    ],
)
def test_states_of_others_are_refused(s3: Any, address: str) -> None:
    with pytest.raises(PermanentFailure, match=f"is not the state of {SANDBOX.id}"):
        state.delete_state(SANDBOX, address)


def test_only_states_of_sandboxes_are_listed(s3: Any) -> None:
    put(s3, SANDBOX, FULL)
    put(s3, OTHER, LOCK, state.LOCK)
    for key in (
        "env/prod/terraform.tfstate",
        "sandbox/prod/terraform.tfstate",
        "bootstrap/terraform.tfstate",
    ):
        s3.put_object(Bucket=BUCKET, Key=key, Body=b"{}")
    assert state.existing_states(BUCKET) == [SANDBOX, OTHER]


def test_lock_of_a_running_job_is_kept(s3: Any) -> None:
    put(s3, SANDBOX, LOCK, state.LOCK)
    assert state.release_abandoned_lock(BUCKET, SANDBOX) is None
    assert s3.head_object(Bucket=BUCKET, Key=f"sandbox/{SANDBOX.id}/{state.LOCK}")


def test_lock_of_a_killed_job_is_released(s3: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    put(s3, SANDBOX, LOCK, state.LOCK)

    class Later(datetime):
        @classmethod
        def now(cls, tz: Any = None) -> datetime:
            return datetime.now(UTC) + timedelta(hours=state.LOCK_HOURS, minutes=1)

    monkeypatch.setattr(state, "datetime", Later)
    assert (
        state.release_abandoned_lock(BUCKET, SANDBOX) == "runner@host (OperationTypeApply, since 2026-11-30)"
    )
    assert state.release_abandoned_lock(BUCKET, SANDBOX) is None
