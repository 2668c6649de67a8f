"""What several folders of tests share. Each test has its own state, and on the shared broker its own topics."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from ruter_dagster.publishing.broker import Broker


@pytest.fixture(scope="session")
def kafka_broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    """A real Apache Kafka node on a free port, with data of its own, that ends with the tests."""
    from ruter_dagster.publishing.broker import local_broker

    with local_broker(tmp_path_factory.mktemp("kafka")) as broker:
        yield broker


@pytest.fixture
def topic_prefix() -> str:
    """A prefix that no other test's topics have."""
    return f"test-{uuid.uuid4().hex[:12]}."
