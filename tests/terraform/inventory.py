"""Lists what exists in the account of `moto_shim.py`, through AWS's APIs."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import boto3

from tests.terraform.moto_shim import ACCOUNT, REGION


@dataclass(frozen=True)
class Kind:
    """How the resources of a kind are listed, and which types of Terraform they are."""

    service: str
    operation: str
    key: str
    types: str
    parameters: tuple[tuple[str, Any], ...] = ()


QUICKSIGHT = (("AwsAccountId", ACCOUNT),)
KINDS = (
    Kind("athena", "list_work_groups", "WorkGroups", "aws_athena_workgroup"),
    Kind("budgets", "describe_budgets", "Budgets", "aws_budgets_budget", (("AccountId", ACCOUNT),)),
    Kind(
        "chatbot",
        "describe_slack_channel_configurations",
        "SlackChannelConfigurations",
        "aws_chatbot_slack_channel_configuration",
    ),
    Kind("cloudformation", "list_stacks", "StackSummaries", "aws_cloudformation_stack"),
    Kind("cloudwatch", "describe_alarms", "MetricAlarms", "aws_cloudwatch_metric_alarm"),
    Kind("cloudwatch", "list_dashboards", "DashboardEntries", "aws_cloudwatch_dashboard"),
    Kind("ec2", "describe_addresses", "Addresses", "aws_eip"),
    Kind("ec2", "describe_flow_logs", "FlowLogs", "aws_flow_log"),
    Kind("ec2", "describe_internet_gateways", "InternetGateways", "aws_internet_gateway"),
    Kind("ec2", "describe_nat_gateways", "NatGateways", "aws_nat_gateway"),
    Kind("ec2", "describe_network_acls", "NetworkAcls", "aws_default_network_acl"),
    Kind("ec2", "describe_route_tables", "RouteTables", "aws_route_table aws_default_route_table"),
    Kind(
        "ec2", "describe_security_groups", "SecurityGroups", "aws_security_group aws_default_security_group"
    ),
    Kind("ec2", "describe_subnets", "Subnets", "aws_subnet"),
    Kind("ec2", "describe_vpc_endpoints", "VpcEndpoints", "aws_vpc_endpoint"),
    Kind("ec2", "describe_vpcs", "Vpcs", "aws_vpc"),
    Kind("ecs", "list_clusters", "clusterArns", "aws_ecs_cluster"),
    Kind("ecs", "list_task_definitions", "taskDefinitionArns", "aws_ecs_task_definition"),
    Kind("elbv2", "describe_load_balancers", "LoadBalancers", "aws_lb"),
    Kind("elbv2", "describe_target_groups", "TargetGroups", "aws_lb_target_group"),
    Kind("events", "list_rules", "Rules", "aws_cloudwatch_event_rule"),
    Kind("glue", "get_databases", "DatabaseList", "aws_glue_catalog_database"),
    Kind("iam", "list_policies", "Policies", "aws_iam_policy", (("Scope", "Local"),)),
    Kind("iam", "list_roles", "Roles", "aws_iam_role"),
    Kind("kms", "list_aliases", "Aliases", "aws_kms_alias"),
    Kind("kms", "list_keys", "Keys", "aws_kms_key"),
    Kind("logs", "describe_log_groups", "logGroups", "aws_cloudwatch_log_group"),
    Kind("logs", "describe_metric_filters", "metricFilters", "aws_cloudwatch_log_metric_filter"),
    Kind("logs", "describe_query_definitions", "queryDefinitions", "aws_cloudwatch_query_definition"),
    Kind("quicksight", "list_analyses", "AnalysisSummaryList", "", QUICKSIGHT),
    Kind("quicksight", "list_dashboards", "DashboardSummaryList", "", QUICKSIGHT),
    Kind("quicksight", "list_data_sets", "DataSetSummaries", "aws_quicksight_data_set", QUICKSIGHT),
    Kind("quicksight", "list_data_sources", "DataSources", "aws_quicksight_data_source", QUICKSIGHT),
    Kind("quicksight", "list_folders", "FolderSummaryList", "aws_quicksight_folder", QUICKSIGHT),
    Kind("rds", "describe_db_instances", "DBInstances", "aws_db_instance"),
    Kind("rds", "describe_db_parameter_groups", "DBParameterGroups", "aws_db_parameter_group"),
    Kind("rds", "describe_db_snapshots", "DBSnapshots", ""),
    Kind("rds", "describe_db_subnet_groups", "DBSubnetGroups", "aws_db_subnet_group"),
    Kind("route53", "list_hosted_zones", "HostedZones", "aws_service_discovery_private_dns_namespace"),
    Kind("s3", "list_buckets", "Buckets", "aws_s3_bucket"),
    Kind("sagemaker", "list_domains", "Domains", "aws_sagemaker_domain"),
    Kind("sagemaker", "list_endpoint_configs", "EndpointConfigs", "aws_sagemaker_endpoint_configuration"),
    Kind("sagemaker", "list_endpoints", "Endpoints", "aws_sagemaker_endpoint"),
    Kind("sagemaker", "list_feature_groups", "FeatureGroupSummaries", "aws_sagemaker_feature_group"),
    Kind(
        "sagemaker",
        "list_mlflow_tracking_servers",
        "TrackingServerSummaries",
        "aws_sagemaker_mlflow_tracking_server",
    ),
    Kind(
        "sagemaker",
        "list_model_package_groups",
        "ModelPackageGroupSummaryList",
        "aws_sagemaker_model_package_group",
    ),
    Kind("sagemaker", "list_models", "Models", "aws_sagemaker_model"),
    Kind("sagemaker", "list_pipelines", "PipelineSummaries", "aws_sagemaker_pipeline"),
    Kind("secretsmanager", "list_secrets", "SecretList", "aws_secretsmanager_secret"),
    Kind("servicediscovery", "list_namespaces", "Namespaces", "aws_service_discovery_private_dns_namespace"),
    Kind("servicediscovery", "list_services", "Services", "aws_service_discovery_service"),
    Kind("sns", "list_subscriptions", "Subscriptions", "aws_sns_topic_subscription"),
    Kind("sns", "list_topics", "Topics", "aws_sns_topic"),
    Kind("sqs", "list_queues", "QueueUrls", "aws_sqs_queue"),
)

PARTS = frozenset(
    [
        "aws_cloudwatch_event_target",
        "aws_ecs_cluster_capacity_providers",
        "aws_ecs_service",
        "aws_glue_catalog_table",
        "aws_iam_role_policy",
        "aws_iam_role_policy_attachment",
        "aws_lb_listener",
        "aws_quicksight_folder_membership",
        "aws_quicksight_refresh_schedule",
        "aws_route",
        "aws_route53_record",
        "aws_route_table_association",
        "aws_s3_bucket_lifecycle_configuration",
        "aws_s3_bucket_notification",
        "aws_s3_bucket_ownership_controls",
        "aws_s3_bucket_policy",
        "aws_s3_bucket_public_access_block",
        "aws_s3_bucket_server_side_encryption_configuration",
        "aws_s3_bucket_versioning",
        "aws_secretsmanager_secret_policy",
        "aws_secretsmanager_secret_version",
        "aws_sns_topic_policy",
        "aws_sqs_queue_policy",
        "aws_sqs_queue_redrive_allow_policy",
        "aws_vpc_security_group_egress_rule",
        "aws_vpc_security_group_ingress_rule",
        "terraform_data",
    ]
)
"""Types that exist only within a resource that is listed, and not after it."""

DELETED = re.compile(
    '"KeyState": "PendingDeletion"|"State": "deleted"|"StackStatus": "DELETE_COMPLETE"|"status": "INACTIVE"'
)
"""States of resources that AWS lists for a while after their deletion."""


def client(endpoint: str, service: str) -> Any:
    """A client of boto3 for the server at this address."""
    return boto3.client(
        service,
        endpoint_url=endpoint,
        region_name=REGION,
        aws_access_key_id="test",
        aws_secret_access_key="test",
    )


def inventory(endpoint: str) -> dict[str, set[str]]:
    """All resources of the account by `service.operation`, each as its description in JSON.

    Left out is what AWS still lists after its deletion, such as a KMS key that waits for its end.
    """
    return {f"{kind.service}.{kind.operation}": set(_descriptions(endpoint, kind)) for kind in KINDS}


def _descriptions(endpoint: str, kind: Kind) -> Iterator[str]:
    service = client(endpoint, kind.service)
    for page in _pages(service, kind):
        for item in page.get(kind.key) or []:
            if kind.operation == "list_keys":
                item = _key(service, item["KeyId"])
            elif kind.operation == "list_clusters":
                item = service.describe_clusters(clusters=[item])["clusters"][0]
            text = json.dumps(item, default=str, sort_keys=True)
            if not DELETED.search(text):
                yield text


def _pages(service: Any, kind: Kind) -> Iterable[dict[str, Any]]:
    parameters = dict(kind.parameters)
    if service.can_paginate(kind.operation):
        return service.get_paginator(kind.operation).paginate(**parameters)
    return [getattr(service, kind.operation)(**parameters)]


def _key(kms: Any, key: str) -> dict[str, Any]:
    description = kms.describe_key(KeyId=key)["KeyMetadata"]
    if description["KeyState"] == "PendingDeletion":
        return description
    return description | {"Tags": kms.list_resource_tags(KeyId=key)["Tags"]}


def of_environment(resources: dict[str, set[str]], environment: str) -> dict[str, set[str]]:
    """Those of the resources whose name or tag has the environment; kinds without any are left out."""
    spellings = (environment, environment.replace("-", "_"))
    owned = {
        kind: {item for item in items if any(spelling in item for spelling in spellings)}
        for kind, items in resources.items()
    }
    return {kind: items for kind, items in owned.items() if items}


def types_without_kind(types: set[str]) -> set[str]:
    """Types of Terraform's resources that `inventory` does not list."""
    return types - PARTS - {name for kind in KINDS for name in kind.types.split()}
