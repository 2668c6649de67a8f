"""The cluster is the one that the settings name, else the local broker of their state; where neither is, both ways are named."""

from __future__ import annotations

from pathlib import Path

import pytest

from ruter_dagster.contracts.errors import PermanentFailure
from ruter_dagster.publishing.broker import Broker
from ruter_dagster.publishing.open import connection_of
from ruter_dagster.settings import Settings


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    for variable in ("KAFKA_BOOTSTRAP_SERVERS", "RUTER_KAFKA_BOOTSTRAP_SERVERS"):
        monkeypatch.delenv(variable, raising=False)
    return Settings(environment="test", state_dir=tmp_path)


def test_the_cluster_that_is_named_is_taken_with_its_credentials(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KAFKA_BOOTSTRAP_SERVERS", "kafka.example.org:9093")
    monkeypatch.setenv("RUTER_KAFKA_SECURITY_PROTOCOL", "SASL_SSL")
    monkeypatch.setenv("RUTER_KAFKA_SASL_MECHANISM", "PLAIN")
    monkeypatch.setenv("RUTER_KAFKA_SASL_USERNAME", "forecasts")
    monkeypatch.setenv("RUTER_KAFKA_SASL_PASSWORD", "do-not-show")
    connection = connection_of(Settings(environment="stage", state_dir=tmp_path))
    assert connection.bootstrap_servers == "kafka.example.org:9093"
    assert connection.topic_prefix == "stage."
    assert connection.client_config()["sasl.password"] == "do-not-show"
    assert "do-not-show" not in repr(connection)


@pytest.mark.kafka
def test_the_local_broker_that_runs_is_found(settings: Settings, kafka_broker: Broker) -> None:
    settings.source_dir.mkdir(parents=True)
    (settings.source_dir / "broker").symlink_to(kafka_broker.data_dir)
    assert connection_of(settings).bootstrap_servers == kafka_broker.bootstrap_servers


def test_where_no_broker_runs_no_retry_is_worth_it_and_the_error_names_both_ways_to_have_one(
    settings: Settings,
) -> None:
    with pytest.raises(PermanentFailure, match=r"`ruter-dagster broker`.*KAFKA_BOOTSTRAP_SERVERS"):
        connection_of(settings)
