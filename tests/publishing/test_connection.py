"""TLS and SASL come from settings, secrets are never shown, and a cluster that refuses is told from one that is down."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import SecretStr, ValidationError

from ruter_dagster.contracts.errors import PermanentFailure
from ruter_dagster.publishing.broker import _free_port, local_broker
from ruter_dagster.publishing.connection import KafkaConnection, require_broker

SASL = {
    "bootstrap_servers": "kafka.example.org:9093",
    "security_protocol": "SASL_SSL",
    "sasl_mechanism": "SCRAM-SHA-512",
    "sasl_username": "forecasts",
    "sasl_password": SecretStr("do-not-show"),
    "ssl_ca_location": "/etc/ssl/ca.pem",
}


def test_tls_and_sasl_reach_the_client() -> None:
    config = KafkaConnection(**SASL).client_config()
    assert config["security.protocol"] == "SASL_SSL"
    assert config["sasl.mechanism"] == "SCRAM-SHA-512"
    assert (config["sasl.username"], config["sasl.password"]) == ("forecasts", "do-not-show")
    assert config["ssl.ca.location"] == "/etc/ssl/ca.pem"


def test_a_plain_connection_names_no_credentials() -> None:
    config = KafkaConnection(bootstrap_servers="127.0.0.1:9092").client_config()
    assert config["security.protocol"] == "PLAINTEXT"
    assert not [name for name in config if name.startswith(("sasl", "ssl"))]


def test_the_password_is_never_shown() -> None:
    connection = KafkaConnection(**SASL)
    assert (
        "do-not-show"
        not in f"{connection} {connection!r} {connection.model_dump_json()} {connection.unavailable('')}"
    )


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("sasl_password", None),
        ("sasl_mechanism", None),
        ("security_protocol", "SSL"),
        ("topic_prefix", "søndag/"),
        ("sasl_mechanism", "ROT13"),
    ],
)
def test_settings_that_do_not_go_together_are_refused(setting: str, value: str | None) -> None:
    with pytest.raises(ValidationError) as failure:
        KafkaConnection(**(SASL | {"sasl_password": "do-not-show", setting: value}))
    assert setting in str(failure.value)
    assert "do-not-show" not in str(failure.value)


@pytest.fixture(scope="module")
def guarded_servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A broker with a second listener that asks for a password."""
    client, guarded, controller = _free_port(), _free_port(), _free_port()
    login = "org.apache.kafka.common.security.plain.PlainLoginModule required"
    properties = {
        "listeners": f"CLIENT://127.0.0.1:{client},GUARDED://127.0.0.1:{guarded},CONTROLLER://127.0.0.1:{controller}",
        "advertised.listeners": f"CLIENT://127.0.0.1:{client},GUARDED://127.0.0.1:{guarded}",
        "controller.quorum.voters": f"1@127.0.0.1:{controller}",
        "listener.security.protocol.map": "CLIENT:PLAINTEXT,GUARDED:SASL_PLAINTEXT,CONTROLLER:PLAINTEXT",
        "listener.name.guarded.sasl.enabled.mechanisms": "PLAIN",
        "listener.name.guarded.plain.sasl.jaas.config": f'{login} user_forecasts="right";',
    }
    data_dir: Path = tmp_path_factory.mktemp("guarded-broker")
    with local_broker(data_dir, client, properties=properties):
        yield f"127.0.0.1:{guarded}"


def test_the_right_password_lets_in(guarded_servers: str) -> None:
    assert isinstance(require_broker(_guarded(guarded_servers, "right")), dict)


def test_wrong_password_fails_for_good_and_stays_hidden(guarded_servers: str) -> None:
    with pytest.raises(PermanentFailure, match=r"refused the connection .*user forecasts") as failure:
        require_broker(_guarded(guarded_servers, "wrong-password"))
    assert "wrong-password" not in str(failure.value)


def _guarded(servers: str, password: str) -> KafkaConnection:
    return KafkaConnection(
        bootstrap_servers=servers,
        security_protocol="SASL_PLAINTEXT",
        sasl_mechanism="PLAIN",
        sasl_username="forecasts",
        sasl_password=SecretStr(password),
    )
