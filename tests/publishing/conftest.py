"""A connection to the tests' broker, and forecasts to publish."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

from ruter_dagster.publishing.broker import Broker
from ruter_dagster.publishing.connection import KafkaConnection
from tests.publishing.samples import load_forecasts


@pytest.fixture
def connection(kafka_broker: Broker, topic_prefix: str) -> KafkaConnection:
    return KafkaConnection(
        bootstrap_servers=kafka_broker.bootstrap_servers,
        topic_prefix=topic_prefix,
        environment=topic_prefix.rstrip("."),
        partitions=3,
    )


@pytest.fixture(scope="session")
def forecasts() -> pl.DataFrame:
    return load_forecasts()


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Data of a broker that the module's tests start, kill and start again."""
    return tmp_path_factory.mktemp("own-broker")
