"""The Kafka cluster that the settings name, else the local broker that runs on this source's data."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from ruter_dagster.config.settings import Settings
from ruter_dagster.contracts.certificates import require_certificates
from ruter_dagster.contracts.errors import PermanentFailure
from ruter_dagster.publishing.broker import join_broker, running_broker
from ruter_dagster.publishing.connection import KafkaConnection


@contextmanager
def connected(settings: Settings) -> Iterator[KafkaConnection]:
    """As `connection_of`; a local broker runs on until the block has ended, even if who started it ends."""
    broker = None if settings.kafka_bootstrap_servers else join_broker(settings.source_dir / "broker")
    try:
        yield connection_of(settings)
    finally:
        if broker:
            broker.stop()


def connection_of(settings: Settings) -> KafkaConnection:
    """Raises PermanentFailure where no cluster is named and no local broker runs; it names both ways to have one."""
    broker_dir = settings.source_dir / "broker"
    servers = settings.kafka_bootstrap_servers or running_broker(broker_dir)
    if servers is None:
        raise PermanentFailure(
            f"No Kafka broker: KAFKA_BOOTSTRAP_SERVERS is not set, and none runs on {broker_dir}. Start the local one with "
            "`ruter-dagster broker` (or work in `make dev`, which runs it), or name a cluster in KAFKA_BOOTSTRAP_SERVERS."
        )
    ca = settings.kafka_ssl_ca_location
    return KafkaConnection(
        bootstrap_servers=servers,
        security_protocol=settings.kafka_security_protocol,
        sasl_mechanism=settings.kafka_sasl_mechanism,
        sasl_username=settings.kafka_sasl_username,
        sasl_password=settings.kafka_sasl_password,
        ssl_ca_location=require_certificates("RUTER_KAFKA_SSL_CA_LOCATION", ca) if ca else None,
        topic_prefix=settings.topic_prefix,
        environment=settings.environment,
        replication_factor=settings.kafka_replication,
        # A publication is never sent twice: on a laptop, where weeks may pass, it must stay readable.
        **({"retention_hours": -1} if settings.environment == "local" else {}),
    )
