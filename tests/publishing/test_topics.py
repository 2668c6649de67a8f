"""A topic whose policy would delete markers, or keep outdated forecasts, is refused before anything is published."""

from __future__ import annotations

import re
from pathlib import Path

import polars as pl
import pytest
from confluent_kafka import KafkaError
from confluent_kafka.admin import (
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,  # pyright: ignore[reportPrivateImportUsage]
    ResourceType,  # pyright: ignore[reportPrivateImportUsage]
)
from confluent_kafka.cimpl import NewTopic

import ruter_dagster.publishing.topics as topics_module
from ruter_dagster.contracts.errors import PermanentFailure
from ruter_dagster.publishing.connection import KafkaConnection
from ruter_dagster.publishing.kafka import publish
from ruter_dagster.publishing.topics import ensure_topics, topics_of
from tests.publishing.samples import PUBLISHING

MARKERS, MESSAGES = "publications", "load-forecasts"


def _create(connection: KafkaConnection, name: str, policy: str) -> str:
    topic, admin = connection.topic_prefix + name, AdminClient(connection.client_config())
    admin.create_topics([NewTopic(topic, 1, 1, config={"cleanup.policy": policy})])[topic].result()
    return topic


@pytest.mark.parametrize(
    ("name", "policy", "wanted"),
    [
        (MARKERS, "delete", "compact"),
        (MARKERS, "compact,delete", "compact"),
        (MESSAGES, "delete", "[compact,delete]"),
        (MESSAGES, "compact", "[compact,delete]"),
    ],
)
def test_topic_with_another_policy_is_refused(
    connection: KafkaConnection, forecasts: pl.DataFrame, name: str, policy: str, wanted: str
) -> None:
    topic, admin = _create(connection, name, policy), AdminClient(connection.client_config())

    with pytest.raises(PermanentFailure) as refused:
        publish(forecasts, connection, content_hash="c", **PUBLISHING)

    assert f"The topic {topic}" in str(refused.value)
    assert f"cleanup.policy={policy} and needs {wanted.strip('[]')}" in str(refused.value)
    assert f"--entity-name {topic} --add-config cleanup.policy={wanted}" in str(refused.value)
    entry = ConfigEntry("cleanup.policy", wanted.strip("[]"), incremental_operation=AlterConfigOpType.SET)
    resource = ConfigResource(ResourceType.TOPIC, topic, incremental_configs=[entry])
    admin.incremental_alter_configs([resource])[resource].result()
    assert publish(forecasts, connection, content_hash="c", **PUBLISHING).outcome == "published"


def test_local_topic_gets_its_policy(connection: KafkaConnection) -> None:
    local = connection.model_copy(update={"environment": "local"})
    _create(local, MESSAGES, "delete")
    topics = ensure_topics(local)
    assert ensure_topics(connection) == topics


def test_created_topics_are_accepted(connection: KafkaConnection) -> None:
    assert ensure_topics(connection) == ensure_topics(connection)
    assert topics_of(connection).message_topics == tuple(
        f"{connection.topic_prefix}{name}" for name in (MESSAGES, "occupancy-forecasts")
    )


FENCED = KafkaError(
    KafkaError.INVALID_REPLICATION_FACTOR,
    "Unable to replicate the partition 1 time(s): All brokers are currently fenced",
)
NO_CONTROLLER = KafkaError(KafkaError._TIMED_OUT, "Failed while waiting for controller: Local: Timed out")


@pytest.mark.parametrize("error", [FENCED, NO_CONTROLLER], ids=["fenced", "no controller"])
def test_creation_waits_until_the_broker_serves(
    connection: KafkaConnection, monkeypatch: pytest.MonkeyPatch, error: KafkaError
) -> None:
    """On a machine with too much work, a broker misses a heartbeat, or does not name its controller for a moment."""
    create, refused = topics_module._creation_errors, []

    def refuse_twice(connection: KafkaConnection, missing: dict) -> dict:
        if len(refused) < 2:
            refused.append(sorted(missing))
            return dict.fromkeys(missing, error)
        return create(connection, missing)

    monkeypatch.setattr(topics_module, "_creation_errors", refuse_twice)
    ensure_topics(connection)
    assert len(refused) == 2


def test_factor_above_the_number_of_brokers_is_an_error(connection: KafkaConnection) -> None:
    with pytest.raises(PermanentFailure, match=r"refused to create the topic .*replication"):
        ensure_topics(connection.model_copy(update={"replication_factor": 3}))


def test_page_upgrade_creates_topics_as_the_publisher_does() -> None:
    page = (Path(__file__).parents[2] / "docs" / "upgrade.md").read_text().replace("\\\n", " ")
    commands = re.findall(r"kafka-topics\.sh .*--create --topic PREFIX\.(\S+) --partitions (\d+) (.*)", page)
    documented = {
        name: (int(partitions), dict(option.split("=") for option in re.findall(r"--config (\S+)", options)))
        for name, partitions, options in commands
    }
    connection = KafkaConnection(bootstrap_servers="127.0.0.1:1", environment="prod")
    assert documented == topics_module._wanted_topics(connection, topics_of(connection))
