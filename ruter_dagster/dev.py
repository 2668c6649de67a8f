"""`ruter-dagster dev`: Dagster's UI and daemon with a Kafka broker beside them, for as long as they run."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from contextlib import ExitStack

from ruter_dagster.settings import Settings


def serve_dagster(settings: Settings, port: int) -> int:
    """Runs `dagster dev` on `port` of the loopback interface to its end and returns its exit code; the broker ends with it."""
    with ExitStack() as stack:
        environment = {**os.environ}
        # Jobs in SageMaker would not reach a broker of this machine.
        if settings.kafka_bootstrap_servers is None and not settings.runs_in_sagemaker:
            from ruter_dagster.publishing.broker import local_broker

            broker = stack.enter_context(local_broker(settings.source_dir / "broker"))
            environment["KAFKA_BOOTSTRAP_SERVERS"] = broker.bootstrap_servers
            print(f"Apache Kafka at {broker.bootstrap_servers}, data in {broker.data_dir}", flush=True)
        # A shell gives its background commands an ignored SIGINT, which dagster dev would inherit and never end.
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.default_int_handler)
        process = subprocess.Popen(
            [sys.executable, "-m", "dagster", "dev", "-w", "workspace.yaml", "-p", str(port)], env=environment
        )
        try:
            return process.wait()
        except KeyboardInterrupt:
            process.terminate()
            return process.wait()
