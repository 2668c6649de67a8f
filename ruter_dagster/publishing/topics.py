"""The topics of an environment: their names, and the creation of missing topics."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ruter_dagster.contracts.errors import PermanentFailure
from ruter_dagster.publishing.connection import (
    ANSWER_SECONDS,
    RETENTION_HOURS,
    BrokerUnavailable,
    KafkaConnection,
    require_broker,
)

if TYPE_CHECKING:
    from confluent_kafka import KafkaError

log = logging.getLogger("ruter_dagster.jobs")

POLL_SECONDS = 0.05
STATUS_RETENTION_MS = str(90 * 24 * 3_600_000)
"""Retention of a new topic of statuses: 90 days. An issue date has about three statuses."""
_POLICY = "cleanup.policy"
_CONSEQUENCES = {
    "compact": "markers of publications would be deleted after a while, and the same forecasts published twice",
    "compact,delete": "outdated forecasts would stay beside the newest one of each journey, or stay for ever",
}
_HOUR_MS = 3_600_000
_SEGMENT_HOURS = 24


@dataclass(frozen=True)
class Topics:
    """Names of the topics of one environment."""

    load_forecasts: str
    """Internal, with counts."""
    occupancy_forecasts: str
    """Public, with levels only."""
    publications: str
    """One marker per publication, written in the same transaction as its messages. Compacted."""
    forecast_status: str
    """Statuses of issue dates: expected, published, late, degraded, recovered."""

    @property
    def message_topics(self) -> tuple[str, str]:
        return (self.load_forecasts, self.occupancy_forecasts)


def topics_of(connection: KafkaConnection) -> Topics:
    """Topic names with the environment's prefix."""
    prefix = connection.topic_prefix
    return Topics(
        f"{prefix}load-forecasts",
        f"{prefix}occupancy-forecasts",
        f"{prefix}publications",
        f"{prefix}forecast-status",
    )


def ensure_topics(connection: KafkaConnection) -> Topics:
    """Creates missing topics. In the environment `local`, existing topics get the right cleanup policy; else they stay unchanged.

    Raises `BrokerUnavailable` if no broker answers or a new topic does not appear. Raises `PermanentFailure` if the broker
    refuses a topic, or if a topic has a cleanup policy with which consumers would read wrong forecasts.
    """
    topics = topics_of(connection)
    existing = require_broker(connection)
    wanted = _wanted_topics(connection, topics)
    missing = {name: config for name, config in wanted.items() if name not in existing}
    if missing:
        _create(connection, missing)
        _wait_until_visible(connection, missing)
    # Statuses have keys of their own, and no reader depends on how long old ones are kept.
    present = {
        name: config[_POLICY]
        for name, (_, config) in wanted.items()
        if name in existing and name != topics.forecast_status
    }
    if present:
        _require_policies(connection, present)
    return topics


def _wanted_topics(connection: KafkaConnection, topics: Topics) -> dict[str, tuple[int, dict[str, str]]]:
    """Number of partitions and configuration of each topic."""
    retention = str(max(connection.retention_hours * _HOUR_MS, -1))
    messages = {
        _POLICY: "compact,delete",
        "retention.ms": retention,
        # A consumer that was away for less than this time reads every tombstone.
        "delete.retention.ms": str(max(connection.retention_hours, RETENTION_HOURS) * _HOUR_MS),
        # A segment is compacted only when it is closed.
        "segment.ms": str(_SEGMENT_HOURS * _HOUR_MS),
    }
    return {
        topics.load_forecasts: (connection.partitions, messages),
        topics.occupancy_forecasts: (connection.partitions, messages),
        topics.publications: (1, {_POLICY: "compact"}),
        topics.forecast_status: (1, {_POLICY: "delete", "retention.ms": STATUS_RETENTION_MS}),
    }


def _require_policies(connection: KafkaConnection, policies: dict[str, str]) -> None:
    """Markers are kept for ever: without its marker, a publication would be sent again. Messages are compacted."""
    for topic, wanted in policies.items():
        actual = _cleanup_policy(connection, topic, wanted)
        if actual in (None, wanted):
            continue
        if connection.environment == "local":
            _set_policy(connection, topic, wanted)
            _wait_for_policy(connection, topic, wanted)
            log.info("Changed cleanup.policy of %s from %s to %s", topic, actual, wanted)
            continue
        raise PermanentFailure(
            f"The topic {topic} at {connection.bootstrap_servers} has cleanup.policy={actual} and needs {wanted}: otherwise "
            f"{_CONSEQUENCES[wanted]}. Nothing was published. Change it: "
            f"kafka-configs.sh --bootstrap-server {connection.bootstrap_servers} --alter --entity-type topics "
            f"--entity-name {topic} --add-config {_POLICY}={_listed(wanted)}"
        )


def _listed(policy: str) -> str:
    """As kafka-configs.sh takes it: brackets around several words."""
    return f"[{policy}]" if "," in policy else policy


def _set_policy(connection: KafkaConnection, topic: str, policy: str) -> None:
    from confluent_kafka import KafkaException
    from confluent_kafka.admin import (
        AdminClient,
        AlterConfigOpType,  # pyright: ignore[reportPrivateImportUsage]
        ConfigEntry,  # pyright: ignore[reportPrivateImportUsage]
        ConfigResource,  # pyright: ignore[reportPrivateImportUsage]
        ResourceType,  # pyright: ignore[reportPrivateImportUsage]
    )

    entry = ConfigEntry(_POLICY, policy, incremental_operation=AlterConfigOpType.SET)
    resource = ConfigResource(ResourceType.TOPIC, topic, incremental_configs=[entry])
    admin = AdminClient(connection.client_config())
    try:
        admin.incremental_alter_configs([resource], request_timeout=2 * ANSWER_SECONDS)[resource].result()
    except KafkaException as exception:
        raise connection.unavailable(exception.args[0].str()) from exception


def _wait_for_policy(connection: KafkaConnection, topic: str, policy: str) -> None:
    """The controller answers before the broker that is asked for the policy knows the change."""
    deadline = time.monotonic() + ANSWER_SECONDS
    while _cleanup_policy(connection, topic, policy) not in (None, policy) and time.monotonic() < deadline:
        time.sleep(POLL_SECONDS)


def _cleanup_policy(connection: KafkaConnection, topic: str, wanted: str) -> str | None:
    """The topic's cleanup policy, its words sorted. None, with a warning, if the user may not read it."""
    from confluent_kafka import KafkaError, KafkaException
    from confluent_kafka.admin import AdminClient, ConfigResource, ResourceType  # pyright: ignore[reportPrivateImportUsage]

    resource = ConfigResource(ResourceType.TOPIC, topic)
    admin = AdminClient(connection.client_config())
    try:
        (config,) = admin.describe_configs([resource], request_timeout=2 * ANSWER_SECONDS).values()
        value = config.result()[_POLICY].value
    except KafkaException as exception:
        error: KafkaError = exception.args[0]
        if error.code() in (
            KafkaError.TOPIC_AUTHORIZATION_FAILED,
            KafkaError.CLUSTER_AUTHORIZATION_FAILED,
        ):
            log.warning(
                "The cleanup policy of %s cannot be checked: %s. It must be `%s`. Grant the user DescribeConfigs.",
                topic,
                error.str(),
                wanted,
            )
            return None
        raise connection.unavailable(error.str()) from exception
    return ",".join(sorted(word.strip() for word in str(value).split(",")))


def _create(connection: KafkaConnection, missing: dict[str, tuple[int, dict[str, str]]]) -> None:
    """Creates topics. Waits while the controller does not answer, or too few brokers serve: they start, or missed a heartbeat."""
    deadline = time.monotonic() + connection.patience_seconds
    while missing:
        refused = {name: error for name, error in _creation_errors(connection, missing).items() if error}
        for name, error in refused.items():
            if not _is_transient(error) or time.monotonic() > deadline:
                raise _not_created(connection, name, error)
        missing = {name: missing[name] for name in refused}
        if missing:
            time.sleep(POLL_SECONDS)


def _creation_errors(
    connection: KafkaConnection, missing: dict[str, tuple[int, dict[str, str]]]
) -> dict[str, KafkaError | None]:
    """The error of each topic; None if it is created or exists."""
    from confluent_kafka import KafkaError, KafkaException
    from confluent_kafka.admin import AdminClient
    from confluent_kafka.cimpl import NewTopic

    new_topics = [
        NewTopic(name, partitions, connection.replication_factor, config=config)
        for name, (partitions, config) in missing.items()
    ]
    admin = AdminClient(connection.client_config())
    errors: dict[str, KafkaError | None] = {}
    for name, creation in admin.create_topics(new_topics, request_timeout=2 * ANSWER_SECONDS).items():
        try:
            creation.result()
            errors[name] = None
        except KafkaException as exception:
            error: KafkaError = exception.args[0]
            errors[name] = None if error.code() == KafkaError.TOPIC_ALREADY_EXISTS else error
    return errors


def _is_transient(error: KafkaError) -> bool:
    """Whether nobody has answered, or the controller counts too few brokers as serving.

    A replication factor above the number of brokers has another text than brokers that do not serve.
    """
    from confluent_kafka import KafkaError

    unanswered = (KafkaError._TIMED_OUT, KafkaError._TRANSPORT, KafkaError.REQUEST_TIMED_OUT)
    is_fenced = error.code() == KafkaError.INVALID_REPLICATION_FACTOR and "fenced" in error.str()
    return is_fenced or error.code() in unanswered


def _not_created(connection: KafkaConnection, name: str, error: KafkaError) -> Exception:
    if _is_transient(error):
        return connection.unavailable(error.str())
    return PermanentFailure(
        f"The broker at {connection.bootstrap_servers} refused to create the topic {name}: {error.str()}. "
        "Create it by hand, or change the prefix, the replication or the user's rights."
    )


def _wait_until_visible(connection: KafkaConnection, names: Iterable[str]) -> None:
    """Waits until the broker knows the topics that the controller has just created."""
    deadline = time.monotonic() + ANSWER_SECONDS
    while missing := set(names) - require_broker(connection).keys():
        if time.monotonic() > deadline:
            raise BrokerUnavailable(
                f"The Kafka broker at {connection.bootstrap_servers} does not list {', '.join(sorted(missing))}, "
                f"created {ANSWER_SECONDS:g} s ago. Try again; if that does not help, check that the user may describe the topics."
            )
        time.sleep(POLL_SECONDS)
