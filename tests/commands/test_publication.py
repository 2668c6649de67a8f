"""A publication is read back in both topics, and "exactly once" is said only if each journey is there once."""

from __future__ import annotations

import socket
from dataclasses import replace
from datetime import UTC, date, datetime
from typing import Any

import polars as pl
import pytest

from ruter_dagster.commands.publication import read_back, require_reachable_broker
from ruter_dagster.config.settings import load_settings
from ruter_dagster.contracts.errors import PermanentFailure
from ruter_dagster.publishing.read_back import ReadBack, TopicContent
from ruter_dagster.storage.publications import Publication

DAY, NOW = date(2026, 11, 20), datetime(2026, 11, 20, 3, 30, tzinfo=UTC)
PUBLICATION = Publication(DAY, "an-id", "content", 1, 2, NOW, NOW, 5, 10, 0, "thresholds", False)
CALLS = pl.DataFrame({"key": [f"{DAY}|{number // 2}" for number in range(10)], "order": list(range(10))})


@pytest.mark.parametrize(
    ("changed", "once"),
    [
        ({}, True),
        ({"duplicates": 1}, False),
        ({"calls": CALLS.head(9)}, False),
        ({"calls": CALLS.with_columns(key=pl.lit("one"))}, False),
    ],
)
@pytest.mark.parametrize("topic", ["load_forecasts", "occupancy_forecasts"])
def test_exactly_once_needs_both_topics(
    monkeypatch: pytest.MonkeyPatch, topic: str, changed: dict[str, Any], once: bool
) -> None:
    whole = TopicContent(messages=5, duplicates=0, calls=CALLS)
    read = replace(ReadBack("an-id", DAY, whole, whole), **{topic: replace(whole, **changed)})
    monkeypatch.setattr("ruter_dagster.publishing.read_back.read_back", lambda *_: read)
    settings = load_settings(_env_file=None, kafka_bootstrap_servers="127.0.0.1:1")
    assert read_back(PUBLICATION, settings).exactly_once == once


def test_unreachable_broker_is_one_sentence() -> None:
    with socket.socket() as closed:  # bound, but nobody listens
        closed.bind(("127.0.0.1", 0))
        servers = f"127.0.0.1:{closed.getsockname()[1]}"
        with pytest.raises(PermanentFailure, match=f"No Kafka broker answers at {servers}"):
            require_reachable_broker(load_settings(_env_file=None, kafka_bootstrap_servers=servers))
