"""The connection to the Kafka cluster that the settings name, else to the local broker that runs on this source's data."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from ruter_dagster.config.settings import Settings
from ruter_dagster.contracts.certificates import require_certificates
from ruter_dagster.contracts.errors import PermanentFailure
from ruter_dagster.publishing.broker import join_broker, running_broker
from ruter_dagster.publishing.connection import RETENTION_HOURS, KafkaConnection, SchemaRegistry


@contextmanager
def open_cluster_connection(settings: Settings) -> Iterator[KafkaConnection]:
    """Same as `cluster_connection`. A local broker keeps running until the block ends, even if its starter ends earlier."""
    broker = None if settings.kafka_bootstrap_servers else join_broker(settings.source_dir / "broker")
    try:
        yield cluster_connection(settings)
    finally:
        if broker:
            broker.stop()


def cluster_connection(settings: Settings) -> KafkaConnection:
    """Raises `PermanentFailure` if the settings name no cluster and no local broker runs. The message names both ways to get one."""
    broker_dir = settings.source_dir / "broker"
    servers = settings.kafka_bootstrap_servers or running_broker(broker_dir)
    if servers is None:
        raise PermanentFailure(
            f"No Kafka broker: KAFKA_BOOTSTRAP_SERVERS is not set, and no local broker runs on {broker_dir}. Start one with "
            "`ruter-dagster broker` (`make dev` also starts it), or name a cluster in KAFKA_BOOTSTRAP_SERVERS."
        )
    ca_file = settings.kafka_ssl_ca_location
    return KafkaConnection(
        bootstrap_servers=servers,
        security_protocol=settings.kafka_security_protocol,
        sasl_mechanism=settings.kafka_sasl_mechanism,
        sasl_username=settings.kafka_sasl_username,
        sasl_password=settings.kafka_sasl_password,
        ssl_ca_location=require_certificates("RUTER_KAFKA_SSL_CA_LOCATION", ca_file) if ca_file else None,
        topic_prefix=settings.topic_prefix,
        environment=settings.environment,
        replication_factor=settings.kafka_replication,
        # A publication is never sent twice. On a laptop it must stay readable, even weeks later.
        retention_hours=-1 if settings.environment == "local" else RETENTION_HOURS,
        schema_registry=_schema_registry(settings),
    )


def _schema_registry(settings: Settings) -> SchemaRegistry | None:
    if settings.schema_registry_url is None:
        return None
    return SchemaRegistry(
        url=settings.schema_registry_url,
        username=settings.schema_registry_username,
        password=settings.schema_registry_password,
    )
