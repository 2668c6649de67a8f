"""Publisher, broker and process group are killed at random moments. Then consumers read each journey's newest forecast exactly once."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest

from ruter_dagster.publishing.broker import Broker, _is_alive, local_broker
from ruter_dagster.publishing.connection import KafkaConnection
from tests.publishing.crash_at_random import publish_number
from tests.publishing.crash_checks import assert_published_once

pytestmark = pytest.mark.extended

REPOSITORY = Path(__file__).parents[2]
PREFIX = "crashes."
CHANCE = Random(18)
CALLS = 210
"""A publication of all journeys makes about this number of calls to the producer."""
VICTIMS = ["job"] * 10 + ["worker"] * 6 + ["broker"] * 4
CHANCE.shuffle(VICTIMS)
MOMENTS = [(number, victim, CHANCE.random()) for number, victim in enumerate(VICTIMS, 1)]


class Cluster:
    """A broker that is started again after it was killed, and a connection to it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.broker = local_broker(folder)

    @property
    def connection(self) -> KafkaConnection:
        return KafkaConnection(
            bootstrap_servers=self.broker.bootstrap_servers,
            topic_prefix=PREFIX,
            environment=PREFIX.rstrip("."),
            partitions=3,
        )

    def restart_if_killed(self, victim: str) -> None:
        if victim == "broker":
            while _is_alive(self.broker.pid):
                time.sleep(0.05)
            self.broker.stop()
            self.broker: Broker = local_broker(self._folder)

    def crash(self, number: int, victim: str, moment: float) -> None:
        """Publishes in another process, which does not survive."""
        command = [
            sys.executable, "-m", "tests.publishing.crash_at_random", self.broker.bootstrap_servers, PREFIX,
            str(number), victim, str(1 + int(moment * CALLS)), str(self.broker.pid),
        ]  # fmt: skip
        if victim != "worker":
            subprocess.run(command, cwd=REPOSITORY, check=False)
            return
        # The shell is the worker: its job is in the same process group.
        worker = subprocess.Popen(
            ["/bin/sh", "-c", '"$@"; exit', "worker", *command],
            cwd=REPOSITORY, stdout=subprocess.PIPE, start_new_session=True,
        )  # fmt: skip
        assert worker.stdout is not None
        worker.stdout.readline()
        time.sleep(moment * 1.5)
        os.killpg(worker.pid, signal.SIGKILL)
        worker.wait()
        worker.stdout.close()


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    cluster = Cluster(tmp_path_factory.mktemp("crashes"))
    publish_number(0, cluster.connection)
    yield cluster
    cluster.broker.stop()


@pytest.mark.parametrize(("number", "victim", "moment"), MOMENTS, ids=lambda value: str(value)[:6])
def test_crash_loses_and_repeats_nothing(cluster: Cluster, number: int, victim: str, moment: float) -> None:
    cluster.crash(number, victim, moment)
    cluster.restart_if_killed(victim)

    marker = publish_number(number, cluster.connection).marker

    assert assert_published_once(cluster.connection, number)[-1] == marker
