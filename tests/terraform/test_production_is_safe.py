"""Nothing that a branch does changes production: what a branch's role and the roles of its sandbox may do, as Terraform renders their policies."""

from __future__ import annotations

import re
from typing import Any

import pytest

from tests.terraform.account import Account
from tests.terraform.moto_shim import ACCOUNT, REGION
from tests.terraform.policies import Statement, allowed, statements
from tests.terraform.terraform import ROOT

pytestmark = [pytest.mark.extended, pytest.mark.xdist_group("terraform")]
HERE = f"{REGION}:{ACCOUNT}"
SANDBOX = "s-mybranch-1a2b3c"
OWN_LAKE, PROD_LAKE = (f"arn:aws:s3:::rd-{name}-lake-{ACCOUNT}-{REGION}" for name in (SANDBOX, "prod"))
STATES = f"arn:aws:s3:::rd-state-{ACCOUNT}-{REGION}"
ROLE = f"arn:aws:iam::{ACCOUNT}:role"
BOUNDARY = f"arn:aws:iam::{ACCOUNT}:policy/rd-sandbox-boundary"
ANY_KEY = f"arn:aws:kms:{HERE}:key/0123"
PROD_TAG = {"aws:ResourceTag/environment": "prod"}
EVIL_TAG = {"aws:RequestTag/environment": SANDBOX}
PROD_KEY = PROD_TAG | {"kms:ResourceAliases": "alias/rd-prod"}

CHAT_REGIONS = re.findall(
    r'"([a-z0-9-]+)"',
    (ROOT / "stack" / "variables.tf")
    .read_text()
    .split('variable "chat_region"')[1]
    .split("contains(")[1]
    .split("]")[0],
)

ON_DATA: list[tuple[str, str, dict[str, str]]] = [
    ("s3:DeleteBucket", PROD_LAKE, {}),
    ("s3:PutBucketPolicy", PROD_LAKE, {}),
    ("s3:DeleteObject", f"{PROD_LAKE}/lake/prod/demo/warehouse/x.parquet", {}),
    ("s3:PutObject", f"{PROD_LAKE}/lake/prod/demo/warehouse/x.parquet", {}),
    ("s3:GetObject", f"arn:aws:s3:::rd-dev-lake-{ACCOUNT}-{REGION}/x", {}),
    ("glue:DeleteTable", f"arn:aws:glue:{HERE}:table/rd_prod/forecasts_load_forecasts", {}),
    ("glue:UpdateTable", f"arn:aws:glue:{HERE}:table/rd_prod/forecasts_load_forecasts", {}),
    ("glue:DeleteDatabase", f"arn:aws:glue:{HERE}:database/rd_prod", {}),
    ("kms:ScheduleKeyDeletion", ANY_KEY, PROD_TAG),
    ("kms:ScheduleKeyDeletion", ANY_KEY, PROD_TAG | EVIL_TAG),
    ("kms:PutKeyPolicy", ANY_KEY, PROD_TAG),
    ("kms:CreateGrant", ANY_KEY, PROD_TAG),
    ("kms:TagResource", ANY_KEY, PROD_TAG | EVIL_TAG),
    ("kms:DeleteAlias", f"arn:aws:kms:{HERE}:alias/rd-prod", {}),
    ("secretsmanager:GetSecretValue", f"arn:aws:secretsmanager:{HERE}:secret:rd-prod/passwords-a1b2c3", {}),
    ("secretsmanager:GetSecretValue", f"arn:aws:secretsmanager:{HERE}:secret:rd-prod/database-a1b2c3", {}),
    ("secretsmanager:DeleteSecret", f"arn:aws:secretsmanager:{HERE}:secret:rd-prod/passwords-a1b2c3", {}),
    ("rds:DeleteDBInstance", f"arn:aws:rds:{HERE}:db:rd-prod", {}),
    ("rds:ModifyDBInstance", f"arn:aws:rds:{HERE}:db:rd-prod", {}),
    ("logs:DeleteLogGroup", f"arn:aws:logs:{HERE}:log-group:/rd/rd-prod/dagster/daemon", {}),
    ("logs:DeleteLogStream", f"arn:aws:logs:{HERE}:log-group:/aws/sagemaker/ProcessingJobs:log-stream:rd-prod-x/algo-1", {}),
    ("logs:PutRetentionPolicy", f"arn:aws:logs:{HERE}:log-group:/aws/rds/instance/rd-prod/postgresql", {}),
    ("glue:UpdateTable", f"arn:aws:glue:{HERE}:table/sagemaker_featurestore/rd_prod_departure_features_1", {}),
    ("logs:DeleteLogGroup", f"arn:aws:logs:{HERE}:log-group:/aws/ecs/containerinsights/rd-prod/performance", {}),
    ("sagemaker-mlflow:DeleteExperiment", f"arn:aws:sagemaker:{HERE}:mlflow-tracking-server/rd-prod", {}),
    ("logs:PutRetentionPolicy", f"arn:aws:logs:{HERE}:log-group:/aws/sagemaker/ProcessingJobs", {}),
    ("logs:GetLogEvents", f"arn:aws:logs:{HERE}:log-group:/aws/sagemaker/ProcessingJobs:log-stream:rd-prod-x/algo-1", {}),
    ("logs:PutLogEvents", f"arn:aws:logs:{HERE}:log-group:/aws/sagemaker/ProcessingJobs:log-stream:rd-prod-x/algo-1", {}),
]  # fmt: skip
ON_COMPUTE: list[tuple[str, str, dict[str, str]]] = [
    ("sagemaker:StopProcessingJob", f"arn:aws:sagemaker:{HERE}:processing-job/rd-prod-loads-0", PROD_TAG),
    ("sagemaker:StopTrainingJob", f"arn:aws:sagemaker:{HERE}:training-job/rd-prod-models-0", PROD_TAG),
    ("sagemaker:StopProcessingJob", f"arn:aws:sagemaker:{HERE}:processing-job/pipelines-0a1b-train", {}),
    ("sagemaker:DeleteModelPackageGroup", f"arn:aws:sagemaker:{HERE}:model-package-group/rd-prod-load-model", {}),
    ("sagemaker:DeleteDomain", f"arn:aws:sagemaker:{HERE}:domain/d-0123", PROD_TAG | EVIL_TAG),
    ("sagemaker:AddTags", f"arn:aws:sagemaker:{HERE}:domain/d-0123", PROD_TAG | EVIL_TAG),
    ("ecs:StopTask", f"arn:aws:ecs:{HERE}:task/rd-prod/0123", {}),
    ("ecs:UpdateService", f"arn:aws:ecs:{HERE}:service/rd-prod/daemon", {}),
    ("ecs:DeleteTaskDefinitions", f"arn:aws:ecs:{HERE}:task-definition/rd-prod-run:1", {}),
    ("ecs:RunTask", f"arn:aws:ecs:{HERE}:task-definition/rd-prod-run:1", {}),
    ("elasticloadbalancing:DeleteLoadBalancer", f"arn:aws:elasticloadbalancing:{HERE}:loadbalancer/app/rd-prod/0123", {}),
    ("ec2:DeleteVpc", f"arn:aws:ec2:{HERE}:vpc/vpc-0123", PROD_TAG),
    ("ec2:CreateTags", f"arn:aws:ec2:{HERE}:vpc/vpc-0123", PROD_TAG | EVIL_TAG),
    ("ec2:CreateNetworkInterface", f"arn:aws:ec2:{HERE}:subnet/subnet-0123", PROD_TAG | EVIL_TAG),
    ("ec2:AuthorizeSecurityGroupIngress", f"arn:aws:ec2:{HERE}:security-group/sg-0123", PROD_TAG | EVIL_TAG),
    ("ec2:CreateTags", f"arn:aws:ec2:{HERE}:network-acl/acl-0123", PROD_TAG | EVIL_TAG),
    ("ec2:DeleteNetworkAclEntry", f"arn:aws:ec2:{HERE}:network-acl/acl-0123", PROD_TAG),
    ("ec2:CreateRoute", f"arn:aws:ec2:{HERE}:route-table/rtb-0123", PROD_TAG),
    ("ec2:CreateTags", f"arn:aws:ec2:{HERE}:network-interface/eni-0123", EVIL_TAG),
    ("ec2:CreateTags", f"arn:aws:ec2:{HERE}:dhcp-options/dopt-0123", EVIL_TAG),
    ("sqs:PurgeQueue", f"arn:aws:sqs:{HERE}:rd-prod-jobs", {}),
    ("events:DeleteRule", f"arn:aws:events:{HERE}:rule/rd-prod-jobs", {}),
    ("cloudwatch:DeleteAlarms", f"arn:aws:cloudwatch:{HERE}:alarm:rd-prod-run-failures", {}),
    ("cloudformation:DeleteStack", f"arn:aws:cloudformation:{HERE}:stack/rd-prod-dashboard/0123", {}),
    ("athena:DeleteWorkGroup", f"arn:aws:athena:{HERE}:workgroup/rd-prod", {}),
    ("quicksight:DeleteDashboard", f"arn:aws:quicksight:{HERE}:dashboard/rd-prod-forecasts", EVIL_TAG),
    ("quicksight:DeleteDataSet", f"arn:aws:quicksight:{HERE}:dataset/rd-prod-accuracy", PROD_TAG),
    ("quicksight:DeleteAnalysis", f"arn:aws:quicksight:{HERE}:analysis/0123-by-hand", {}),
    ("quicksight:TagResource", f"arn:aws:quicksight:{HERE}:analysis/0123-by-hand", EVIL_TAG),
    ("quicksight:DeleteFolderMembership", f"arn:aws:quicksight:{HERE}:folder/rd-prod", {}),
    ("ecr:BatchDeleteImage", f"arn:aws:ecr:{HERE}:repository/rd-jobs", {}),
    ("servicediscovery:DeleteNamespace", f"arn:aws:servicediscovery:{HERE}:namespace/ns-0123", PROD_TAG),
    ("route53:ChangeResourceRecordSets", "arn:aws:route53:::hostedzone/Z0", {"route53:ChangeResourceRecordSetsNormalizedRecordNames": "dagster.example.org"}),
]  # fmt: skip
ON_RIGHTS: list[tuple[str, str, dict[str, str]]] = [
    ("s3:GetObject", f"{STATES}/env/prod/terraform.tfstate", {}),
    ("s3:PutObject", f"{STATES}/env/prod/terraform.tfstate", {}),
    ("s3:DeleteObject", f"{STATES}/env/prod/terraform.tfstate.tflock", {}),
    ("s3:GetObject", f"{STATES}/bootstrap/terraform.tfstate", {}),
    ("s3:DeleteBucket", STATES, {}),
    ("iam:PassRole", f"{ROLE}/rd-prod-orchestrator", {"iam:PassedToService": "ecs-tasks.amazonaws.com"}),
    ("iam:PassRole", f"{ROLE}/rd-prod-job-tables", {"iam:PassedToService": "sagemaker.amazonaws.com"}),
    ("iam:PassRole", f"{ROLE}/rd-ci-deploy", {"iam:PassedToService": "ecs-tasks.amazonaws.com"}),
    ("iam:PutRolePolicy", f"{ROLE}/rd-prod-job-tables", {"iam:PermissionsBoundary": BOUNDARY}),
    ("iam:UpdateAssumeRolePolicy", f"{ROLE}/rd-prod-orchestrator", {}),
    ("iam:UpdateAssumeRolePolicy", f"{ROLE}/rd-ci-deploy", {}),
    ("iam:PutRolePolicy", f"{ROLE}/rd-ci-sandbox", {"iam:PermissionsBoundary": BOUNDARY}),
    ("iam:CreateRole", f"{ROLE}/rd-{SANDBOX}-job-tables", {}),
    ("iam:PutRolePolicy", f"{ROLE}/rd-{SANDBOX}-job-tables", {}),
    ("iam:DeleteRolePermissionsBoundary", f"{ROLE}/rd-{SANDBOX}-job-tables", {"iam:PermissionsBoundary": BOUNDARY}),
    ("iam:PutRolePermissionsBoundary", f"{ROLE}/rd-{SANDBOX}-job-tables", {"iam:PermissionsBoundary": BOUNDARY}),
    ("iam:CreatePolicyVersion", BOUNDARY, {}),
    ("iam:CreateUser", f"arn:aws:iam::{ACCOUNT}:user/x", {}),
    ("iam:UpdateOpenIDConnectProviderThumbprint", f"arn:aws:iam::{ACCOUNT}:oidc-provider/gitlab.example.org", {}),
    ("sts:AssumeRole", f"{ROLE}/rd-ci-deploy", {}),
]  # fmt: skip
OWN = {"aws:ResourceTag/environment": SANDBOX}
BY_BRANCH: list[tuple[str, str, dict[str, str]]] = [
    ("s3:DeleteBucket", OWN_LAKE, {}),
    ("s3:PutObject", f"{STATES}/sandbox/{SANDBOX}/terraform.tfstate", {}),
    ("glue:DeleteTable", f"arn:aws:glue:{HERE}:table/rd_s_mybranch_1a2b3c/x", {}),
    ("glue:GetTable", f"arn:aws:glue:{HERE}:table/rd_prod/forecasts_load_forecasts", {}),
    ("s3:GetObject", f"{PROD_LAKE}/lake/prod/demo/warehouse/x.parquet", {}),
    ("kms:Decrypt", ANY_KEY, PROD_KEY),
    ("kms:ScheduleKeyDeletion", ANY_KEY, OWN),
    ("kms:CreateKey", "*", EVIL_TAG),
    ("iam:CreateRole", f"{ROLE}/rd-{SANDBOX}-job-tables", {"iam:PermissionsBoundary": BOUNDARY}),
    ("iam:PassRole", f"{ROLE}/rd-{SANDBOX}-quicksight", {"iam:PassedToService": "quicksight.amazonaws.com"}),
    ("sagemaker:StopProcessingJob", f"arn:aws:sagemaker:{HERE}:processing-job/rd-{SANDBOX}-loads-0", OWN),
    ("secretsmanager:GetSecretValue", f"arn:aws:secretsmanager:{HERE}:secret:rd-{SANDBOX}/database-a1b2c3", {}),
    ("ec2:DeleteVpc", f"arn:aws:ec2:{HERE}:vpc/vpc-0123", OWN),
    ("ec2:CreateVpc", f"arn:aws:ec2:{HERE}:vpc/*", EVIL_TAG),
    ("ec2:CreateTags", f"arn:aws:ec2:{HERE}:vpc/*", EVIL_TAG | {"ec2:CreateAction": "CreateVpc"}),
    ("ec2:CreateTags", f"arn:aws:ec2:{HERE}:vpc/vpc-0123", OWN | EVIL_TAG),
    ("ec2:DeleteNetworkAclEntry", f"arn:aws:ec2:{HERE}:network-acl/acl-0123", {}),
    ("ec2:CreateNetworkAclEntry", f"arn:aws:ec2:{HERE}:network-acl/acl-0123", {}),
    *[("ec2:CreateTags", f"arn:aws:ec2:{HERE}:{kind}/x-0123", EVIL_TAG) for kind in ("network-acl", "route-table", "security-group")],
    ("ec2:DescribeVpcs", "*", {}),
    *[("chatbot:DescribeSlackChannelConfigurations", "*", {"aws:RequestedRegion": region}) for region in CHAT_REGIONS],
    ("quicksight:ListFolderMembers", f"arn:aws:quicksight:{HERE}:folder/rd-{SANDBOX}", {}),
    ("quicksight:DeleteFolderMembership", f"arn:aws:quicksight:{HERE}:folder/rd-{SANDBOX}", {}),
    ("quicksight:CreateRefreshSchedule", f"arn:aws:quicksight:{HERE}:dataset/rd-{SANDBOX}-accuracy/refresh-schedule/daily", {}),
    ("ecs:DeregisterTaskDefinition", "*", {}),
    ("logs:DeleteLogStream", f"arn:aws:logs:{HERE}:log-group:/aws/sagemaker/ProcessingJobs:log-stream:rd-{SANDBOX}-x/algo-1", {}),
    ("logs:CreateLogGroup", f"arn:aws:logs:{HERE}:log-group:/aws/rds/instance/rd-{SANDBOX}/postgresql", {}),
    ("logs:PutRetentionPolicy", f"arn:aws:logs:{HERE}:log-group:/aws/ecs/containerinsights/rd-{SANDBOX}/performance", {}),
    ("route53:ChangeResourceRecordSets", "arn:aws:route53:::hostedzone/Z0", {"route53:ChangeResourceRecordSetsNormalizedRecordNames": f"{SANDBOX}.sandbox.example.org"}),
]  # fmt: skip
BY_ROLES: list[tuple[str, str, dict[str, str]]] = [
    ("s3:PutObject", f"{OWN_LAKE}/lake/x", {}),
    ("s3:GetObject", f"{PROD_LAKE}/lake/prod/demo/warehouse/x.parquet", {}),
    ("kms:Decrypt", ANY_KEY, PROD_KEY),
    ("kms:GenerateDataKey", ANY_KEY, OWN),
    ("glue:UpdateTable", f"arn:aws:glue:{HERE}:table/rd_s_mybranch_1a2b3c/x", {}),
    ("sagemaker-mlflow:CreateRun", f"arn:aws:sagemaker:{HERE}:mlflow-tracking-server/rd-dev", {}),
    ("ecs:RunTask", f"arn:aws:ecs:{HERE}:task-definition/rd-{SANDBOX}-run:1", {}),
    ("ec2:CreateNetworkInterface", "*", {}),
    ("logs:CreateLogStream", f"arn:aws:logs:{HERE}:log-group:/aws/sagemaker/ProcessingJobs", {}),
    ("logs:PutLogEvents", f"arn:aws:logs:{HERE}:log-group:/aws/sagemaker/ProcessingJobs:log-stream:rd-{SANDBOX}-x/algo-1", {}),
    ("logs:PutLogEvents", f"arn:aws:logs:{HERE}:log-group:/aws/sagemaker/Endpoints/rd-{SANDBOX}:log-stream:AllTraffic/i-0123", {}),
    ("logs:PutRetentionPolicy", f"arn:aws:logs:{HERE}:log-group:RDSOSMetrics", {}),
]  # fmt: skip


def name_of(attempt: Any) -> str | None:
    return f"{attempt[0]} {attempt[1].rpartition(':')[2]}" if isinstance(attempt, tuple) else None


def may(granted: list[Statement], attempt: tuple[str, str, dict[str, str]]) -> bool:
    action, resource, context = attempt
    return allowed(granted, action, resource, {"aws:RequestedRegion": REGION} | context)


@pytest.fixture(scope="module")
def branch(account: Account) -> list[Statement]:
    return statements(account.policies_of_ci["sandbox"])


@pytest.fixture(scope="module")
def boundary(account: Account) -> list[Statement]:
    return statements({"boundary": account.boundary})


@pytest.mark.parametrize("attempt", ON_DATA + ON_COMPUTE + ON_RIGHTS, ids=name_of)
def test_a_branch_cannot_change_production(branch: list[Statement], attempt: Any) -> None:
    assert not may(branch, attempt)


@pytest.mark.parametrize("attempt", ON_DATA + ON_COMPUTE + ON_RIGHTS, ids=name_of)
def test_a_role_of_a_sandbox_cannot_change_production_whatever_its_policies_say(
    boundary: list[Statement], attempt: Any
) -> None:
    assert not may(boundary, attempt)


@pytest.mark.parametrize("own", BY_BRANCH, ids=name_of)
def test_a_branch_makes_and_removes_its_sandbox(branch: list[Statement], own: Any) -> None:
    assert may(branch, own)


@pytest.mark.parametrize("own", BY_ROLES, ids=name_of)
def test_the_boundary_lets_a_sandbox_run(boundary: list[Statement], own: Any) -> None:
    assert may(boundary, own)


def test_a_plan_changes_nothing(account: Account) -> None:
    """Beside its lock. AWS's own ReadOnlyAccess is attached, too."""
    changing = {
        action
        for statement in statements(account.policies_of_ci["plan"])
        for action in statement.actions
        if statement.sid != "Locks"
        and not action.split(":")[1].startswith(("Get", "List", "Decrypt", "GenerateDataKey"))
    }
    assert changing == set()
