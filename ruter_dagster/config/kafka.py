"""Settings of the Kafka cluster. How a publication uses them belongs in publishing/connection.py."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Literal

from pydantic import AliasChoices, Field, SecretStr, field_validator, model_validator
from pydantic_settings import (
    BaseSettings,
    DotEnvSettingsSource,
    EnvSettingsSource,
    PydanticBaseSettingsSource,
)

_SERVER = re.compile(r"(?:\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9_.-]+):(\d{1,5})")
_USUAL_PORT = 9092


class KafkaSettings(BaseSettings):
    """The cluster, the connection to it, and the names of topics."""

    kafka_bootstrap_servers: str | None = Field(
        None,
        validation_alias=AliasChoices("KAFKA_BOOTSTRAP_SERVERS", "RUTER_KAFKA_BOOTSTRAP_SERVERS"),
        description="Brokers of a Kafka cluster. Default: the local broker of `ruter-dagster broker`",
        json_schema_extra={"allowed": "host:port,host:port"},
    )
    kafka_security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = Field(
        "PLAINTEXT", description="Protocol of the connection; SSL and SASL_SSL use TLS"
    )
    kafka_sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] | None = Field(
        None, description="SASL mechanism; SASL also needs a user and a password"
    )
    kafka_sasl_username: str | None = Field(None, description="SASL user")
    kafka_sasl_password: SecretStr | None = Field(None, description="SASL password; never printed")
    kafka_ssl_ca_location: Path | None = Field(
        None, description="File of the certificate authority, if the system does not know it"
    )
    kafka_topic_prefix: str | None = Field(
        None,
        pattern=r"^[a-zA-Z0-9._-]{1,100}$",
        description="Prefix of topics. Default: the environment and a dot",
    )
    kafka_replication: int = Field(1, ge=1, le=5, description="Replicas of new topics")

    schema_registry_url: str | None = Field(
        None,
        pattern=r"^https?://\S+$",
        description="Schema Registry; messages then have Confluent's wire format. Default: none, and plain JSON",
        json_schema_extra={"allowed": "http(s)://host:port"},
    )
    schema_registry_username: str | None = Field(None, description="User of the Schema Registry")
    schema_registry_password: SecretStr | None = Field(
        None, description="Password of the Schema Registry; never printed"
    )

    @field_validator("kafka_bootstrap_servers")
    @classmethod
    def _check_servers(cls, value: str | None) -> str | None:
        servers = [server.strip() for server in (value or "").split(",") if server.strip()]
        for server in servers:
            match = _SERVER.fullmatch(server)
            if match is None or not 1 <= int(match[1]) <= 65535:
                raise ValueError(f"{server} is not host:port.{_suggest_port(server)}")
        return ",".join(servers) or None

    @field_validator("schema_registry_url", mode="before")
    @classmethod
    def _check_registry_url(cls, value: Any) -> Any:
        if "@" in str(value):
            raise ValueError(
                "must have no user and no password; set RUTER_SCHEMA_REGISTRY_USERNAME and RUTER_SCHEMA_REGISTRY_PASSWORD"
            )
        return value

    @model_validator(mode="after")
    def _check_sasl(self) -> KafkaSettings:
        if self.kafka_security_protocol.startswith("SASL") and not (
            self.kafka_sasl_mechanism and self.kafka_sasl_username and self.kafka_sasl_password
        ):
            raise ValueError(
                f"RUTER_KAFKA_SECURITY_PROTOCOL={self.kafka_security_protocol} needs RUTER_KAFKA_SASL_MECHANISM, "
                "RUTER_KAFKA_SASL_USERNAME and RUTER_KAFKA_SASL_PASSWORD"
            )
        return self

    @model_validator(mode="after")
    def _check_schema_registry(self) -> KafkaSettings:
        if bool(self.schema_registry_username) != bool(self.schema_registry_password):
            raise ValueError(
                "The Schema Registry needs both RUTER_SCHEMA_REGISTRY_USERNAME and RUTER_SCHEMA_REGISTRY_PASSWORD, or neither"
            )
        return self

    def broker_faults(self) -> list[str]:
        """Reasons why a remote job cannot reach the cluster, one line each."""
        if self.kafka_bootstrap_servers:
            return []
        return [
            "  KAFKA_BOOTSTRAP_SERVERS is not set: jobs in SageMaker cannot reach a broker of this machine"
        ]


def _suggest_port(server: str) -> str:
    """Suggests the server with Kafka's usual port; empty if the server is not a plain host name."""
    return f" Did you mean {server}:{_USUAL_PORT}?" if re.fullmatch(r"[A-Za-z0-9_.-]+", server) else ""


class EmptyPrefix(PydanticBaseSettingsSource):
    """Source that keeps an empty topic prefix, so that it is refused. It could mean no prefix, or the default prefix."""

    def __init__(self, settings_cls: type[BaseSettings], dotenv: Any) -> None:
        super().__init__(settings_cls)
        self._sources = (
            EnvSettingsSource(settings_cls, env_ignore_empty=False),
            DotEnvSettingsSource(settings_cls, dotenv.env_file, env_ignore_empty=False),
        )

    def get_field_value(self, field: Any, field_name: str) -> tuple[Any, str, bool]:
        return None, field_name, False

    def __call__(self) -> dict[str, Any]:
        prefixes = [source().get("kafka_topic_prefix") for source in self._sources]
        return {"kafka_topic_prefix": ""} if "" in prefixes else {}
