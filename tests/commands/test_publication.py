"""The recorded publication and its messages, which must be on each topic exactly once."""

from __future__ import annotations

import socket
from datetime import date
from typing import Any

import polars as pl
import pytest
from dagster import AssetMaterialization, DagsterInstance

from ruter_dagster.commands.publication import (
    RecordedPublication,
    read_back,
    recorded_publication,
    require_reachable_broker,
)
from ruter_dagster.config.settings import load_settings
from ruter_dagster.contracts.errors import PermanentFailure
from ruter_dagster.contracts.jobs import PUBLISHED_FORECASTS
from ruter_dagster.publishing.consumer import ReadBack


@pytest.mark.parametrize(
    ("changed", "once"),
    [
        ({}, True),
        ({"messages": 9}, False),
        ({"duplicates": 1}, False),
        ({"public_messages": 9}, False),
        ({"public_duplicates": 1}, False),
    ],
)
def test_exactly_once_needs_both_topics(
    monkeypatch: pytest.MonkeyPatch, changed: dict[str, Any], once: bool
) -> None:
    whole = {"messages": 10, "duplicates": 0, "public_messages": 10, "public_duplicates": 0}
    result = ReadBack(publication_id="an-id", by_horizon={}, loads=pl.DataFrame(), **whole | changed)
    monkeypatch.setattr("ruter_dagster.publishing.consumer.read_back", lambda *_: result)
    settings = load_settings(_env_file=None, kafka_bootstrap_servers="127.0.0.1:1")
    assert read_back(RecordedPublication("an-id", 10), date(2026, 11, 20), settings).exactly_once == once


def test_recorded_publication_counts_only_its_own_messages() -> None:
    with DagsterInstance.ephemeral() as instance:
        assert recorded_publication(instance, date(2026, 11, 20)) is None
        for day, rows in (("2026-11-20", 4), ("2026-11-21", 6)):
            made = {"content_hash": f"of-{day}", "dagster/row_count": rows}
            instance.report_runless_asset_event(
                AssetMaterialization(PUBLISHED_FORECASTS.split("/"), partition=day, metadata=made)
            )
        assert recorded_publication(instance, date(2026, 11, 20)) == RecordedPublication("of-2026-11-20", 4)


def test_unreachable_broker_is_one_sentence() -> None:
    with socket.socket() as closed:  # bound, but nobody listens
        closed.bind(("127.0.0.1", 0))
        servers = f"127.0.0.1:{closed.getsockname()[1]}"
        with pytest.raises(PermanentFailure, match=f"No Kafka broker answers at {servers}"):
            require_reachable_broker(load_settings(_env_file=None, kafka_bootstrap_servers=servers))
