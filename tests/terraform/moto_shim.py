"""A server of AWS's API for Terraform: moto, and small stores for the operations that moto lacks.

The stores keep what was created and give it back, so that an apply, a second plan and a destroy can be tested. They
judge no request: what AWS refuses, they may accept. Run it with `python -m tests.terraform.moto_shim PORT`.
"""

from __future__ import annotations

import json
import logging
import sys
import time
import uuid
from collections.abc import Callable, Iterable
from io import BytesIO
from typing import Any

from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import make_server
from werkzeug.wrappers import Request, Response

from tests.terraform import moto_quicksight, moto_stacks
from tests.terraform.moto_patches import patch_all

REGION = "eu-north-1"
ACCOUNT = "123456789012"
Handler = Callable[[dict[str, Any]], dict[str, Any]]


class NotFoundError(Exception):
    """The resource does not exist. `code` is the error code by which the provider knows that."""

    def __init__(self, code: str, text: str = "not found") -> None:
        super().__init__(text)
        self.code = code


class Store:
    """Resources of one kind by name, each as the request that created or last updated it, and computed fields beside."""

    def __init__(
        self, name_field: str, missing: str, compute: Callable[[str, dict[str, Any]], dict[str, Any]]
    ) -> None:
        self.name_field = name_field
        self.missing = missing
        self.compute = compute
        self.resources: dict[str, dict[str, Any]] = {}

    def create(self, request: dict[str, Any]) -> dict[str, Any]:
        name = request.setdefault(self.name_field, str(uuid.uuid4()))
        self.resources[name] = request | {
            "CreationTime": int(time.time()),
            "LastModifiedTime": int(time.time()),
        }
        return self.describe(request)

    def describe(self, request: dict[str, Any]) -> dict[str, Any]:
        resource = self._get(request)
        return resource | self.compute(request[self.name_field], resource)

    def update(self, request: dict[str, Any]) -> dict[str, Any]:
        self._get(request).update(request)
        return self.describe(request)

    def delete(self, request: dict[str, Any]) -> dict[str, Any]:
        self._get(request)
        del self.resources[request[self.name_field]]
        return {}

    def list(self) -> list[dict[str, Any]]:
        return [self.describe({self.name_field: name}) for name in self.resources]

    def _get(self, request: dict[str, Any]) -> dict[str, Any]:
        try:
            return self.resources[request[self.name_field]]
        except KeyError:
            raise NotFoundError(self.missing) from None


def sagemaker_arn(kind: str, name: str) -> str:
    return f"arn:aws:sagemaker:{REGION}:{ACCOUNT}:{kind}/{name}"


TRACKING_SERVERS = Store(
    "TrackingServerName",
    "ResourceNotFound",
    lambda name, _: {
        "TrackingServerArn": sagemaker_arn("mlflow-tracking-server", name),
        "TrackingServerStatus": "Created",
        "TrackingServerUrl": f"https://{name}.example.org",
        "IsActive": "Active",
        "MlflowVersion": "2.16",
    },
)
FEATURE_GROUPS = Store(
    "FeatureGroupName",
    "ResourceNotFound",
    lambda name, _: {
        "FeatureGroupArn": sagemaker_arn("feature-group", name),
        "FeatureGroupStatus": "Created",
        "OfflineStoreStatus": {"Status": "Active"},
    },
)
DOMAINS = Store(
    "DomainId",
    "ResourceNotFound",
    lambda name, _: {
        "DomainArn": sagemaker_arn("domain", name),
        "Status": "InService",
        "Url": f"https://{name}.example.org",
        "HomeEfsFileSystemId": "fs-0123456789abcdef0",
    },
)
QUERIES = Store("queryDefinitionId", "ResourceNotFoundException", lambda _name, _resource: {"success": True})
SLACK_CHANNELS = Store("ChatConfigurationArn", "ResourceNotFoundException", lambda _name, _resource: {})
BUDGETS = Store("BudgetName", "NotFoundException", lambda _name, _resource: {})


def _create_domain(request: dict[str, Any]) -> dict[str, Any]:
    return DOMAINS.create(request | {"DomainId": f"d-{uuid.uuid4().hex[:12]}"})


def _create_budget(request: dict[str, Any]) -> dict[str, Any]:
    BUDGETS.create(request["Budget"] | {"BudgetName": request["Budget"]["BudgetName"], "_": request})
    return {}


def _notifications(request: dict[str, Any]) -> list[dict[str, Any]]:
    return BUDGETS.describe(request)["_"].get("NotificationsWithSubscribers") or []


def _create_notification(request: dict[str, Any]) -> dict[str, Any]:
    item = {key: request[key] for key in ("Notification", "Subscribers")}
    BUDGETS.resources[request["BudgetName"]]["_"].setdefault("NotificationsWithSubscribers", []).append(item)
    return {}


def _describe_budget(request: dict[str, Any]) -> dict[str, Any]:
    return {"Budget": {key: value for key, value in BUDGETS.describe(request).items() if key != "_"}}


def _subscribers(request: dict[str, Any]) -> dict[str, Any]:
    wanted = request["Notification"]
    for item in _notifications(request):
        if all(item["Notification"].get(key) == wanted.get(key) for key in ("NotificationType", "Threshold")):
            return {"Subscribers": item["Subscribers"]}
    raise NotFoundError("NotFoundException")


HANDLERS: dict[str, Handler] = {
    "SageMaker.CreateMlflowTrackingServer": TRACKING_SERVERS.create,
    "SageMaker.DescribeMlflowTrackingServer": TRACKING_SERVERS.describe,
    "SageMaker.UpdateMlflowTrackingServer": TRACKING_SERVERS.update,
    "SageMaker.DeleteMlflowTrackingServer": TRACKING_SERVERS.delete,
    "SageMaker.ListMlflowTrackingServers": lambda _: {"TrackingServerSummaries": TRACKING_SERVERS.list()},
    "SageMaker.CreateFeatureGroup": FEATURE_GROUPS.create,
    "SageMaker.DescribeFeatureGroup": FEATURE_GROUPS.describe,
    "SageMaker.DeleteFeatureGroup": FEATURE_GROUPS.delete,
    "SageMaker.ListFeatureGroups": lambda _: {"FeatureGroupSummaries": FEATURE_GROUPS.list()},
    "SageMaker.CreateDomain": _create_domain,
    "SageMaker.DescribeDomain": DOMAINS.describe,
    "SageMaker.UpdateDomain": DOMAINS.update,
    "SageMaker.DeleteDomain": DOMAINS.delete,
    "SageMaker.ListDomains": lambda _: {"Domains": DOMAINS.list()},
    "Logs_20140328.PutQueryDefinition": QUERIES.create,
    "Logs_20140328.DescribeQueryDefinitions": lambda _: {"queryDefinitions": QUERIES.list()},
    "Logs_20140328.DeleteQueryDefinition": lambda request: QUERIES.delete(request) | {"success": True},
    "AWSBudgetServiceGateway.CreateBudget": _create_budget,
    "AWSBudgetServiceGateway.CreateNotification": _create_notification,
    "AWSBudgetServiceGateway.DescribeBudget": _describe_budget,
    "AWSBudgetServiceGateway.DescribeBudgets": lambda _: {
        "Budgets": [_describe_budget({"BudgetName": name})["Budget"] for name in BUDGETS.resources]
    },
    "AWSBudgetServiceGateway.DeleteBudget": BUDGETS.delete,
    "AWSBudgetServiceGateway.DescribeNotificationsForBudget": lambda request: {
        "Notifications": [item["Notification"] for item in _notifications(request)]
    },
    "AWSBudgetServiceGateway.DescribeSubscribersForNotification": _subscribers,
    "AWSBudgetServiceGateway.ListTagsForResource": lambda request: {
        "ResourceTags": BUDGETS.describe({"BudgetName": request["ResourceARN"].rsplit("/", 1)[-1]})["_"].get(
            "ResourceTags", []
        )
    },
}
"""Answers by the value of `X-Amz-Target`."""


def _create_slack_channel(request: dict[str, Any]) -> dict[str, Any]:
    arn = f"arn:aws:chatbot::{ACCOUNT}:chat-configuration/slack-channel/{request['ConfigurationName']}"
    channel = SLACK_CHANNELS.create(
        request | {"ChatConfigurationArn": arn, "SlackTeamName": "team", "State": "ENABLED"}
    )
    return {"ChannelConfiguration": channel}


PATHS: dict[str, Handler] = {
    "/create-slack-channel-configuration": _create_slack_channel,
    "/describe-slack-channel-configurations": lambda request: {
        "SlackChannelConfigurations": [
            channel
            for channel in SLACK_CHANNELS.list()
            if request.get("ChatConfigurationArn") in (None, channel["ChatConfigurationArn"])
        ]
    },
    "/delete-slack-channel-configuration": SLACK_CHANNELS.delete,
    "/list-tags-for-resource": lambda request: {
        "Tags": SLACK_CHANNELS.resources[request["ResourceARN"]].get("Tags", [])
    },
}
"""Answers of AWS Chatbot, by path."""

TAGGED = {
    "mlflow-tracking-server": TRACKING_SERVERS,
    "feature-group": FEATURE_GROUPS,
    "domain": DOMAINS,
}


def _stored_tags(request: dict[str, Any]) -> dict[str, Any] | None:
    """The tags of a resource of our stores, None for moto's own."""
    kind, _, name = request["ResourceArn"].rsplit(":", 1)[-1].partition("/")
    return {"Tags": TAGGED[kind].resources[name].get("Tags", [])} if kind in TAGGED else None


class Shim:
    """The WSGI application: our answer if there is one, else moto's."""

    def __init__(self) -> None:
        patch_all()
        self.moto = DomainDispatcherApplication(create_backend_app)
        self.redrive_allow: dict[str, str] = {}

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        target, path = environ.get("HTTP_X_AMZ_TARGET", ""), environ.get("PATH_INFO", "")
        for service in (moto_quicksight, moto_stacks):
            if service.handles(environ):
                return service.answer(environ)(environ, start_response)
        if target == "AmazonSQS.SetQueueAttributes" or target == "AmazonSQS.GetQueueAttributes":
            return self._queue_attributes(environ, start_response, target)
        if target == "SageMaker.ListTags":
            request = self._body(environ)
            if (tags := _stored_tags(request)) is not None:
                return self._answer(lambda _: tags, request)(environ, start_response)
        handler = HANDLERS.get(target) or (PATHS.get(path) if not target else None)
        if handler is None:
            return self.moto(environ, start_response)
        return self._answer(handler, self._body(environ))(environ, start_response)

    def _body(self, environ: dict[str, Any]) -> dict[str, Any]:
        request = Request(environ)
        data = request.get_data()
        environ["wsgi.input"] = BytesIO(data)
        return json.loads(data or b"{}")

    def _answer(self, handler: Handler, request: dict[str, Any]) -> Response:
        try:
            return Response(json.dumps(handler(request)), content_type="application/x-amz-json-1.1")
        except NotFoundError as error:
            body = json.dumps({"__type": error.code, "message": str(error)})
            return Response(
                body,
                status=400,
                content_type="application/x-amz-json-1.1",
                headers={"x-amzn-errortype": error.code},
            )

    def _queue_attributes(self, environ: dict[str, Any], start_response: Any, target: str) -> Iterable[bytes]:
        """moto forgets `RedriveAllowPolicy`."""
        request = self._body(environ)
        url = request["QueueUrl"]
        if target.endswith("SetQueueAttributes"):
            if "RedriveAllowPolicy" in request["Attributes"]:
                self.redrive_allow[url] = request["Attributes"]["RedriveAllowPolicy"]
                return self._answer(lambda _: {}, request)(environ, start_response)
            return self.moto(environ, start_response)
        if request.get("AttributeNames") == ["RedriveAllowPolicy"]:
            policy = self.redrive_allow.get(url)
            attributes = {"Attributes": {"RedriveAllowPolicy": policy}} if policy else {}
            return self._answer(lambda _: attributes, request)(environ, start_response)
        response = Response.from_app(self.moto, environ)
        if response.status_code == 200 and self.redrive_allow.get(url):
            answer = json.loads(response.get_data())
            answer.setdefault("Attributes", {})["RedriveAllowPolicy"] = self.redrive_allow[url]
            response.set_data(json.dumps(answer))
        return response(environ, start_response)


def main(port: int) -> None:
    """Serves on the loopback interface; port 0 is any free one. The first line on standard output is the address."""
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = make_server("127.0.0.1", port, Shim(), threaded=True)
    print(f"http://127.0.0.1:{server.server_port}", flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main(int(sys.argv[1]))
