"""The role of snapshots may do what a source behind Athena needs: the calls of the source, recorded by the double of AWS, and Athena's own."""

from __future__ import annotations

from typing import Any

import pytest

from sagemaker_double.control import Remote
from tests.sources.test_warehouse import DAY, bucket, warehouse
from tests.terraform.moto_shim import ACCOUNT, REGION
from tests.terraform.policies import allowed
from tests.terraform.recorded_calls import requests
from tests.terraform.roles import ENVIRONMENT, NAME, Roles

__all__ = ["bucket"]
pytestmark = [pytest.mark.extended, pytest.mark.xdist_group("terraform")]
LAKE = f"arn:aws:s3:::{NAME}-lake-{ACCOUNT}-{REGION}"
STAGING = f"{LAKE}/lake/{ENVIRONMENT}/demo/staging"
TEST_NAMES = {
    "arn:aws:s3:::lake/staging": STAGING,
    "arn:aws:s3:::lake": LAKE,
    "workgroup/primary": f"workgroup/{NAME}",
    "eu-west-1": REGION,
}
BY_ATHENA = [
    ("s3:ListBucket", "arn:aws:s3:::my-warehouse"),
    ("s3:GetBucketLocation", "arn:aws:s3:::my-warehouse"),
    ("s3:GetBucketLocation", LAKE),
    ("s3:GetObject", "arn:aws:s3:::my-warehouse/counts/x.parquet"),
    ("s3:PutObject", f"{STAGING}/stop_visits/0123/part.parquet"),
    ("s3:PutObject", f"{LAKE}/athena-results/0123-manifest.csv"),
    ("s3:AbortMultipartUpload", f"{STAGING}/stop_visits/0123/part.parquet"),
    ("glue:GetTable", f"arn:aws:glue:{REGION}:{ACCOUNT}:table/counts/passenger_counts"),
    ("glue:GetPartitions", f"arn:aws:glue:{REGION}:{ACCOUNT}:table/counts/passenger_counts"),
    ("athena:GetQueryExecution", f"arn:aws:athena:{REGION}:{ACCOUNT}:workgroup/{NAME}"),
    ("athena:StopQueryExecution", f"arn:aws:athena:{REGION}:{ACCOUNT}:workgroup/{NAME}"),
]
"""What Athena does with the rights of whoever asks: its user guide, "Access to Amazon S3 from Athena"; UNLOAD writes to the staging prefix."""


def test_snapshots_may_read_a_warehouse(bucket: Any, sagemaker_double: Remote, roles: Roles) -> None:
    sagemaker_double.clear_calls()
    warehouse().stop_visits(DAY)
    recorded = list(requests(sagemaker_double.resources()["tests"], TEST_NAMES, {}))
    assert {"athena:StartQueryExecution", "s3:GetObject", "s3:DeleteObject"} <= {
        action for action, _, _ in recorded
    }
    needed = [(action, resource) for action, resource, _ in recorded] + BY_ATHENA
    refused = [request for request in needed if not allowed(roles.of["job-snapshot"], *request)]
    assert refused == []
    assert not allowed(roles.of["job-tables"], *BY_ATHENA[3])
