"""Fields that moto accepts and does not give back, so that Terraform's second plan would not be empty.

Each function changes one class of moto; what it adds is named in its docstring.
"""

from __future__ import annotations

import json
import uuid
from types import SimpleNamespace
from typing import Any

from moto.core.responses import ActionResult, EmptyResult
from moto.ec2.models import EC2Backend
from moto.ec2.models.security_groups import SecurityGroupRule
from moto.ecs.models import EC2ContainerServiceBackend, Service, TaskDefinition
from moto.ecs.responses import EC2ContainerServiceResponse
from moto.iam.access_control import PermissionResult
from moto.rds.models import DBInstance, DBParameterGroup
from moto.route53.models import route53_backends
from moto.s3.models import FakeBucket
from moto.s3.responses import S3Response
from moto.sagemaker.responses import SageMakerResponse
from moto.servicediscovery.models import ServiceDiscoveryBackend
from moto.sqs.models import Queue

UNHEALTHY_DIGEST = "sha256:" + "f" * 64


def patch_all() -> None:
    _keep_performance_insights()
    _mark_parameters_as_ours()
    _describe_rules_between_groups()
    _delete_access_lists_of_networks()
    _rebalance_services()
    _keep_grace_periods()
    _run_tasks_without_memory_of_containers()
    _roll_back_unhealthy_images()
    _write_redrive_policy_as_terraform()
    _keep_events_of_buckets()
    _ignore_policies_of_buckets()
    _delete_model_package_groups()
    _isolate_models()
    _capture_no_data()
    _delete_zones_of_namespaces()


def _keep_performance_insights() -> None:
    """RDS: `PerformanceInsightsEnabled`, its key and its retention; and a resource id of each instance's own."""
    original = DBInstance.__init__

    def init(self: DBInstance, backend: Any, **kwargs: Any) -> None:
        original(self, backend, **kwargs)
        self.dbi_resource_id = f"db-{uuid.uuid4().hex[:26].upper()}"
        self.performance_insights_enabled = kwargs.get("enable_performance_insights", False)
        self.performance_insights_kms_key_id = kwargs.get("performance_insights_kms_key_id")
        self.performance_insights_retention_period = kwargs.get("performance_insights_retention_period")

    DBInstance.__init__ = init  # type: ignore[method-assign]


def _mark_parameters_as_ours() -> None:
    """RDS: the source of a parameter. The provider reads only those that a user set."""
    original = DBParameterGroup.update_parameters

    def update(self: DBParameterGroup, new_parameters: Any) -> None:
        original(self, [parameter | {"Source": "user"} for parameter in new_parameters])

    DBParameterGroup.update_parameters = update  # type: ignore[method-assign]


def _describe_rules_between_groups() -> None:
    """EC2: the description of a rule whose other side is a security group."""
    SecurityGroupRule.description = property(  # type: ignore[method-assign]
        lambda self: self.ip_range.get("Description") or self.source_group.get("Description")
    )


def _delete_access_lists_of_networks() -> None:
    """EC2: a network's default access list ends with the network."""
    original = EC2Backend.delete_vpc

    def delete_vpc(self: EC2Backend, vpc_id: str) -> Any:
        vpc = original(self, vpc_id)
        lists = self.network_acls
        for name in [name for name, each in lists.items() if each.default and each.vpc_id == vpc_id]:
            del lists[name]
        return vpc

    EC2Backend.delete_vpc = delete_vpc  # type: ignore[method-assign]


def _rebalance_services() -> None:
    """ECS: the default of `availabilityZoneRebalancing`."""
    Service.availability_zone_rebalancing = "DISABLED"  # type: ignore[attr-defined]


def _keep_grace_periods() -> None:
    """ECS: `healthCheckGracePeriodSeconds` of a service."""
    original = EC2ContainerServiceResponse.create_service

    def create(self: EC2ContainerServiceResponse) -> ActionResult:
        answer = original(self)
        answer.result["service"].health_check_grace_period_seconds = self._get_param(
            "healthCheckGracePeriodSeconds"
        )
        return answer

    EC2ContainerServiceResponse.create_service = create  # type: ignore[method-assign]


def _run_tasks_without_memory_of_containers() -> None:
    """ECS: a task of Fargate, whose memory is that of the task and not of its containers."""
    original = EC2ContainerServiceBackend._calculate_task_resource_requirements

    def calculate(task_definition: TaskDefinition) -> dict[str, Any]:
        containers = [{"memory": 0} | container for container in task_definition.container_definitions]
        return original(SimpleNamespace(container_definitions=containers))  # type: ignore[arg-type]

    EC2ContainerServiceBackend._calculate_task_resource_requirements = staticmethod(calculate)  # type: ignore[method-assign]


def _roll_back_unhealthy_images() -> None:
    """ECS: the rollback of a deployment. The image `UNHEALTHY_DIGEST` never becomes healthy."""
    original = EC2ContainerServiceBackend.update_service

    def update(self: EC2ContainerServiceBackend, service_properties: dict[str, Any]) -> Service:
        new = service_properties.get("task_definition")
        images = (
            [each["image"] for each in self.describe_task_definition(new).container_definitions]
            if new
            else []
        )
        if any(image.endswith(UNHEALTHY_DIGEST) for image in images):
            del service_properties["task_definition"]
        return original(self, service_properties)

    EC2ContainerServiceBackend.update_service = update  # type: ignore[method-assign]


def _write_redrive_policy_as_terraform() -> None:
    """SQS: a redrive policy without spaces, as AWS returns it."""
    original = Queue.attributes.fget  # type: ignore[attr-defined]

    def attributes(self: Queue) -> dict[str, Any]:
        result = original(self)
        if self.redrive_policy:
            result["RedrivePolicy"] = json.dumps(self.redrive_policy, separators=(",", ":"))
        return result

    Queue.attributes = property(attributes)  # type: ignore[method-assign]


def _keep_events_of_buckets() -> None:
    """S3: `EventBridgeConfiguration` of a bucket's notifications."""
    original = S3Response.get_bucket_notification

    def get_bucket_notification(self: S3Response) -> Any:
        answer = original(self)
        configuration = self.backend.get_bucket_notification_configuration(self.bucket_name)
        if configuration is None or configuration.event_bridge is None:
            return answer
        status, headers, body = answer
        text = body.decode() if isinstance(body, bytes) else body
        end = "</NotificationConfiguration>"
        if end not in text:
            text = text.removesuffix("/>") + ">" + end
        return status, headers, text.replace(end, f"<EventBridgeConfiguration/>{end}")

    S3Response.get_bucket_notification = get_bucket_notification  # type: ignore[method-assign]


def _ignore_policies_of_buckets() -> None:
    """S3: moto reads no conditions, so a policy that denies calls without TLS would deny all of them."""
    FakeBucket.get_permission = lambda _self, _action, _resource: PermissionResult.NEUTRAL  # type: ignore[method-assign]


def _delete_model_package_groups() -> None:
    """SageMaker: the operation `DeleteModelPackageGroup`."""

    def delete_model_package_group(self: SageMakerResponse) -> EmptyResult:
        name = self._get_param("ModelPackageGroupName")
        self.sagemaker_backend.describe_model_package_group(name)
        del self.sagemaker_backend.model_package_groups[name]
        return EmptyResult()

    SageMakerResponse.delete_model_package_group = delete_model_package_group  # type: ignore[attr-defined]


def _isolate_models() -> None:
    """SageMaker: `EnableNetworkIsolation` of a model."""
    original = SageMakerResponse.create_model

    def create_model(self: SageMakerResponse) -> ActionResult:
        answer = original(self)
        model = self.sagemaker_backend.describe_model(self._get_param("ModelName"))
        model.enable_network_isolation = self._get_param("EnableNetworkIsolation", False)
        return answer

    SageMakerResponse.create_model = create_model  # type: ignore[method-assign]


def _capture_no_data() -> None:
    """SageMaker: an endpoint without `DataCaptureConfig` has none, instead of an empty one."""
    for name in ("describe_endpoint", "describe_endpoint_config"):
        original = getattr(SageMakerResponse, name)

        def describe(self: SageMakerResponse, original: Any = original) -> ActionResult:
            answer = original(self).result
            return ActionResult(
                {key: value for key, value in answer.items() if key != "DataCaptureConfig" or value}
            )

        setattr(SageMakerResponse, name, describe)


def _delete_zones_of_namespaces() -> None:
    """Cloud Map: a namespace's zone in Route 53 ends with the namespace."""
    original = ServiceDiscoveryBackend.delete_namespace

    def delete_namespace(self: ServiceDiscoveryBackend, namespace_id: str) -> str:
        zone = self.get_namespace(namespace_id).dns_properties.get("HostedZoneId", "")
        operation = original(self, namespace_id)
        route53_backends[self.account_id]["aws"].zones.pop(zone.rsplit("/")[-1], None)
        return operation

    ServiceDiscoveryBackend.delete_namespace = delete_namespace  # type: ignore[method-assign]
