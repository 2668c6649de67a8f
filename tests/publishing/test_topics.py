"""Markers of publications must stay for ever: a topic that deletes them is refused before anything is published."""

from __future__ import annotations

import polars as pl
import pytest
from confluent_kafka.admin import (
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,  # pyright: ignore[reportPrivateImportUsage]
    ResourceType,  # pyright: ignore[reportPrivateImportUsage]
)
from confluent_kafka.cimpl import NewTopic

from ruter_dagster.contracts.errors import PermanentFailure
from ruter_dagster.publishing.connection import KafkaConnection
from ruter_dagster.publishing.kafka import publish
from ruter_dagster.publishing.topics import ensure_topics, topics_of
from tests.publishing.samples import PUBLISHING


@pytest.mark.parametrize("policy", ["delete", "compact,delete"])
def test_topic_that_deletes_markers_is_refused(
    connection: KafkaConnection, forecasts: pl.DataFrame, policy: str
) -> None:
    topic, admin = topics_of(connection).publications, AdminClient(connection.client_config())
    new = NewTopic(topic, 1, 1, config={"cleanup.policy": policy})
    admin.create_topics([new])[topic].result()

    with pytest.raises(PermanentFailure) as refused:
        publish(forecasts, connection, content_hash="c", **PUBLISHING)

    assert f"The topic {topic}" in str(refused.value)
    assert f"cleanup.policy={policy}" in str(refused.value)
    assert f"--entity-name {topic} --add-config cleanup.policy=compact" in str(refused.value)
    entry = ConfigEntry("cleanup.policy", "compact", incremental_operation=AlterConfigOpType.SET)
    resource = ConfigResource(ResourceType.TOPIC, topic, incremental_configs=[entry])
    admin.incremental_alter_configs([resource])[resource].result()
    assert not publish(forecasts, connection, content_hash="c", **PUBLISHING).already_published


def test_topics_that_this_project_made_are_accepted_again(connection: KafkaConnection) -> None:
    assert ensure_topics(connection) == ensure_topics(connection)
