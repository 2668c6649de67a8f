"""Assets that people put in a sandbox's QuickSight folder leave it, and stay with their authors."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from ruter_dagster.aws.sandbox.leftovers import delete_stacks
from ruter_dagster.aws.sandbox.quicksight import empty_quicksight_folder
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


def analysis(quicksight: Any, name: str, *data_sets: str) -> None:
    declared = [{"Identifier": item, "DataSetArn": f"{ARN}:dataset/{item}"} for item in data_sets]
    definition = {"DataSetIdentifierDeclarations": declared}
    quicksight.create_analysis(AwsAccountId=ACCOUNT, AnalysisId=name, Name=name, Definition=definition)


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


def test_assets_of_people_leave_the_folder(clients: Callable[[str], Any]) -> None:
    quicksight = clients("quicksight")
    quicksight.create_data_source(
        AwsAccountId=ACCOUNT, DataSourceId=SANDBOX.name, Name=SANDBOX.name, Type="ATHENA"
    )
    own = f"{SANDBOX.name}-accuracy"
    data_set(quicksight, own, SANDBOX.name)
    quicksight.create_folder(AwsAccountId=ACCOUNT, FolderId=SANDBOX.name, Name=SANDBOX.name)
    data_set(quicksight, "by-hand", SANDBOX.name)
    analysis(quicksight, "delays", own)
    for kind, name in (("ANALYSIS", "delays"), ("DATASET", "by-hand"), ("DATASET", own)):
        quicksight.create_folder_membership(
            AwsAccountId=ACCOUNT, FolderId=SANDBOX.name, MemberId=name, MemberType=kind
        )
    assert empty_quicksight_folder(SANDBOX) == [
        f"membership of QuickSight {asset}, which its author keeps"
        for asset in ("analysis delays", "dataset by-hand")
    ]
    members = quicksight.list_folder_members(AwsAccountId=ACCOUNT, FolderId=SANDBOX.name)["FolderMemberList"]
    assert [item["MemberId"] for item in members] == [own], "Terraform's own asset"
    analyses = quicksight.list_analyses(AwsAccountId=ACCOUNT)["AnalysisSummaryList"]
    data_sets = quicksight.list_data_sets(AwsAccountId=ACCOUNT)["DataSetSummaries"]
    assert [item["AnalysisId"] for item in analyses] == ["delays"]
    assert {item["DataSetId"] for item in data_sets} == {own, "by-hand"}
    assert empty_quicksight_folder(SANDBOX) == []


def test_sandbox_without_a_folder_has_no_assets() -> None:
    assert empty_quicksight_folder(Sandbox.of("s-none-1a2b3c")) == []


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
