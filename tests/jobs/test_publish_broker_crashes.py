"""The broker is killed at random times of the job `publish`, also within the commit, and starts again. The job or its repeat publishes once."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from random import Random

import pytest

from ruter_dagster.contracts.container import Container
from ruter_dagster.publishing.broker import Broker, _is_alive, local_broker
from tests.jobs import job_process
from tests.jobs.corrections import PUBLISH, Corrections
from tests.jobs.publish_killing_broker import PHASES

pytestmark = pytest.mark.extended

REPOSITORY = Path(__file__).parents[2]
CHANCE = Random(18)
MOMENTS = [(number, PHASES[number % 2], CHANCE.random()) for number in range(1, 5)]
"""Number of the correction, phase, and the part of the phase's usual duration that passes before the kill."""


class Crashes:
    """A broker that is killed and started again at the same address, and the state whose forecasts are published."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.broker = local_broker(folder / "broker")
        self.corrections = Corrections(folder, self.broker.bootstrap_servers, "crashes.")
        self.seconds: dict[str, float] = {}
        """Usual duration of each phase."""
        self.within_commit = 0
        """Number of brokers that were killed while the commit was under way."""

    def publish(self, phase: str = "none", seconds: float = 0.0) -> tuple[int, str]:
        """Runs the job while the broker is killed, and starts the broker again. Returns exit code and output of the job."""
        Container(self.folder / "ml").write_parameters(PUBLISH)
        with subprocess.Popen(
            [sys.executable, "-m", "tests.jobs.publish_killing_broker", phase, str(seconds), str(self.broker.pid)],
            env=job_process.environment(self.folder, **self.corrections.variables),
            cwd=REPOSITORY, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        ) as job:  # fmt: skip
            while phase in PHASES and job.poll() is None and _is_alive(self.broker.pid):
                time.sleep(0.02)
            self.restart_if_killed()
            printed, _ = job.communicate()
            return job.returncode, printed

    def restart_if_killed(self) -> None:
        if not _is_alive(self.broker.pid):
            self.broker.stop()
            port = int(self.broker.bootstrap_servers.rpartition(":")[2])
            self.broker: Broker = local_broker(self.folder / "broker", port)


@pytest.fixture(scope="module")
def crashes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Crashes]:
    crashes = Crashes(tmp_path_factory.mktemp("crashes"))
    crashes.corrections.write(0)
    code, printed = crashes.publish()
    assert code == 0, printed
    crashes.seconds = {phase: float(re.findall(rf"{phase} ([\d.]+) s", printed)[0]) for phase in PHASES}
    yield crashes
    with suppress(ProcessLookupError):
        os.kill(crashes.broker.pid, signal.SIGTERM)
    crashes.broker.stop()


@pytest.mark.parametrize(("number", "phase", "moment"), MOMENTS, ids=lambda value: str(value)[:6])
def test_killed_broker_loses_and_repeats_nothing(
    crashes: Crashes, number: int, phase: str, moment: float
) -> None:
    crashes.corrections.write(number)
    code, printed = crashes.publish(phase, moment * crashes.seconds[phase])
    assert "broker killed" in printed
    crashes.within_commit += phase == "commit" and "under way: True" in printed

    code, printed = job_process.run(PUBLISH, crashes.folder, **crashes.corrections.variables)
    assert code == 0, printed

    crashes.corrections.assert_published_once(number)
    if number == MOMENTS[-1][0]:
        assert crashes.within_commit, "no broker was killed within a commit"
