"""The roles of a sandbox with every switch on, as Terraform renders them."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import pytest

from tests.terraform.moto_shim import ACCOUNT, REGION
from tests.terraform.policies import Statement, statements
from tests.terraform.terraform import Workspace

ENVIRONMENT = "s-roles-1a2b3c"
NAME = f"rd-{ENVIRONMENT}"
BOUNDARY = f"arn:aws:iam::{ACCOUNT}:policy/rd-sandbox-boundary"
TARGETS = (
    "module.iam",
    "module.sagemaker.aws_iam_role_policy.this",
    "module.network.aws_iam_role_policy.flow",
    "module.observability.aws_iam_role_policy.slack",
    "module.events.aws_cloudwatch_event_rule.this",
    "module.bi[0].aws_iam_role_policy.this",
    "output.role_of_job",
)
SWITCHES: dict[str, Any] = {
    "permissions_boundary": BOUNDARY,
    "create_mlflow": True,
    "studio": True,
    "feature_group": True,
    "endpoint": {"image": "image", "model_data_url": "s3://bucket/model", "instance_type": "ml.m5.large"},
    "quicksight": {"readers_arn": f"arn:aws:quicksight:{REGION}:{ACCOUNT}:group/default/readers"},
    "warehouse": {"database": "counts", "bucket": "my-warehouse", "prefix": "counts/"},
    "readable_environment": {"name": "prod", "buckets": [f"rd-prod-lake-{ACCOUNT}-{REGION}"]},
}
KEY = f"arn:aws:kms:{REGION}:{ACCOUNT}:key/of-{NAME}"
NAMES: dict[str, dict[str, Any]] = {
    "iam": {
        "lake_arn": f"arn:aws:s3:::{NAME}-lake-{ACCOUNT}-{REGION}",
        "logs_arn": f"arn:aws:s3:::{NAME}-logs-{ACCOUNT}-{REGION}",
        "kms_key_arn": KEY,
        "database": NAME.replace("-", "_"),
        "workgroup": NAME,
        "raw_bucket": f"{NAME}-raw-{ACCOUNT}-{REGION}",
        "subnet_ids": ["subnet-0123", "subnet-4567"],
        "security_group_id": "sg-0123",
        "queue_arns": [f"arn:aws:sqs:{REGION}:{ACCOUNT}:{NAME}-{queue}" for queue in ("jobs", "arrivals")],
    },
    "sagemaker": {
        "lake_arn": f"arn:aws:s3:::{NAME}-lake-{ACCOUNT}-{REGION}",
        "kms_key_arn": KEY,
        "vpc_id": "vpc-0123",
        "subnet_ids": ["subnet-0123", "subnet-4567"],
        "security_group_id": "sg-0123",
    },
    "network": {"kms_key_arn": KEY},
    "bi": {
        "lake_arn": f"arn:aws:s3:::{NAME}-lake-{ACCOUNT}-{REGION}",
        "kms_key_arn": KEY,
        "database": NAME.replace("-", "_"),
        "workgroup": NAME,
    },
    "events": {"raw_bucket": f"{NAME}-raw-{ACCOUNT}-{REGION}"},
}
"""Names of what other modules create: with them, the roles are applied without buckets and queues, which takes minutes."""
WIRES = {
    "lake_arn": "module.storage.lake_arn",
    "logs_arn": "module.storage.logs_arn",
    "kms_key_arn": "module.storage.kms_key_arn",
    "database": "module.catalog.database",
    "bi.database": "module.catalog.database_of_views",
    "workgroup": "module.catalog.workgroup",
    "raw_bucket": "local.raw_bucket",
    "vpc_id": "module.network.vpc_id",
    "subnet_ids": "module.network.private_subnet_ids",
    "security_group_id": "module.network.jobs_security_group_id",
    "queue_arns": "module.events.queue_arns",
}
"""Where the stack takes these names from, for one module or for all."""


@dataclass(frozen=True)
class Roles:
    """`of` has the statements of a role by its name without the environment, `rules` the event patterns by rule."""

    of: Mapping[str, list[Statement]]
    boundaries: Mapping[str, str]
    role_of_job: Mapping[str, str]
    rules: Mapping[str, str]


@pytest.fixture(scope="session")
def roles(workspace: Callable[..., Workspace]) -> Roles:
    """The roles after an apply of the parts of the stack that make roles."""
    made = workspace(ENVIRONMENT, **SWITCHES)
    (made.stack / "roles_override.tf").write_text(
        "\n".join(f'module "{module}" {{\n{_arguments(values)}}}' for module, values in NAMES.items())
    )
    (made.stack / "test_outputs.tf").write_text(
        'output "role_of_job" {\n  value = module.iam.role_of_job\n}\n'
    )
    made.run(*made.with_values("apply", "-auto-approve", *(f"-target={target}" for target in TARGETS)))
    resources = made.resources()
    jobs = json.loads(made.run("output", "-json", "role_of_job").stdout)
    return Roles(
        {
            resource["values"]["role"].removeprefix(f"{NAME}-"): statements(
                {resource["address"]: json.loads(resource["values"]["policy"])}
            )
            for resource in resources
            if resource["type"] == "aws_iam_role_policy"
        },
        {
            resource["values"]["name"]: resource["values"].get("permissions_boundary")
            for resource in resources
            if resource["type"] == "aws_iam_role"
        },
        {job: arn.rpartition("/")[2] for job, arn in jobs.items()},
        {
            resource["values"]["name"].removeprefix(f"{NAME}-"): resource["values"]["event_pattern"]
            for resource in resources
            if resource["type"] == "aws_cloudwatch_event_rule"
        },
    )


def _arguments(values: Mapping[str, Any]) -> str:
    return "".join(f"  {name} = {json.dumps(value)}\n" for name, value in values.items())
