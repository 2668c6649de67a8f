"""The commands of docs/deploy.md bootstrap an account, and remove it."""

from __future__ import annotations

import json
import re

import pytest

from tests.terraform.account import PAGE, Account, commands, run_commands
from tests.terraform.moto_shim import ACCOUNT, REGION

pytestmark = [pytest.mark.extended, pytest.mark.xdist_group("terraform")]
POLICY_LIMIT = 6144
MANIFEST = {
    "schemaVersion": 2,
    "mediaType": "application/vnd.oci.image.manifest.v1+json",
    "config": {},
    "layers": [],
}


def test_state_is_in_the_bucket_after_the_commands_of_the_page(account: Account) -> None:
    bucket = account.outputs["state_bucket"]
    state = account.client("s3").get_object(Bucket=bucket, Key="bootstrap/terraform.tfstate")["Body"].read()
    assert {"aws_iam_role", "aws_ecr_repository"} <= {item["type"] for item in json.loads(state)["resources"]}
    assert not list((account.folder / "bootstrap").glob("terraform.tfstate*"))


def test_services_have_their_roles(account: Account) -> None:
    roles = account.client("iam").list_roles(PathPrefix="/aws-service-role/", MaxItems=1000)["Roles"]
    assert {"ecs.amazonaws.com", "elasticloadbalancing.amazonaws.com", "rds.amazonaws.com"} <= {
        role["Path"].split("/")[2] for role in roles
    }


def test_outputs_name_the_variables_of_gitlab(account: Account) -> None:
    variables = account.outputs["gitlab_variables"]
    assert variables["STATE_BUCKET"] == f"rd-state-{ACCOUNT}-{REGION}"
    assert set(json.loads(variables["TF_VAR_repository_arns"])) == {"jobs", "orchestrator"}
    command, *_ = commands("Which variables does GitLab need?")
    printed = run_commands(command, account.folder / "bootstrap", account.endpoint)
    assert printed.splitlines() == [f"{name}={value}" for name, value in sorted(variables.items())]


def test_every_policy_fits_into_the_limit_of_aws(account: Account) -> None:
    lengths = {
        name: len(json.dumps(policy, separators=(",", ":"))) for name, policy in account.policies().items()
    }
    assert {"rd-ci-deploy-data", "rd-ci-deploy-compute", "rd-sandbox-boundary"} <= set(lengths)
    assert {name: length for name, length in lengths.items() if length > POLICY_LIMIT} == {}


def test_no_pipeline_may_delete_images(account: Account) -> None:
    actions = {
        action
        for name, policy in account.policies().items()
        if name.startswith("rd-ci-")
        for statement in policy["Statement"]
        if statement["Effect"] == "Allow"
        for action in ([statement["Action"]] if isinstance(statement["Action"], str) else statement["Action"])
        if action.startswith("ecr:")
    }
    assert "ecr:PutImage" in actions
    assert [action for action in actions if "*" in action or "Delete" in action] == []


def test_a_branch_may_not_retag_resources_of_prod(account: Account) -> None:
    denied = [
        statement
        for statement in account.policies()["rd-ci-sandbox-tagged"]["Statement"]
        if statement["Sid"] == "KeepResourcesOfOthers"
    ]
    assert [statement["Condition"]["StringNotLike"] for statement in denied] == [
        {"aws:ResourceTag/environment": "s-*"}
    ]


def test_only_deploy_branches_plan_and_deploy(account: Account) -> None:
    iam = account.client("iam")
    for name in ("plan", "deploy"):
        trust = iam.get_role(RoleName=f"rd-ci-{name}")["Role"]["AssumeRolePolicyDocument"]
        (subject,) = [
            value
            for key, value in trust["Statement"][0]["Condition"]["StringLike"].items()
            if key.endswith(":sub")
        ]
        assert subject == "project_path:group/ruter-dagster:ref_type:branch:ref:main"


def test_an_account_without_sandboxes_trusts_no_branch(account: Account) -> None:
    plan = "terraform plan -input=false -out=alone -var=sandboxes=false -var='environments=[\"prod\"]'"
    script = f"{plan} > plan.log || test $? = 2\nterraform show -json alone"
    planned = json.loads(run_commands(script, account.folder / "bootstrap", account.endpoint))
    resources = planned["planned_values"]["root_module"]["resources"]
    roles = {each["values"]["name"]: each["values"] for each in resources if each["type"] == "aws_iam_role"}
    assert set(roles) == {"rd-ci-plan", "rd-ci-deploy"}
    assert [name for name, role in roles.items() if "*" in role["assume_role_policy"]] == []
    assert "sandbox" not in json.dumps([each["values"] for each in resources])
    assert "SANDBOX_ROLE_ARN" not in planned["planned_values"]["outputs"]["gitlab_variables"]["value"]


def test_commands_of_the_page_remove_the_account(account: Account) -> None:
    """The last test: it destroys the account of the others."""
    section = PAGE.read_text().split("\n## How do I remove everything?\n")[1]
    (block,) = re.findall(r"(?:^        .*\n)+", section, re.MULTILINE)
    account.client("ecr").put_image(
        repositoryName="rd-jobs", imageTag="0123abc", imageManifest=json.dumps(MANIFEST)
    )
    run_commands(re.sub(r"(?m)^        ", "", block), account.folder, account.endpoint)
    assert account.outputs["state_bucket"] not in {
        bucket["Name"] for bucket in account.client("s3").list_buckets()["Buckets"]
    }
    assert account.client("ecr").describe_repositories()["repositories"] == []
    roles = account.client("iam").list_roles(MaxItems=1000)["Roles"]
    assert [role["RoleName"] for role in roles if role["RoleName"].startswith("rd-")] == []
    assert account.policies() == {}
