"""Sends measurements as DogStatsD datagrams to DataDog's agent."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterable

from ruter_dagster.contracts.metrics import Measurement

log = logging.getLogger("ruter_dagster.metrics")


def send_datagrams(measurements: Iterable[Measurement], environment: str, host: str, port: int) -> None:
    """Sends each measurement by UDP, with the tags `env` and, of an asset, `asset`.

    Never raises: a host that is unknown or does not listen is logged, and the values are lost.
    """
    from datadog.dogstatsd.base import DogStatsd

    client = DogStatsd(
        host, port, disable_telemetry=True, disable_buffering=True, origin_detection_enabled=False
    )
    send = {"count": client.increment, "gauge": client.gauge, "distribution": client.distribution}
    try:
        for item in measurements:
            if math.isfinite(item.value):
                tags = [f"env:{environment}", *([f"asset:{item.asset}"] if item.asset else [])]
                send[item.metric.kind](item.metric.statsd_name, item.value, tags=tags)
    except OSError as error:
        log.warning("Metrics were not sent to DogStatsD at %s:%s: %s", host, port, error)
    finally:
        client.close_socket()
