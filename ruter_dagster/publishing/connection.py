"""The connection to a Kafka cluster: its settings, the configuration of librdkafka, and the error if no broker answers."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, SecretStr, model_validator

from ruter_dagster.contracts.errors import PermanentFailure

ANSWER_SECONDS = 5.0
RETENTION_HOURS = 7 * 24

SecurityProtocol = Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"]
SaslMechanism = Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"]


class BrokerUnavailable(Exception):
    """No broker answers, or it stopped answering. Nothing was published; a later attempt may succeed."""


class SchemaRegistry(BaseModel):
    """The address of a Schema Registry, and the credentials of basic authentication. The password is never printed."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    url: str = Field(min_length=1)
    username: str | None = None
    password: SecretStr | None = None


class KafkaConnection(BaseModel):
    """A cluster, the credentials, and the topic names of one environment. Secrets are never printed."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    bootstrap_servers: str = Field(min_length=1)
    security_protocol: SecurityProtocol = "PLAINTEXT"
    sasl_mechanism: SaslMechanism | None = None
    sasl_username: str | None = None
    sasl_password: SecretStr | None = None
    ssl_ca_location: str | None = None
    topic_prefix: str = Field(default="", pattern=r"^[a-zA-Z0-9._-]{0,150}$")
    environment: str = "local"
    partitions: int = Field(default=6, ge=1)
    """Number of partitions of a new message topic. An existing topic keeps its own."""
    replication_factor: int = Field(default=1, ge=1)
    retention_hours: int = Field(default=RETENTION_HOURS, ge=-1)
    """How long a new topic keeps its messages; -1 is for ever. Forecasts reach three days ahead."""
    transaction_timeout_seconds: int = Field(default=600, ge=10)
    """Must exceed the longest publication. A broker allows at most 900 s by default."""
    patience_seconds: float = Field(default=60.0, gt=0)
    """How long a publication waits for a broker that has stopped answering."""
    schema_registry: SchemaRegistry | None = None
    """Without one, values are plain JSON."""

    @model_validator(mode="after")
    def _sasl_is_complete(self) -> KafkaConnection:
        credentials = (self.sasl_mechanism, self.sasl_username, self.sasl_password)
        if self.security_protocol.startswith("SASL_") and not all(credentials):
            raise ValueError(
                f"security_protocol {self.security_protocol} needs sasl_mechanism, sasl_username and sasl_password"
            )
        if not self.security_protocol.startswith("SASL_") and any(credentials):
            raise ValueError(
                f"security_protocol {self.security_protocol} takes no SASL settings: use SASL_SSL (or SASL_PLAINTEXT)"
            )
        return self

    def client_config(self) -> dict[str, Any]:
        """librdkafka's configuration, the same for every client. It contains the password in plain text: never log it."""
        config: dict[str, Any] = {
            "bootstrap.servers": self.bootstrap_servers,
            "client.id": f"ruter-dagster-{self.environment}",
            "security.protocol": self.security_protocol,
            # Failures are raised as errors. librdkafka's own lines on stderr would only repeat them.
            "log_level": 0,
        }
        if self.sasl_mechanism and self.sasl_username and self.sasl_password:
            config["sasl.mechanism"] = self.sasl_mechanism
            config["sasl.username"] = self.sasl_username
            config["sasl.password"] = self.sasl_password.get_secret_value()
        if self.ssl_ca_location:
            config["ssl.ca.location"] = self.ssl_ca_location
        return config

    def unavailable(self, reason: object) -> BrokerUnavailable:
        """The error if no broker answers. It names both ways to get one."""
        return BrokerUnavailable(
            f"No Kafka broker answers at {self.bootstrap_servers} ({reason}). Start the local one with "
            "`ruter-dagster broker`, or name a running cluster in KAFKA_BOOTSTRAP_SERVERS."
        )


def require_broker(connection: KafkaConnection, timeout: float = ANSWER_SECONDS) -> dict[str, int]:
    """Returns the number of partitions of each topic of the cluster.

    Raises `BrokerUnavailable` if no broker answers within `timeout` seconds, `PermanentFailure` if it refuses the
    credentials or the certificate.
    """
    from confluent_kafka import KafkaException
    from confluent_kafka.admin import AdminClient

    reported: list[Any] = []
    config: dict[str, Any] = connection.client_config() | {"error_cb": reported.append}
    admin = AdminClient(config)
    try:
        topics = admin.list_topics(timeout=timeout).topics
    except KafkaException as error:
        admin.poll(0)
        raise _refusal(connection, reported) or connection.unavailable(error.args[0].str()) from error
    return {name: len(topic.partitions) for name, topic in topics.items()}


def _refusal(connection: KafkaConnection, reported: list[Any]) -> PermanentFailure | None:
    from confluent_kafka import KafkaError

    for error in reported:
        if error.code() in (KafkaError._AUTHENTICATION, KafkaError._SSL):
            return PermanentFailure(
                f"The Kafka broker at {connection.bootstrap_servers} refused the connection "
                f"({connection.security_protocol}, user {connection.sasl_username}): {error.str()}. "
                "Check the SASL and TLS settings."
            )
    return None
