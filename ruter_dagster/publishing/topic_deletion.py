"""Deletes a sandbox's topics and consumer groups: `python -m ruter_dagster.publishing.topic_deletion s-mybranch-1a2b3c`.

`ruter-dagster sandbox-sweep` runs it as a SageMaker job of the sandbox, because only the network of its jobs reaches Kafka.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping
from concurrent.futures import Future

from ruter_dagster.config.settings import Settings, load_settings
from ruter_dagster.contracts.container import Container
from ruter_dagster.contracts.errors import PermanentFailure
from ruter_dagster.contracts.sandbox import Sandbox
from ruter_dagster.publishing.cluster import cluster_connection
from ruter_dagster.publishing.connection import (
    ANSWER_SECONDS,
    BrokerUnavailable,
    KafkaConnection,
    require_broker,
)

WAIT_SECONDS = 6 * ANSWER_SECONDS


def delete_topics(connection: KafkaConnection, sandbox: Sandbox) -> list[str]:
    """Deletes all topics and consumer groups with the sandbox's prefix. Returns their names.

    Raises `BrokerUnavailable` if no broker answers, `PermanentFailure` if one refuses: the message names what is left.
    """
    from confluent_kafka import KafkaException
    from confluent_kafka.admin import AdminClient

    topics = _of_sandbox(require_broker(connection, 2 * ANSWER_SECONDS), sandbox)
    admin = AdminClient(connection.client_config())
    try:
        listed = admin.list_consumer_groups(request_timeout=WAIT_SECONDS).result().valid
    except KafkaException as error:
        raise connection.unavailable(error.args[0].str()) from error
    groups = _of_sandbox((group.group_id for group in listed), sandbox)
    if topics:
        _require_deleted("topic", admin.delete_topics(topics, operation_timeout=WAIT_SECONDS))
    if groups:
        _require_deleted("consumer group", admin.delete_consumer_groups(groups, request_timeout=WAIT_SECONDS))
    return [*topics, *groups]


def delete_topics_of(settings: Settings, sandbox: Sandbox) -> list[str]:
    """Deletes the topics on the cluster of the settings. Raises `PermanentFailure` if the settings are another environment's."""
    if settings.environment != sandbox.id or settings.topic_prefix != sandbox.topic_prefix:
        raise PermanentFailure(
            f"The settings are those of {settings.environment} with the topic prefix {settings.topic_prefix}, not of {sandbox.id}. "
            "Nothing was deleted."
        )
    return delete_topics(cluster_connection(settings), sandbox)


def main(arguments: list[str] | None = None) -> int:
    """Deletes the topics, and prints their names. A failure is written to where SageMaker finds its reason."""
    (identifier,) = sys.argv[1:] if arguments is None else arguments
    try:
        for name in delete_topics_of(load_settings(), Sandbox.of(identifier)):
            print(f"Deleted {name}", flush=True)
    except (BrokerUnavailable, PermanentFailure) as failure:
        print(failure, file=sys.stderr)
        Container.of_environment().write_failure(str(failure), 1)
        return 1
    return 0


def _of_sandbox(names: Iterable[str], sandbox: Sandbox) -> list[str]:
    return sorted(name for name in names if name.startswith(sandbox.topic_prefix))


def _require_deleted(kind: str, deletions: Mapping[str, Future[None]]) -> None:
    """Waits for all. Raises `PermanentFailure` with those that are left. What somebody else deleted meanwhile is not left."""
    from confluent_kafka import KafkaError, KafkaException

    left = []
    for name, deletion in deletions.items():
        try:
            deletion.result()
        except KafkaException as exception:
            error: KafkaError = exception.args[0]
            if error.code() not in (KafkaError.UNKNOWN_TOPIC_OR_PART, KafkaError.GROUP_ID_NOT_FOUND):
                left.append(f"{name}: {error.str()}")
    if left:
        raise PermanentFailure(f"{kind} {'; '.join(left)}")


if __name__ == "__main__":
    sys.exit(main())
