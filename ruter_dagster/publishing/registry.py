"""The Schema Registry, if one is configured: registers the schemas, and puts their ids before the values.

A value is then in Confluent's wire format: a zero byte, the schema's id in four bytes, and the JSON text.
"""

from __future__ import annotations

import json

from ruter_dagster.contracts.errors import PermanentFailure
from ruter_dagster.publishing.connection import BrokerUnavailable, KafkaConnection, SchemaRegistry
from ruter_dagster.publishing.messages import schema

_MAGIC = b"\x00"
_PREFIX_BYTES = 5
_NOT_COMPATIBLE = 409
_REFUSED = (401, 403)
_TIMEOUT_SECONDS = 10
_RETRIES = 2


def value_prefix(connection: KafkaConnection, topic: str, name: str) -> bytes:
    """What goes before each value of a topic with schema `name`: empty without a Schema Registry.

    Registers the present schema as subject `<topic>-value`, if it is not registered yet. Raises `PermanentFailure` if the
    registry refuses the schema or the credentials, `BrokerUnavailable` if it does not answer.
    """
    registry = connection.schema_registry
    if registry is None:
        return b""
    return _MAGIC + _register(registry, f"{topic}-value", name).to_bytes(4, "big")


def schema_id(prefix: bytes) -> int | None:
    """The schema's id in a prefix of values; None for values without prefix."""
    return int.from_bytes(prefix[len(_MAGIC) :], "big") if prefix else None


def payload(value: bytes) -> bytes:
    """The JSON text of a value, with or without a schema's id before it."""
    return value[_PREFIX_BYTES:] if value.startswith(_MAGIC) else value


def _register(registry: SchemaRegistry, subject: str, name: str) -> int:
    from confluent_kafka.schema_registry import Schema, SchemaRegistryClient
    from confluent_kafka.schema_registry.error import SchemaRegistryError
    from httpx2 import HTTPError

    text = f"The Schema Registry at {registry.url} did not register {subject}"
    try:
        with SchemaRegistryClient(_config(registry)) as client:
            return client.register_schema(subject, Schema(json.dumps(schema(name)), "JSON"))
    except SchemaRegistryError as error:
        if error.http_status_code >= 500:
            raise BrokerUnavailable(f"{text}: {error}. Nothing was published.") from error
        raise PermanentFailure(f"{text}: {error}. {_remedy(error.http_status_code)}") from error
    except HTTPError as error:
        raise BrokerUnavailable(
            f"{text}: it does not answer ({error}). Check RUTER_SCHEMA_REGISTRY_URL. Nothing was published."
        ) from error


def _config(registry: SchemaRegistry) -> dict[str, object]:
    config: dict[str, object] = {"url": registry.url, "timeout": _TIMEOUT_SECONDS, "max.retries": _RETRIES}
    if registry.username and registry.password:
        config["basic.auth.user.info"] = f"{registry.username}:{registry.password.get_secret_value()}"
    return config


def _remedy(status: int) -> str:
    if status == _NOT_COMPATIBLE:
        return (
            "The subject has a schema with which this one is not compatible. Set the subject's compatibility to FORWARD: "
            "consumers with an older schema read newer messages. Nothing was published."
        )
    if status in _REFUSED:
        return (
            "Check RUTER_SCHEMA_REGISTRY_USERNAME and RUTER_SCHEMA_REGISTRY_PASSWORD. Nothing was published."
        )
    return "Nothing was published."
