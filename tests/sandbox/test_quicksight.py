"""Assets that people made in a sandbox's QuickSight folder are deleted with it. Those of other environments only leave the folder."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from ruter_dagster.aws.sandbox.leftovers import delete_stacks
from ruter_dagster.aws.sandbox.quicksight import delete_quicksight_assets
from ruter_dagster.contracts.sandbox import Sandbox
from tests.terraform.moto_shim import ACCOUNT, REGION

SANDBOX, OTHER = Sandbox.of("s-board-1a2b3c"), Sandbox.of("s-board-ffffff")
ARN = f"arn:aws:quicksight:{REGION}:{ACCOUNT}"


@pytest.fixture(autouse=True)
def variables(aws_endpoint: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {
        "AWS_ENDPOINT_URL": aws_endpoint,
        "AWS_ACCESS_KEY_ID": "tests",
        "AWS_SECRET_ACCESS_KEY": "tests",
        "AWS_REGION": REGION,
    }.items():
        monkeypatch.setenv(name, value)


def analysis(quicksight: Any, name: str, *data_sets: str, **more: Any) -> None:
    declared = [{"Identifier": item, "DataSetArn": f"{ARN}:dataset/{item}"} for item in data_sets]
    definition = {"DataSetIdentifierDeclarations": declared}
    quicksight.create_analysis(
        AwsAccountId=ACCOUNT, AnalysisId=name, Name=name, Definition=definition, **more
    )


def data_set(quicksight: Any, name: str, source: str) -> None:
    table = {
        "DataSourceArn": f"{ARN}:datasource/{source}",
        "Name": "view",
        "InputColumns": [{"Name": "line", "Type": "STRING"}],
    }
    quicksight.create_data_set(
        AwsAccountId=ACCOUNT,
        DataSetId=name,
        Name=name,
        ImportMode="SPICE",
        PhysicalTableMap={"view": {"RelationalTable": table}},
    )


def test_own_assets_are_deleted_and_others_kept(clients: Callable[[str], Any]) -> None:
    quicksight = clients("quicksight")
    for sandbox in (SANDBOX, OTHER):
        quicksight.create_data_source(
            AwsAccountId=ACCOUNT, DataSourceId=sandbox.name, Name=sandbox.name, Type="ATHENA"
        )
        data_set(quicksight, f"{sandbox.name}-accuracy", sandbox.name)
    quicksight.create_folder(AwsAccountId=ACCOUNT, FolderId=SANDBOX.name, Name=SANDBOX.name)
    data_set(quicksight, "by-hand", SANDBOX.name)
    analysis(quicksight, "own", f"{SANDBOX.name}-accuracy")
    analysis(quicksight, "mixed", f"{SANDBOX.name}-accuracy", f"{OTHER.name}-accuracy")
    analysis(
        quicksight, "of-prod", f"{SANDBOX.name}-accuracy", Tags=[{"Key": "environment", "Value": "prod"}]
    )
    for kind, name in (("ANALYSIS", "own"), ("ANALYSIS", "mixed"), ("ANALYSIS", "of-prod"), ("DATASET", "by-hand"), ("DATASET", f"{SANDBOX.name}-accuracy")):  # fmt: skip
        quicksight.create_folder_membership(
            AwsAccountId=ACCOUNT, FolderId=SANDBOX.name, MemberId=name, MemberType=kind
        )
    assert delete_quicksight_assets(SANDBOX) == ["QuickSight analysis own", "QuickSight dataset by-hand"]
    left = [
        item["AnalysisId"] for item in quicksight.list_analyses(AwsAccountId=ACCOUNT)["AnalysisSummaryList"]
    ]
    assert left == ["mixed", "of-prod"]
    members = quicksight.list_folder_members(AwsAccountId=ACCOUNT, FolderId=SANDBOX.name)["FolderMemberList"]
    assert [item["MemberId"] for item in members] == [f"{SANDBOX.name}-accuracy"], "Terraform's own asset"
    assert delete_quicksight_assets(SANDBOX) == []


def test_sandbox_without_a_folder_has_no_assets() -> None:
    assert delete_quicksight_assets(Sandbox.of("s-none-1a2b3c")) == []


def test_stacks_of_one_sandbox_are_deleted(clients: Callable[[str], Any]) -> None:
    cloudformation = clients("cloudformation")
    for sandbox in (SANDBOX, OTHER):
        cloudformation.create_stack(
            StackName=f"{sandbox.name}-dashboard", TemplateBody=json.dumps({"Resources": {}})
        )
    assert delete_stacks(SANDBOX) == [f"stack {SANDBOX.name}-dashboard"]
    assert [item["StackName"] for item in cloudformation.list_stacks()["StackSummaries"]] == [
        f"{OTHER.name}-dashboard"
    ]
    assert delete_stacks(SANDBOX) == []
