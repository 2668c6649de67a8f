"""QuickSight for the server of `moto_shim.py`: the operations that Terraform's module `bi` calls.

Resources that others use cannot be deleted, so that a test sees a wrong order. Nothing is queried or drawn. The stacks of
CloudFormation that create some of the resources are in `moto_stacks.py`.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import unquote

from werkzeug.wrappers import Request, Response

Json = dict[str, Any]
KINDS = {
    "data-sources": ("DataSource", "datasource"),
    "data-sets": ("DataSet", "dataset"),
    "folders": ("Folder", "folder"),
    "analyses": ("Analysis", "analysis"),
    "dashboards": ("Dashboard", "dashboard"),
}
"""Kinds of resources by their part of the path: their name in the API and in ARNs."""

LISTS = {"data-sources": "DataSources", "data-sets": "DataSetSummaries"}
"""Fields of lists that are not named `…SummaryList`."""

RESOURCES: dict[str, dict[str, Json]] = {kind: {} for kind in KINDS}
"""The requests that created or last updated each resource, by kind and id."""


class RequestError(Exception):
    """What QuickSight would refuse. `code` is the API's error code."""

    def __init__(self, code: str, status: int, message: str) -> None:
        super().__init__(message)
        self.code, self.status = code, status


def handles(environ: dict[str, Any]) -> bool:
    """Whether the path of a request belongs to the resources of this module."""
    kinds = "|".join(KINDS)
    return bool(
        re.match(
            rf"/accounts/\d+/({kinds})(/|$)|/resources/arn:aws:quicksight:", environ.get("PATH_INFO", "")
        )
    )


def answer(environ: dict[str, Any]) -> Response:
    """The answer to one request of the API."""
    request = Request(environ)
    region = re.search(r"/([a-z]{2}-[a-z]+-\d)/quicksight/", request.headers.get("Authorization", ""))
    try:
        body = _route(request, region.group(1) if region else "eu-north-1")
    except RequestError as error:
        return Response(
            json.dumps({"Message": str(error)}),
            status=error.status,
            content_type="application/json",
            headers={"x-amzn-errortype": error.code},
        )
    return Response(json.dumps(body | {"Status": 200}), content_type="application/json")


def _route(request: Request, region: str) -> Json:
    parts = [unquote(part) for part in request.path.strip("/").split("/")]
    if parts[0] == "resources":
        return _tags(unquote(request.path), request.method, json.loads(request.get_data() or b"{}"))
    body = json.loads(request.get_data() or b"{}")
    _, account, kind, *rest = parts
    own = f"{KINDS[kind][0]}Id"
    if not rest and request.method == "GET":
        field = LISTS.get(kind, f"{KINDS[kind][0]}SummaryList")
        return {field: [_described(kind, name) for name in RESOURCES[kind]]}
    name = rest.pop(0) if rest else body[own]
    if not rest:
        return _resource(request.method, kind, name, body, f"arn:aws:quicksight:{region}:{account}")
    return PARTS[rest[0]](request.method, kind, name, rest[1:], body)


def _resource(method: str, kind: str, name: str, body: Json, arn: str) -> Json:
    singular, in_arn = KINDS[kind]
    if method == "POST":
        create(kind, name, body | {"Arn": f"{arn}:{in_arn}/{name}"})
    elif method == "PUT":
        _get(kind, name).update(body)
    elif method == "DELETE":
        delete(kind, name)
        return {f"{singular}Id": name}
    return {f"{singular}Id": name, "Arn": _get(kind, name)["Arn"], singular: _described(kind, name)}


def create(kind: str, name: str, body: Json) -> None:
    """Keeps a resource. Raises RequestError if it exists already or names a resource that does not exist."""
    if name in RESOURCES[kind]:
        raise RequestError("ResourceExistsException", 409, f"{kind} {name} exists already")
    for used in _used_arns(body):
        if not any(used == other["Arn"] for others in RESOURCES.values() for other in others.values()):
            raise RequestError(
                "InvalidParameterValueException", 400, f"{kind} {name} uses {used}, which does not exist"
            )
    RESOURCES[kind][name] = body | {"CreatedTime": time.time(), "LastUpdatedTime": time.time()}


def delete(kind: str, name: str) -> None:
    """Deletes a resource. Raises RequestError if it does not exist, another uses it, or it is a folder with members."""
    resource = _get(kind, name)
    users = [
        f"{other} {user}"
        for other, others in RESOURCES.items()
        for user, body in others.items()
        if resource["Arn"] in _used_arns(body)
    ]
    if users or resource.get("Members"):
        raise RequestError(
            "ConflictException", 409, f"{kind} {name} is in use: {users or resource['Members']}"
        )
    del RESOURCES[kind][name]


def _used_arns(body: Json) -> set[str]:
    """ARNs of the data source of a data set, and of the data sets of an analysis or dashboard."""
    tables = [table["RelationalTable"] for table in (body.get("PhysicalTableMap") or {}).values()]
    declared = (body.get("Definition") or {}).get("DataSetIdentifierDeclarations", [])
    return {table["DataSourceArn"] for table in tables} | {item["DataSetArn"] for item in declared}


def _get(kind: str, name: str) -> Json:
    try:
        return RESOURCES[kind][name]
    except KeyError:
        raise RequestError("ResourceNotFoundException", 404, f"{kind} {name} does not exist") from None


def _described(kind: str, name: str) -> Json:
    hidden = {"Permissions", "Tags", "Members", "RefreshSchedules", "Definition"}
    described = {key: value for key, value in _get(kind, name).items() if key not in hidden}
    status = {"Status": "CREATION_SUCCESSFUL"} if kind == "data-sources" else {}
    folder = {"FolderType": "SHARED"} if kind == "folders" else {}
    sets = [
        item["DataSetArn"]
        for item in (_get(kind, name).get("Definition") or {}).get("DataSetIdentifierDeclarations", [])
    ]
    status |= {"Version": {"DataSetArns": sets}} if kind == "dashboards" else {}
    status |= {"DataSetArns": sets} if kind == "analyses" else {}
    return folder | described | status | {f"{KINDS[kind][0]}Id": name}


def _permissions(method: str, kind: str, name: str, _rest: list[str], body: Json) -> Json:
    resource = _get(kind, name)
    if method in ("POST", "PUT"):
        revoked = {item["Principal"] for item in body.get("RevokePermissions") or []}
        kept = [item for item in resource.get("Permissions") or [] if item["Principal"] not in revoked]
        resource["Permissions"] = kept + (body.get("GrantPermissions") or [])
    return {"Permissions": resource.get("Permissions") or [], f"{KINDS[kind][0]}Id": name}


def _schedules(method: str, kind: str, name: str, rest: list[str], body: Json) -> Json:
    resource = _get(kind, name)
    schedules = resource.setdefault("RefreshSchedules", {})
    schedule = rest[0] if rest else body.get("Schedule", {}).get("ScheduleId")
    if method in ("POST", "PUT"):
        first = time.time() + 86400
        schedules[schedule] = {"StartAfterDateTime": first} | schedules.get(schedule, {}) | body["Schedule"]
    elif method == "GET" and not rest:
        return {"RefreshSchedules": list(schedules.values())}
    elif schedule not in schedules:
        raise RequestError("ResourceNotFoundException", 404, f"schedule {schedule} does not exist")
    elif method == "DELETE":
        del schedules[schedule]
        return {"ScheduleId": schedule}
    arn = f"{resource['Arn']}/refresh-schedule/{schedule}"
    return {"Arn": arn, "ScheduleId": schedule, "RefreshSchedule": schedules[schedule] | {"Arn": arn}}


def _no_refresh_properties(_method: str, _kind: str, _name: str, _rest: list[str], _body: Json) -> Json:
    raise RequestError("ResourceNotFoundException", 404, "the data set has no refresh properties")


_KIND_OF_MEMBER = {"DASHBOARD": "dashboards", "ANALYSIS": "analyses", "DATASET": "data-sets"}


def _members(method: str, kind: str, name: str, rest: list[str], _body: Json) -> Json:
    members = _get(kind, name).setdefault("Members", [])
    if method == "GET":
        return {
            "FolderMemberList": [
                {"MemberId": member, "MemberArn": _get(_KIND_OF_MEMBER[type_], member)["Arn"]}
                for type_, member in members
            ]
        }
    type_, member = rest
    if method == "PUT":
        _get(_KIND_OF_MEMBER[type_], member)
        members.append((type_, member))
        return {"FolderMember": {"MemberId": member, "MemberType": type_}}
    members.remove((type_, member))
    return {}


def _definition(_method: str, kind: str, name: str, _rest: list[str], _body: Json) -> Json:
    return {"Definition": _get(kind, name)["Definition"], "Name": _get(kind, name)["Name"]}


PARTS: Mapping[str, Callable[[str, str, str, list[str], Json], Json]] = {
    "permissions": _permissions,
    "refresh-schedules": _schedules,
    "refresh-properties": _no_refresh_properties,
    "members": _members,
    "definition": _definition,
}
"""Answers to requests on a part of a resource, by the part's name in the path."""


def _tags(path: str, method: str, body: Json) -> Json:
    """The tags of a resource. Terraform changes tags of existing resources with each commit."""
    arn = path.removeprefix("/resources/").removesuffix("/tags")
    resources = [body for others in RESOURCES.values() for body in others.values() if body["Arn"] == arn]
    if resources and method == "POST":
        resources[0]["Tags"] = (resources[0].get("Tags") or []) + body["Tags"]
    return {"Tags": resources[0].get("Tags") or []} if resources and method == "GET" else {}
