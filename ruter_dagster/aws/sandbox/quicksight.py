"""Deletes what people have made in a sandbox's QuickSight folder. QuickSight deletes only an empty folder."""

from __future__ import annotations

from typing import Any

from ruter_dagster.aws.clients import client
from ruter_dagster.aws.errors import code_of
from ruter_dagster.contracts.sandbox import Sandbox

_NO_FOLDER = ("ResourceNotFoundException", "UnsupportedUserEditionException")
"""No such folder, or the account has no QuickSight."""
_TAG = "environment"


def delete_quicksight_assets(sandbox: Sandbox) -> list[str]:
    """Empties the folder, and deletes those of its assets that read only data of the sandbox.

    What belongs to another environment, or also reads data of one, is only removed from the folder. Terraform deletes its own
    assets later.
    """
    account = client("sts").get_caller_identity()["Account"]
    quicksight = client("quicksight")
    deleted = []
    for member in _members(quicksight, account, sandbox):
        kind, identifier = member["MemberArn"].rpartition(":")[2].split("/", 1)
        if sandbox.owns(identifier):
            continue
        quicksight.delete_folder_membership(
            AwsAccountId=account, FolderId=sandbox.name, MemberId=identifier, MemberType=kind.upper()
        )
        if _is_of_sandbox(quicksight, account, sandbox, kind, identifier, member["MemberArn"]):
            _delete(quicksight, account, sandbox, kind, identifier, member["MemberArn"])
            deleted.append(f"QuickSight {kind} {identifier}")
    return deleted


def _members(quicksight: Any, account: str, sandbox: Sandbox) -> list[dict[str, Any]]:
    pages = quicksight.get_paginator("list_folder_members")
    try:
        found = list(pages.paginate(AwsAccountId=account, FolderId=sandbox.name))
    except quicksight.exceptions.ClientError as error:
        if code_of(error) in _NO_FOLDER:
            return []
        raise
    return [member for page in found for member in page.get("FolderMemberList", [])]


def _is_of_sandbox(
    quicksight: Any, account: str, sandbox: Sandbox, kind: str, identifier: str, arn: str
) -> bool:
    tags = {tag["Key"]: tag["Value"] for tag in quicksight.list_tags_for_resource(ResourceArn=arn)["Tags"]}
    if _TAG in tags:
        return tags[_TAG] == sandbox.id
    sources = _sources(quicksight, account, kind, identifier)
    return bool(sources) and all(sandbox.owns(source.rpartition("/")[2]) for source in sources)


def _sources(quicksight: Any, account: str, kind: str, identifier: str) -> list[str]:
    """ARNs of the data sets of a dashboard or analysis, of the data sources of a data set. None for other kinds."""
    if kind == "dashboard":
        answer = quicksight.describe_dashboard(AwsAccountId=account, DashboardId=identifier)
        return answer["Dashboard"]["Version"].get("DataSetArns", [])
    if kind == "analysis":
        answer = quicksight.describe_analysis(AwsAccountId=account, AnalysisId=identifier)
        return answer["Analysis"].get("DataSetArns", [])
    if kind == "dataset":
        answer = quicksight.describe_data_set(AwsAccountId=account, DataSetId=identifier)
        tables = answer["DataSet"].get("PhysicalTableMap", {}).values()
        return [
            part["DataSourceArn"] for table in tables for part in table.values() if "DataSourceArn" in part
        ]
    return []


def _delete(quicksight: Any, account: str, sandbox: Sandbox, kind: str, identifier: str, arn: str) -> None:
    """Tags the asset first: the role of sandboxes may delete only what has a sandbox's tag."""
    quicksight.tag_resource(ResourceArn=arn, Tags=[{"Key": _TAG, "Value": sandbox.id}])
    if kind == "dashboard":
        quicksight.delete_dashboard(AwsAccountId=account, DashboardId=identifier)
    elif kind == "analysis":
        quicksight.delete_analysis(
            AwsAccountId=account, AnalysisId=identifier, ForceDeleteWithoutRecovery=True
        )
    elif kind == "dataset":
        quicksight.delete_data_set(AwsAccountId=account, DataSetId=identifier)
