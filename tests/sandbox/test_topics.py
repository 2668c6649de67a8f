"""The topics of a sandbox are deleted by a job of the sandbox, which runs here as a process against a real Kafka."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Consumer, Producer
from confluent_kafka.admin import AdminClient

from ruter_dagster.commands import sandbox_topics
from ruter_dagster.config.settings import Settings
from ruter_dagster.contracts.container import BASE_VARIABLE
from ruter_dagster.contracts.errors import PermanentFailure
from ruter_dagster.contracts.sandbox import Sandbox
from ruter_dagster.publishing.broker import Broker
from ruter_dagster.publishing.connection import KafkaConnection
from ruter_dagster.publishing.topic_deletion import delete_topics_of
from ruter_dagster.publishing.topics import ensure_topics
from sagemaker_double.control import Remote

SANDBOX, OTHER = Sandbox.of("s-seats-1a2b3c"), Sandbox.of("s-seats-ffffff")
IMAGE = f"123456789012.dkr.ecr.eu-north-1.amazonaws.com/rd-jobs@sha256:{'a' * 64}"
ROOT = Path(__file__).parents[2]
ROLE = "arn:aws:iam::123456789012:role/rd-job"


def publish(broker: Broker, sandbox: Sandbox) -> None:
    """The topics of a sandbox, and a consumer group that has read from one of them."""
    topics = ensure_topics(connection(broker, sandbox))
    servers = {"bootstrap.servers": broker.bootstrap_servers}
    producer = Producer(servers)
    producer.produce(topics.load_forecasts, b"forecast", b"2026-11-20|journey")
    producer.flush(10)
    group = {"group.id": f"{sandbox.topic_prefix}reader", "auto.offset.reset": "earliest"}
    consumer = Consumer(servers | group)
    consumer.subscribe([topics.load_forecasts])
    message = consumer.poll(20)
    assert message is not None and message.error() is None
    consumer.commit(message=message, asynchronous=False)
    consumer.close()


def connection(broker: Broker, sandbox: Sandbox) -> KafkaConnection:
    return KafkaConnection(
        bootstrap_servers=broker.bootstrap_servers,
        topic_prefix=sandbox.topic_prefix,
        environment=sandbox.id,
        partitions=1,
    )


def names(broker: Broker, sandbox: Sandbox) -> list[str]:
    """Topics and groups of a sandbox."""
    admin = AdminClient({"bootstrap.servers": broker.bootstrap_servers})
    groups = [group.group_id for group in admin.list_consumer_groups().result().valid]
    topics = admin.list_topics(timeout=10).topics
    return sorted(name for name in (*topics, *groups) if name.startswith(sandbox.topic_prefix))


def define_run(aws: Any, sandbox: Sandbox, broker: str) -> None:
    """The task definition of the sandbox's runs, with the variables that Terraform gives to it."""
    secret = aws("secretsmanager").create_secret(Name=f"{sandbox.name}/passwords", SecretString="{}")
    variables = {
        "RUTER_ENVIRONMENT": sandbox.id,
        "RUTER_SECRETS": secret["ARN"],
        "RUTER_LAKE": "s3://lake/lake",
        "RUTER_SAGEMAKER_IMAGE": IMAGE,
        "RUTER_SAGEMAKER_ROLE": f"{ROLE}-tables",
        "RUTER_SAGEMAKER_ROLES": f"train={ROLE}-model,publish={ROLE}-publish",
        "RUTER_SAGEMAKER_SUBNETS": "subnet-0123456789abcdef0,subnet-1123456789abcdef0",
        "RUTER_SAGEMAKER_SECURITY_GROUPS": "sg-0123456789abcdef0",
        "RUTER_SAGEMAKER_KMS_KEY": "arn:aws:kms:eu-north-1:123456789012:key/1",
        "RUTER_SLACK_CHANNEL": "#ruter-dagster",
        "KAFKA_BOOTSTRAP_SERVERS": broker,
        "RUTER_KAFKA_TOPIC_PREFIX": sandbox.topic_prefix,
        "RUTER_KAFKA_SECURITY_PROTOCOL": "PLAINTEXT",
        "AWS_REGION": os.environ["AWS_REGION"],
        "AWS_DEFAULT_REGION": os.environ["AWS_REGION"],
    }
    environment = [{"name": name, "value": value} for name, value in variables.items()]
    container = {"name": "dagster", "image": "image", "memory": 512, "environment": environment}
    aws("ecs").register_task_definition(family=f"{sandbox.name}-run", containerDefinitions=[container])


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch, sagemaker_double: Remote) -> None:
    sagemaker_double.set(base_variable=BASE_VARIABLE)
    monkeypatch.setattr(sandbox_topics, "POLL_SECONDS", 0.2)


def test_job_deletes_topics_and_groups_of_one_sandbox(
    kafka_broker: Broker, sagemaker_double: Remote, aws: Any
) -> None:
    for sandbox in (SANDBOX, OTHER):
        publish(kafka_broker, sandbox)
    others = names(kafka_broker, OTHER)
    assert len(others) == len(names(kafka_broker, SANDBOX)) == 5, "four topics and a group"
    define_run(aws, SANDBOX, kafka_broker.bootstrap_servers)
    assert sandbox_topics.delete_sandbox_topics(SANDBOX, print)
    assert names(kafka_broker, SANDBOX) == []
    assert names(kafka_broker, OTHER) == others
    (job,) = sagemaker_double.jobs()
    request = job["describe"]
    assert request["RoleArn"] == f"{ROLE}-publish", "the only role of jobs that reads Kafka's password"
    assert request["NetworkConfig"]["VpcConfig"]["SecurityGroupIds"] == ["sg-0123456789abcdef0"]
    assert job["tags"]["environment"] == SANDBOX.id
    instance = request["ProcessingResources"]["ClusterConfig"]["InstanceType"]
    assert f"`{instance}`" in (ROOT / "docs" / "deploy.md").read_text(), "its quota is requested"
    assert sandbox_topics.delete_sandbox_topics(SANDBOX, print), "repeating it does no harm"


def test_unreachable_kafka_is_an_error_with_the_reason(
    sagemaker_double: Remote, aws: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    define_run(aws, SANDBOX, "127.0.0.1:9")
    with pytest.raises(
        PermanentFailure,
        match=r"topics s-seats-1a2b3c\.\*: the job .* failed: No Kafka broker answers at 127",
    ):
        sandbox_topics.delete_sandbox_topics(SANDBOX, print)


def test_sandbox_without_runs_has_no_topics(sagemaker_double: Remote, aws: Any) -> None:
    assert sandbox_topics.delete_sandbox_topics(SANDBOX, print) == []
    assert sagemaker_double.jobs() == []


def test_secret_without_a_value_means_that_nothing_was_published(sagemaker_double: Remote, aws: Any) -> None:
    define_run(aws, SANDBOX, "127.0.0.1:9")
    aws("secretsmanager").delete_secret(SecretId=f"{SANDBOX.name}/passwords", ForceDeleteWithoutRecovery=True)
    assert sandbox_topics.delete_sandbox_topics(SANDBOX, print) == []
    aws("secretsmanager").create_secret(Name=f"{SANDBOX.name}/passwords")
    assert sandbox_topics.delete_sandbox_topics(SANDBOX, print) == []
    assert sagemaker_double.jobs() == []


@pytest.mark.parametrize(
    "settings",
    [
        {"environment": "prod"},
        {"environment": OTHER.id},
        {"environment": SANDBOX.id, "kafka_topic_prefix": "prod."},
    ],
    ids=str,
)
def test_topics_of_other_environments_are_refused(
    kafka_broker: Broker, settings: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish(kafka_broker, OTHER)
    other = Settings(_env_file=None, KAFKA_BOOTSTRAP_SERVERS=kafka_broker.bootstrap_servers, **settings)  # pyright: ignore[reportCallIssue]
    with pytest.raises(PermanentFailure, match="Nothing was deleted"):
        delete_topics_of(other, SANDBOX)
    assert names(kafka_broker, OTHER)
