"""CloudFormation for the server of `moto_shim.py`: stacks whose resources are all of QuickSight.

moto has CloudFormation too, with dependencies that nothing else here needs, and without QuickSight. Templates have no
references. Properties are checked against the model of QuickSight's API.
"""

from __future__ import annotations

import json
from functools import cache
from typing import Any
from urllib.parse import parse_qs
from xml.sax.saxutils import escape

import botocore.session
from botocore.validate import ParamValidator
from werkzeug.wrappers import Request, Response

from tests.terraform.moto_quicksight import KINDS, RESOURCES, RequestError, create, delete

NAMESPACE = "http://cloudformation.amazonaws.com/doc/2010-05-15/"
STACKS: dict[str, dict[str, Any]] = {}
"""Template, tags and status of each stack by name. A deleted stack is gone."""
_KIND_OF_TYPE = {f"AWS::QuickSight::{singular}": kind for kind, (singular, _) in KINDS.items()}


def handles(environ: dict[str, Any]) -> bool:
    """Whether a request is signed for CloudFormation."""
    return "/cloudformation/aws4_request" in environ.get("HTTP_AUTHORIZATION", "")


def answer(environ: dict[str, Any]) -> Response:
    """The answer to one request of the Query API."""
    request = Request(environ)
    form = {name: values[0] for name, values in parse_qs(request.get_data(as_text=True)).items()}
    scope = request.headers["Authorization"].split("Credential=")[1].split("/")
    action = form["Action"]
    try:
        result = ACTIONS[action](form, scope[2])
    except RequestError as error:
        body = f"<Error><Type>Sender</Type><Code>{error.code}</Code><Message>{escape(str(error))}</Message></Error>"
        return _xml(
            f'<ErrorResponse xmlns="{NAMESPACE}">{body}<RequestId>1</RequestId></ErrorResponse>', error.status
        )
    content = f"<{action}Result>{result}</{action}Result><ResponseMetadata><RequestId>1</RequestId></ResponseMetadata>"
    return _xml(f'<{action}Response xmlns="{NAMESPACE}">{content}</{action}Response>', 200)


def _xml(text: str, status: int) -> Response:
    return Response(text, status=status, content_type="text/xml")


def _create(form: dict[str, str], region: str) -> str:
    name = form["StackName"]
    if name in STACKS:
        raise RequestError("AlreadyExistsException", 400, f"Stack [{name}] already exists")
    stack_id = (
        f"arn:aws:cloudformation:{region}:123456789012:stack/{name}/0f6a1a40-0000-4000-8000-000000000000"
    )
    for resource in _resources(form["TemplateBody"]):
        _create_resource(resource, region)
    STACKS[name] = {
        "id": stack_id,
        "template": form["TemplateBody"],
        "status": "CREATE_COMPLETE",
        "tags": _tags(form),
    }
    return f"<StackId>{stack_id}</StackId>"


def _update(form: dict[str, str], region: str) -> str:
    stack = _stack(form)
    old, new = (_resources(template) for template in (stack["template"], form["TemplateBody"]))
    if old == new and stack["tags"] == _tags(form):
        raise RequestError("ValidationError", 400, "No updates are to be performed.")
    for resource in old:
        RESOURCES[_KIND_OF_TYPE[resource["Type"]]].pop(_id(resource), None)
    for resource in new:
        _create_resource(resource, region)
    stack.update(template=form["TemplateBody"], status="UPDATE_COMPLETE", tags=_tags(form))
    return f"<StackId>{stack['id']}</StackId>"


def _delete(form: dict[str, str], _region: str) -> str:
    stack = _stack(form)
    for resource in _resources(stack["template"]):
        delete(_KIND_OF_TYPE[resource["Type"]], _id(resource))
    del STACKS[next(name for name, other in STACKS.items() if other is stack)]
    return ""


def _describe(form: dict[str, str], _region: str) -> str:
    stacks = {form["StackName"]: _stack(form)} if "StackName" in form else STACKS
    return f"<Stacks>{''.join(map(_member, stacks.values()))}</Stacks>"


def _member(stack: dict[str, Any]) -> str:
    name = stack["id"].split("/")[1]
    tags = "".join(
        f"<member><Key>{key}</Key><Value>{escape(value)}</Value></member>"
        for key, value in stack["tags"].items()
    )
    return (
        f"<member><StackName>{name}</StackName><StackId>{stack['id']}</StackId><StackStatus>{stack['status']}</StackStatus>"
        f"<CreationTime>2026-01-01T00:00:00Z</CreationTime><DisableRollback>false</DisableRollback><Tags>{tags}</Tags></member>"
    )


def _template(form: dict[str, str], _region: str) -> str:
    return f"<TemplateBody>{escape(_stack(form)['template'])}</TemplateBody>"


def _list(_form: dict[str, str], _region: str) -> str:
    summaries = [
        f"<member><StackName>{name}</StackName><StackStatus>{stack['status']}</StackStatus>"
        "<CreationTime>2026-01-01T00:00:00Z</CreationTime></member>"
        for name, stack in STACKS.items()
    ]
    return f"<StackSummaries>{''.join(summaries)}</StackSummaries>"


ACTIONS = {
    "ListStacks": _list,
    "CreateStack": _create,
    "UpdateStack": _update,
    "DeleteStack": _delete,
    "DescribeStacks": _describe,
    "GetTemplate": _template,
    "DescribeStackEvents": lambda _form, _region: "<StackEvents/>",
}


def _stack(form: dict[str, str]) -> dict[str, Any]:
    name = form["StackName"]
    for key, stack in STACKS.items():
        if name in (key, stack["id"]):
            return stack
    raise RequestError("ValidationError", 400, f"Stack with id {name} does not exist")


def _tags(form: dict[str, str]) -> dict[str, str]:
    numbers = [
        name.split(".")[2] for name in form if name.startswith("Tags.member.") and name.endswith(".Key")
    ]
    return {form[f"Tags.member.{number}.Key"]: form[f"Tags.member.{number}.Value"] for number in numbers}


def _resources(template: str) -> list[dict[str, Any]]:
    return list(json.loads(template)["Resources"].values())


def _id(resource: dict[str, Any]) -> str:
    singular = KINDS[_KIND_OF_TYPE[resource["Type"]]][0]
    return resource["Properties"][f"{singular}Id"]


def _create_resource(resource: dict[str, Any], region: str) -> None:
    kind, properties = _KIND_OF_TYPE[resource["Type"]], resource["Properties"]
    singular, in_arn = KINDS[kind]
    report = ParamValidator().validate(properties, _input_shape(f"Create{singular}"))
    if report.has_errors():
        raise RequestError("ValidationError", 400, report.generate_report())
    arn = f"arn:aws:quicksight:{region}:{properties['AwsAccountId']}:{in_arn}/{_id(resource)}"
    create(kind, _id(resource), properties | {"Arn": arn})


@cache
def _input_shape(operation: str) -> Any:
    model = botocore.session.get_session().get_service_model("quicksight")
    return model.operation_model(operation).input_shape
