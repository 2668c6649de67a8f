"""Takes what people have made out of a sandbox's QuickSight folder. QuickSight deletes only an empty folder."""

from __future__ import annotations

from typing import Any

from ruter_dagster.aws.clients import client
from ruter_dagster.aws.errors import code_of
from ruter_dagster.contracts.sandbox import Sandbox

_NO_FOLDER = ("ResourceNotFoundException", "UnsupportedUserEditionException")
"""No such folder, or the account has no QuickSight."""


def empty_quicksight_folder(sandbox: Sandbox) -> list[str]:
    """Removes each asset that is not the sandbox's own from its folder. The assets stay with their authors.

    Their ids say nothing about a sandbox, so no role of CI may delete them. Terraform deletes the sandbox's own assets later.

    Returns:
        One line for each asset that left the folder.
    """
    account = client("sts").get_caller_identity()["Account"]
    quicksight = client("quicksight")
    removed = []
    for member in _members(quicksight, account, sandbox):
        kind, identifier = member["MemberArn"].rpartition(":")[2].split("/", 1)
        if sandbox.owns(identifier):
            continue
        quicksight.delete_folder_membership(
            AwsAccountId=account, FolderId=sandbox.name, MemberId=identifier, MemberType=kind.upper()
        )
        removed.append(f"membership of QuickSight {kind} {identifier}, which its author keeps")
    return removed


def _members(quicksight: Any, account: str, sandbox: Sandbox) -> list[dict[str, Any]]:
    pages = quicksight.get_paginator("list_folder_members")
    try:
        answers = list(pages.paginate(AwsAccountId=account, FolderId=sandbox.name))
    except quicksight.exceptions.ClientError as error:
        if code_of(error) in _NO_FOLDER:
            return []
        raise
    return [member for page in answers for member in page.get("FolderMemberList", [])]
