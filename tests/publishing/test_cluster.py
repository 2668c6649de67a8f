"""The cluster is the one that the settings name, else the local broker of their state; where neither is, both ways are named."""

from __future__ import annotations

from pathlib import Path

import pytest

from ruter_dagster.aws.clients import client
from ruter_dagster.config.settings import Settings, load_settings
from ruter_dagster.contracts.errors import PermanentFailure, SettingsError
from ruter_dagster.publishing.broker import Broker
from ruter_dagster.publishing.cluster import cluster_connection, open_cluster_connection


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    for variable in ("KAFKA_BOOTSTRAP_SERVERS", "RUTER_KAFKA_BOOTSTRAP_SERVERS"):
        monkeypatch.delenv(variable, raising=False)
    return Settings(environment="test", state_dir=tmp_path)


def test_named_cluster_is_used_with_its_credentials(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KAFKA_BOOTSTRAP_SERVERS", "kafka.example.org:9093")
    monkeypatch.setenv("RUTER_KAFKA_SECURITY_PROTOCOL", "SASL_SSL")
    monkeypatch.setenv("RUTER_KAFKA_SASL_MECHANISM", "PLAIN")
    monkeypatch.setenv("RUTER_KAFKA_SASL_USERNAME", "forecasts")
    monkeypatch.setenv("RUTER_KAFKA_SASL_PASSWORD", "do-not-show")
    connection = cluster_connection(Settings(environment="stage", state_dir=tmp_path))
    assert connection.bootstrap_servers == "kafka.example.org:9093"
    assert connection.topic_prefix == "stage."
    assert connection.client_config()["sasl.password"] == "do-not-show"
    assert "do-not-show" not in repr(connection)


@pytest.mark.parametrize(
    ("content", "reason"),
    [(None, "cannot be read .No such file or directory."), ("no certificate", "has no certificate in PEM")],
)
def test_wrong_certificate_file_is_named_with_its_variable(
    settings: Settings, tmp_path: Path, content: str | None, reason: str
) -> None:
    file = tmp_path / "ca.pem"
    if content:
        file.write_text(content)
    update = {"kafka_bootstrap_servers": "k:9092", "kafka_ssl_ca_location": file}
    with pytest.raises(PermanentFailure, match=f"RUTER_KAFKA_SSL_CA_LOCATION={file}: the file {reason}"):
        cluster_connection(settings.model_copy(update=update))


@pytest.mark.parametrize("variable", ["AWS_CA_BUNDLE", "REQUESTS_CA_BUNDLE"])
def test_missing_certificates_of_aws_are_named(variable: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(variable, "/none/ca.pem")
    with pytest.raises(PermanentFailure, match=f"{variable}=/none/ca.pem: the file cannot be read"):
        client("secretsmanager", "eu-west-1")


def test_the_local_broker_that_runs_is_found(settings: Settings, kafka_broker: Broker) -> None:
    settings.source_dir.mkdir(parents=True)
    (settings.source_dir / "broker").symlink_to(kafka_broker.data_dir)
    assert cluster_connection(settings).bootstrap_servers == kafka_broker.bootstrap_servers


def test_publishing_job_uses_the_broker_until_it_ends(settings: Settings, kafka_broker: Broker) -> None:
    settings.source_dir.mkdir(parents=True)
    (settings.source_dir / "broker").symlink_to(kafka_broker.data_dir)
    users = kafka_broker.data_dir / "users"
    before = set(users.iterdir())
    with open_cluster_connection(settings) as connection:
        assert connection.bootstrap_servers == kafka_broker.bootstrap_servers
        assert len(set(users.iterdir()) - before) == 1
    assert set(users.iterdir()) == before


def test_missing_broker_is_permanent_and_its_error_names_both_remedies(
    settings: Settings,
) -> None:
    with pytest.raises(PermanentFailure, match=r"`ruter-dagster broker`.*KAFKA_BOOTSTRAP_SERVERS"):
        cluster_connection(settings)


def test_schema_registry_comes_from_the_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KAFKA_BOOTSTRAP_SERVERS", "127.0.0.1:1")
    assert cluster_connection(load_settings(_env_file=None)).schema_registry is None
    monkeypatch.setenv("RUTER_SCHEMA_REGISTRY_URL", "https://registry.example:8081")
    monkeypatch.setenv("RUTER_SCHEMA_REGISTRY_USERNAME", "ruter")
    with pytest.raises(SettingsError, match="needs both RUTER_SCHEMA_REGISTRY_USERNAME"):
        load_settings(_env_file=None)
    monkeypatch.setenv("RUTER_SCHEMA_REGISTRY_PASSWORD", "do-not-show")
    registry = cluster_connection(load_settings(_env_file=None)).schema_registry
    assert registry and (registry.url, registry.username) == ("https://registry.example:8081", "ruter")
    assert "do-not-show" not in repr(registry)
