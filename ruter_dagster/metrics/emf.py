"""CloudWatch's embedded metric format (EMF): JSON lines in a log, from which CloudWatch Logs extracts metrics.

A line goes to standard output, which the container's log driver sends to CloudWatch Logs, or to a CloudWatch agent.
"""

from __future__ import annotations

import json
import math
import os
import socket
import sys
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import urlsplit

from ruter_dagster.contracts.metrics import ASSET, ENVIRONMENT, NAMESPACE, Measurement

MAX_METRICS = 100
"""Most metrics of one document, a limit of the format."""
MAX_AGE = timedelta(days=13)
"""CloudWatch drops values that are older than two weeks."""
AGENT_PORT = 25888
"""The CloudWatch agent's default port."""
TIMEOUT_SECONDS = 5.0
"""The longest wait for an agent. Dagster ends a tick after 60 s."""


def emf_documents(
    measurements: Iterable[Measurement], environment: str, now: datetime
) -> list[dict[str, Any]]:
    """The documents of these measurements: one for each time and asset, with at most `MAX_METRICS` metrics.

    Values that are not finite, or older than `MAX_AGE` at `now`, are left out: CloudWatch would refuse the whole document.
    """
    groups: dict[tuple[int, str | None], list[dict[str, Measurement]]] = {}
    for measurement in measurements:
        if not math.isfinite(measurement.value) or measurement.time < now - MAX_AGE:
            continue
        key = (round(measurement.time.timestamp() * 1000), measurement.asset)
        parts = groups.setdefault(key, [{}])
        # A document has each metric once.
        if measurement.metric.name in parts[-1] or len(parts[-1]) == MAX_METRICS:
            parts.append({})
        parts[-1][measurement.metric.name] = measurement
    return [
        _document(list(part.values()), environment, time, asset)
        for (time, asset), parts in groups.items()
        for part in parts
    ]


def write_documents(documents: Sequence[dict[str, Any]], endpoint: str | None = None) -> None:
    """Writes documents to standard output, or sends them to the agent at `tcp://host:port` or `udp://host:port`.

    Raises OSError if the agent does not take them. By TCP the agent has read everything when this returns. UDP may lose
    documents without an error.
    """
    if not documents:
        return
    lines = [json.dumps(document, separators=(",", ":")).encode() + b"\n" for document in documents]
    if endpoint is None:
        _write_to_stdout(lines)
        return
    address = urlsplit(endpoint)
    target = (address.hostname or "127.0.0.1", address.port or AGENT_PORT)
    send = _send_datagrams if address.scheme == "udp" else _send_stream
    send(lines, target)


def _document(
    measurements: Sequence[Measurement], environment: str, time: int, asset: str | None
) -> dict[str, Any]:
    names = {ENVIRONMENT: environment} | ({ASSET: asset} if asset else {})
    return {
        "_aws": {
            "Timestamp": time,
            # A log group of the agent. CloudWatch Logs ignores it in a container's log.
            "LogGroupName": f"{NAMESPACE}/{environment}",
            "CloudWatchMetrics": list(_directives(measurements)),
        },
        **names,
        **{measurement.metric.name: measurement.value for measurement in measurements},
    }


def _directives(measurements: Sequence[Measurement]) -> Iterator[dict[str, Any]]:
    """One directive for each choice of dimensions among the metrics."""
    for dimensions in dict.fromkeys(measurement.metric.dimensions for measurement in measurements):
        metrics = [m.metric for m in measurements if m.metric.dimensions == dimensions]
        yield {
            "Namespace": NAMESPACE,
            "Dimensions": [list(names) for names in dimensions],
            "Metrics": [{"Name": metric.name, "Unit": metric.unit} for metric in metrics],
        }


def _write_to_stdout(lines: Sequence[bytes]) -> None:
    """Writes each line by one call, so that lines of other threads do not break it."""
    sys.stdout.flush()
    for line in lines:
        os.write(1, line)


def _send_stream(lines: Sequence[bytes], target: tuple[str, int]) -> None:
    """Sends lines by TCP, and waits until the agent closes the connection, because a dead agent's kernel takes bytes too."""
    with socket.create_connection(target, TIMEOUT_SECONDS) as connection:
        connection.sendall(b"".join(lines))
        connection.shutdown(socket.SHUT_WR)
        while connection.recv(1024):
            pass


def _send_datagrams(lines: Sequence[bytes], target: tuple[str, int]) -> None:
    family = socket.getaddrinfo(*target, type=socket.SOCK_DGRAM)[0][0]
    with socket.socket(family, socket.SOCK_DGRAM) as connection:
        for line in lines:
            connection.sendto(line, target)
