"""The roles of an environment and of CI: wildcards, boundary, and what the stack gives to their policies."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.terraform.account import Account
from tests.terraform.moto_shim import ACCOUNT, REGION
from tests.terraform.policies import Statement, allowed, statements, without_resource
from tests.terraform.roles import BOUNDARY, ENVIRONMENT, NAMES, WIRES, Roles

pytestmark = [pytest.mark.extended, pytest.mark.xdist_group("terraform")]
TERRAFORM = Path(__file__).parents[2] / "terraform"

AWS_OFFERS_NONE = {
    "cloudwatch:GetMetricData", "cloudwatch:GetMetricWidgetImage", "cloudwatch:PutMetricData", "ec2:DescribeDhcpOptions", "ec2:DescribeNetworkInterfaces",
    "ec2:DescribeSecurityGroups", "ec2:DescribeSubnets", "ec2:DescribeVpcs", "ecr:GetAuthorizationToken", "ecs:DeregisterTaskDefinition",
    "ecs:DescribeTaskDefinition", "logs:DeleteQueryDefinition", "logs:PutQueryDefinition", "route53:CreateHostedZone", "sagemaker:Search",
    "secretsmanager:GetRandomPassword", "secretsmanager:ListSecrets", "sts:GetCallerIdentity", "tag:GetResources",
}  # fmt: skip
"""Actions without resources, by AWS's Service Authorization Reference of 2026."""
DESCRIPTIONS = {
    "acm:Describe*", "acm:List*", "budgets:ViewBudget", "chatbot:Describe*", "chatbot:List*", "cloudformation:DescribeStacks", "cloudformation:ListStacks",
    "cloudwatch:Describe*", "cloudwatch:DescribeAlarms", "cloudwatch:GetDashboard", "cloudwatch:ListTagsForResource", "ec2:Describe*", "ecs:Describe*",
    "ecs:List*", "elasticloadbalancing:Describe*", "iam:GetPolicy", "iam:GetPolicyVersion", "kms:List*", "logs:Describe*", "logs:ListTagsForResource",
    "quicksight:Describe*", "quicksight:List*", "rds:Describe*", "route53:Get*", "route53:List*", "sagemaker:List*", "servicediscovery:Get*",
    "servicediscovery:List*",
}  # fmt: skip
"""Names and properties of resources. They show no data and change nothing; most of them have no resource."""
BY_TAG = {
    "chatbot:*", "ec2:*", "kms:*", "sagemaker:AddTags", "sagemaker:CreateDomain", "sagemaker:DeleteDomain", "sagemaker:DescribeDomain",
    "sagemaker:ListTags", "sagemaker:UpdateDomain", "servicediscovery:*",
}  # fmt: skip
"""ARNs have an id that AWS chooses, so a condition on the tag `environment` limits these actions."""
OTHER_REASONS = {
    "ec2:CreateNetworkInterface": "a sandbox's boundary knows no subnet; the role's own policy names them",
    "ec2:CreateNetworkInterfacePermission": "as above",
    "ec2:DeleteNetworkInterface": "as above; interfaces of other environments have another tag",
    "ec2:DeleteNetworkInterfacePermission": "the resource is not part of each call",
    "route53:AssociateVPCWithHostedZone": "zones have ids",
    "route53:DeleteHostedZone": "zones have ids, and Route 53 refuses while they have records",
}
EXPLAINED = AWS_OFFERS_NONE | DESCRIPTIONS | BY_TAG | set(OTHER_REASONS)
NOT_IN_A_SANDBOX = {"pipeline", "studio"}
"""Roles whose work the boundary refuses. Pipelines share names and rules with those of prod, and a sandbox has no Studio."""


def all_statements(account: Account, roles: Roles) -> Iterator[Statement]:
    for granted in roles.of.values():
        yield from granted
    yield from statements({"boundary": account.boundary})
    for policies in account.policies_of_ci.values():
        yield from statements(policies)


def test_each_wildcard_resource_is_explained(account: Account, roles: Roles) -> None:
    used = {action for _, action in without_resource(all_statements(account, roles))}
    assert used - EXPLAINED == set(), "name the resource, or explain the action here and beside the statement"
    assert EXPLAINED - used == set(), "no policy has these actions any more"


@pytest.mark.parametrize(
    "path", sorted(TERRAFORM.rglob("*.tf")), ids=lambda path: str(path.relative_to(TERRAFORM))
)
def test_each_wildcard_resource_has_a_comment_beside_it(path: Path) -> None:
    lines = path.read_text().splitlines()
    bare = []
    for number, line in enumerate(lines):
        if re.search(r'resources\s*=\s*\["\*"\]', line):
            start = max(
                index
                for index in range(number)
                if re.match(r"\s*(dynamic \"statement\"|statement) ", lines[index])
            )
            if not lines[start - 1].lstrip().startswith("#"):
                bare.append(number + 1)
    assert bare == []


def test_keys_are_granted_to_services_of_aws_alone(roles: Roles) -> None:
    granting = [
        statement
        for granted in roles.of.values()
        for statement in granted
        if "kms:CreateGrant" in statement.actions
    ]
    assert granting
    for statement in granting:
        assert statement.actions == ["kms:CreateGrant"]
        assert statement.content["Condition"] == {"Bool": {"kms:GrantIsForAWSResource": "true"}}


def test_a_job_deletes_no_record_of_jobs(roles: Roles) -> None:
    lake = f"{NAMES['iam']['lake_arn']}/lake/{ENVIRONMENT}/demo"
    for role in ("job-tables", "job-snapshot", "job-model", "job-publish"):
        assert allowed(roles.of[role], "s3:DeleteObject", f"{lake}/warehouse/x.parquet")
        assert not allowed(roles.of[role], "s3:DeleteObject", f"{lake}/artifacts/pipes/0123/record.json")


def test_only_dagster_publishes_to_the_topic_of_alarms(roles: Roles) -> None:
    own, other = (f"arn:aws:sns:{REGION}:{ACCOUNT}:rd-{name}-alarms" for name in (ENVIRONMENT, "prod"))
    publishers = {role for role, granted in roles.of.items() if allowed(granted, "sns:Publish", own)}
    assert publishers == {"orchestrator"}
    assert not allowed(roles.of["orchestrator"], "sns:Publish", other)


def test_every_role_of_a_sandbox_has_the_boundary(roles: Roles) -> None:
    assert len(roles.boundaries) > 10
    assert set(roles.boundaries.values()) == {BOUNDARY}


def test_the_boundary_allows_what_roles_of_a_sandbox_allow(account: Account, roles: Roles) -> None:
    boundary = statements({"boundary": account.boundary})
    refused = {
        (role, statement.sid, action)
        for role, granted in roles.of.items()
        if role not in NOT_IN_A_SANDBOX
        for statement in granted
        if statement.allows
        for action in statement.actions
        for resource in statement.resources
        if not within(boundary, statement, action, resource)
    }
    assert {
        entry
        for entry in refused
        if entry[1] not in ("RawData", "RawBucket", "WarehouseRows", "BucketsOfAthena", "LogLines")
    } == set()


def within(boundary: list[Statement], statement: Statement, action: str, resource: str) -> bool:
    """Whether the boundary allows an example of the statement's requests."""
    conditions = {
        key: values[0] if isinstance(values, list) else values
        for keys in statement.content.get("Condition", {}).values()
        for key, values in keys.items()
    }
    context = {"aws:RequestedRegion": REGION, "aws:ResourceTag/environment": ENVIRONMENT} | conditions
    return allowed(boundary, action, resource.replace("*", "x") if resource != "*" else "*", context)


def test_the_stack_gives_the_names_of_its_own_resources_to_policies() -> None:
    stack = "".join(path.read_text() for path in (TERRAFORM / "stack").glob("*.tf"))
    for module, names in NAMES.items():
        block = stack.split(f'module "{module}" {{')[1].split("\n}\n")[0]
        for name in names:
            wire = WIRES.get(f"{module}.{name}", WIRES[name])
            assert re.search(rf"^  {name}\s+= {re.escape(wire)}$", block, re.MULTILINE), (module, name)
