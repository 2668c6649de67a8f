"""A sandbox from its first deploy to its end, by the scripts of CI, with data that Terraform does not know."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from ruter_dagster.contracts.sandbox import Sandbox, sandbox_id
from tests.sandbox.conftest import SCRIPT, STATE_BUCKET, CiJob, stack_variables
from tests.terraform.moto_shim import REGION

pytestmark = pytest.mark.extended

BRANCH = "feature/seats"
SANDBOX = Sandbox.of(sandbox_id(BRANCH))


@pytest.fixture(scope="module")
def job(
    tmp_path_factory: pytest.TempPathFactory, aws_endpoint: str, certificate_arn: str, clients: Any
) -> Iterator[CiJob]:
    """The job `sandbox-up`, done."""
    s3 = clients("s3")
    s3.create_bucket(Bucket=STATE_BUCKET, CreateBucketConfiguration={"LocationConstraint": REGION})
    s3.put_bucket_versioning(Bucket=STATE_BUCKET, VersioningConfiguration={"Status": "Enabled"})
    made = CiJob(BRANCH, tmp_path_factory.mktemp("job"), aws_endpoint, stack_variables(certificate_arn))
    made.run(SCRIPT, "up")
    yield made


def test_life(job: CiJob, clients: Any) -> None:
    assert clients("ecs").describe_clusters(clusters=[SANDBOX.name])["clusters"]
    print((job.folder / "sandbox.env").read_text())
    done = job.run(SCRIPT, "down", check=False)
    print(done.stdout[-3000:])
    assert done.returncode == 0
