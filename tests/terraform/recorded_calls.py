"""What IAM checks for the calls that a double of AWS recorded, with the names of a deployed environment."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from tests.terraform.moto_shim import ACCOUNT, REGION
from tests.terraform.policies import Context
from tests.terraform.roles import ENVIRONMENT, NAME

ACTIONS = {
    "s3.HeadObject": "s3:GetObject",
    "s3.PostObject": "s3:PutObject",  # the parts of a large object
    "s3.PostBucket": "s3:DeleteObject",  # many at once
    "s3.ListObjects": "s3:ListBucket",
    "s3.HeadBucket": "s3:ListBucket",
    "sqs.DeleteMessageBatch": "sqs:DeleteMessage",
}
"""What a call needs that is not named as the call."""
OF_THE_DEMO = {
    "s3.PutBucket", "sqs.CreateQueue", "sqs.GetQueueAttributes", "events.PutRule", "events.PutTargets", "secretsmanager.CreateSecret",
    "glue.CreateDatabase",
}  # fmt: skip
"""Calls that make what Terraform makes in a deployment."""
DEMO_NAMES = {
    "arn:aws:s3:::ruter-dagster-demo": f"arn:aws:s3:::{NAME}-lake-{ACCOUNT}-{REGION}",
    "/lake/local/demo/": f"/lake/{ENVIRONMENT}/demo/",
    "rd_local_demo": NAME.replace("-", "_"),
    "rd-local": NAME,
    "eu-west-1": REGION,
}
"""Names of the demo, and of the same thing in the environment."""

Request = tuple[str, str, Context]
"""An action, a resource and the keys of its conditions."""


def requests(
    calls: Mapping[str, Sequence[str]], names: Mapping[str, str], role_of_job: Mapping[str, str]
) -> Iterator[Request]:
    """The requests of one caller's calls, which are ARNs of resources by operation."""
    for operation, arns in calls.items():
        if operation in OF_THE_DEMO:
            continue
        for arn in arns:
            if ":iam:" in arn:
                role = role_of_job.get(arn.rpartition("/")[2], f"{NAME}-job-tables")
                resource = f"arn:aws:iam::{ACCOUNT}:role/{role}"
                yield "iam:PassRole", resource, {"iam:PassedToService": "sagemaker.amazonaws.com"}
            else:
                yield ACTIONS.get(operation, operation.replace(".", ":", 1)), _renamed(arn, names), {}


def _renamed(arn: str, names: Mapping[str, str]) -> str:
    for old, new in names.items():
        arn = arn.replace(old, new)
    return arn
