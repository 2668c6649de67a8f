"""The topics of an environment: their names, and making them where they are missing."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable
from dataclasses import dataclass

from ruter_dagster.contracts.errors import PermanentFailure
from ruter_dagster.publishing.connection import (
    ANSWER_SECONDS,
    BrokerUnavailable,
    KafkaConnection,
    require_broker,
)

log = logging.getLogger("ruter_dagster.jobs")

LOOKED_EVERY = 0.05
"""Seconds."""


@dataclass(frozen=True)
class Topics:
    """Names of one environment's topics."""

    load_forecasts: str
    """Internal: with counts."""
    occupancy_forecasts: str
    """Public: levels only."""
    publications: str
    """One marker a publication, written in the same transaction as its messages; compacted."""

    @property
    def of_messages(self) -> tuple[str, str]:
        return (self.load_forecasts, self.occupancy_forecasts)


def topics_of(connection: KafkaConnection) -> Topics:
    """The names, each with the environment's prefix."""
    prefix = connection.topic_prefix
    return Topics(f"{prefix}load-forecasts", f"{prefix}occupancy-forecasts", f"{prefix}publications")


def ensure_topics(connection: KafkaConnection) -> Topics:
    """Make the topics that are missing; those that exist stay as they are.

    Raises BrokerUnavailable where no broker answers or it does not hear of a new topic, PermanentFailure where it refuses one,
    or where it would delete markers of publications.
    """
    topics = topics_of(connection)
    existing = require_broker(connection)
    retention = max(connection.retention_hours * 3_600_000, -1)
    messages = {"cleanup.policy": "delete", "retention.ms": str(retention)}
    wanted = {
        topics.load_forecasts: (connection.partitions, messages),
        topics.occupancy_forecasts: (connection.partitions, messages),
        topics.publications: (1, {"cleanup.policy": "compact"}),
    }
    missing = {name: how for name, how in wanted.items() if name not in existing}
    if missing:
        _create(connection, missing)
        _wait_until_known(connection, missing)
    if topics.publications in existing:
        _require_compacted(connection, topics.publications)
    return topics


def _require_compacted(connection: KafkaConnection, topic: str) -> None:
    """A marker must stay for ever: where one is gone, its forecasts would be published again."""
    policy = _cleanup_policy(connection, topic)
    if policy in (None, "compact"):
        return
    raise PermanentFailure(
        f"The topic {topic} at {connection.bootstrap_servers} has cleanup.policy={policy}, which deletes markers of "
        "publications after a while, and the same forecasts would then be published twice. Nothing was published. Change it: "
        f"kafka-configs.sh --bootstrap-server {connection.bootstrap_servers} --alter --entity-type topics "
        f"--entity-name {topic} --add-config cleanup.policy=compact"
    )


def _cleanup_policy(connection: KafkaConnection, topic: str) -> str | None:
    """The topic's policy, in the order of its words; None, with a warning, where the user may not describe it."""
    from confluent_kafka import KafkaError, KafkaException
    from confluent_kafka.admin import AdminClient, ConfigResource, ResourceType  # pyright: ignore[reportPrivateImportUsage]

    resource = ConfigResource(ResourceType.TOPIC, topic)
    admin = AdminClient(connection.client_config())
    try:
        (answer,) = admin.describe_configs([resource], request_timeout=2 * ANSWER_SECONDS).values()
        value = answer.result()["cleanup.policy"].value
    except KafkaException as exception:
        error: KafkaError = exception.args[0]
        if error.code() in (
            KafkaError.TOPIC_AUTHORIZATION_FAILED,
            KafkaError.CLUSTER_AUTHORIZATION_FAILED,
        ):
            log.warning(
                "The cleanup policy of %s cannot be checked: %s. It must be `compact`; allow the user DescribeConfigs.",
                topic,
                error.str(),
            )
            return None
        raise connection.unavailable(error.str()) from exception
    return ",".join(sorted(word.strip() for word in str(value).split(",")))


def _create(connection: KafkaConnection, missing: dict[str, tuple[int, dict[str, str]]]) -> None:
    from confluent_kafka import KafkaError, KafkaException
    from confluent_kafka.admin import AdminClient
    from confluent_kafka.cimpl import NewTopic

    new_topics = [
        NewTopic(name, partitions, connection.replication_factor, config=config)
        for name, (partitions, config) in missing.items()
    ]
    admin = AdminClient(connection.client_config())
    for name, made in admin.create_topics(new_topics, request_timeout=2 * ANSWER_SECONDS).items():
        try:
            made.result()
        except KafkaException as exception:
            error: KafkaError = exception.args[0]
            if error.code() == KafkaError.TOPIC_ALREADY_EXISTS:
                continue
            if error.code() in (KafkaError._TIMED_OUT, KafkaError._TRANSPORT, KafkaError.REQUEST_TIMED_OUT):
                raise connection.unavailable(error.str()) from exception
            raise PermanentFailure(
                f"The broker at {connection.bootstrap_servers} refused to make the topic {name}: {error.str()}. "
                "Make it by hand, or change the prefix, the replication or the user's rights."
            ) from exception


def _wait_until_known(connection: KafkaConnection, names: Iterable[str]) -> None:
    """The controller has made the topics; a broker learns of it a moment later, and until then denies that they exist."""
    deadline = time.monotonic() + ANSWER_SECONDS
    while unknown := set(names) - require_broker(connection).keys():
        if time.monotonic() > deadline:
            raise BrokerUnavailable(
                f"The Kafka broker at {connection.bootstrap_servers} does not know of {', '.join(sorted(unknown))}, "
                f"made {ANSWER_SECONDS:g} s ago. Try again; if it stays, see whether the user may describe them."
            )
        time.sleep(LOOKED_EVERY)
