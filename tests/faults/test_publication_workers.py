"""Run worker, step, or all of Dagster are killed at random moments of a publication. The retry leaves each forecast on Kafka once."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from random import Random

import pytest
from dagster import DagsterRunStatus

from ruter_dagster.contracts.jobs import PUBLISHED_FORECASTS
from ruter_dagster.publishing.broker import Broker
from tests.chain.local_chain import foreign_variables
from tests.chain.small_demo import processes_with, run
from tests.faults.deployment import Deployment, running
from tests.jobs.corrections import Corrections
from tests.publishing.samples import ISSUE_DATE

pytestmark = pytest.mark.extended

CHANCE = Random(18)
VICTIMS = ("worker", "step", "everything")
MOMENTS = [(victim, CHANCE.uniform(0.3, 1)) for victim in VICTIMS]
"""What is killed, and the part of the job's usual duration that passes before. Imports are its first half."""
ATTEMPTS = 3
"""Number of runs until a kill comes while the job runs. It comes earlier each time."""


class PublishingDeployment(Deployment):
    """A whole Dagster whose job publishes the forecasts of `corrections` as a local process."""

    def __init__(self, folder: Path, corrections: Corrections) -> None:
        super().__init__(folder, double=None, job="forecasting", asset=PUBLISHED_FORECASTS)  # type: ignore[arg-type]
        self.corrections = corrections
        self.job_seconds = 0.0
        self.number = -1
        """Number of the newest correction."""

    def prepare(self) -> dict[str, str]:
        home = super().prepare()["DAGSTER_HOME"]
        return self.corrections.variables | {
            "DAGSTER_HOME": home,
            "RUTER_ENVIRONMENT": "local",
            "RUTER_LAUNCHER": "local",
            "RUTER_SOURCE": "demo",
            "RUTER_STATE_DIR": str(self.folder / "state"),
        }

    def publishing(self, run_id: str) -> bool:
        """Whether the run's job is a process now."""
        return bool(processes_with(f"RUTER_CONTAINER_BASE={self.folder}/state/demo/jobs/{run_id}"))

    def begin(self) -> str:
        """Launches a run that publishes the next correction, and waits until its job begins. Returns the id of the run."""
        self.number += 1
        self.corrections.write(self.number)
        run_id = self.launch(ISSUE_DATE)
        self.until(lambda: self.publishing(run_id), "the job", every=0.01)
        return run_id

    def kill_publishing_run(self, victim: str, moment: float) -> str:
        """Begins runs until one is killed while its job runs. Returns the id of the killed run."""
        for attempt in range(1, ATTEMPTS + 1):
            run_id = self.begin()
            time.sleep(moment / attempt * self.job_seconds)
            if self.publishing(run_id):
                self.kill_process(run_id, victim)
                return run_id
            self.complete(run_id)
        raise AssertionError(f"The job ended before the kill in {ATTEMPTS} runs")

    def kill_process(self, run_id: str, victim: str) -> None:
        """Kills the run's `worker` or `step`, or `everything`: then Dagster is started again."""
        if victim == "everything":
            self.kill()
            self.up()
            return
        pid = self.worker(run_id) if victim == "worker" else self.step(run_id)
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)

    def complete(self, run_id: str) -> None:
        """Waits for the run. If it failed, waits for Dagster's own retry, or retries as a person does."""
        ended = self.wait_for(run_id)
        if ended.status == DagsterRunStatus.SUCCESS:
            return
        if ended.tags.get("dagster/will_retry") == "true":
            assert self.wait_for_retry(run_id).status == DagsterRunStatus.SUCCESS
        else:
            run("ruter-dagster", "retry", run_id)


@pytest.fixture(scope="module")
def dagster(kafka_broker: Broker, tmp_path_factory: pytest.TempPathFactory) -> Iterator[PublishingDeployment]:
    folder = tmp_path_factory.mktemp("deployment")
    corrections = Corrections(folder, kafka_broker.bootstrap_servers, f"test-workers-{os.getpid()}.")
    deployment = PublishingDeployment(folder, corrections)
    with pytest.MonkeyPatch.context() as patch:
        for name in foreign_variables():
            patch.delenv(name)
        with running(deployment, patch):
            yield deployment


def test_run_publishes_once(dagster: PublishingDeployment) -> None:
    run_id = dagster.begin()
    begun = time.monotonic()
    dagster.until(lambda: not dagster.publishing(run_id), "the end of the job", every=0.01)
    dagster.job_seconds = time.monotonic() - begun
    assert dagster.wait_for(run_id).status == DagsterRunStatus.SUCCESS
    dagster.corrections.assert_published_once(0)


@pytest.mark.parametrize(("victim", "moment"), MOMENTS, ids=VICTIMS)
def test_killed_run_publishes_once(dagster: PublishingDeployment, victim: str, moment: float) -> None:
    run_id = dagster.kill_publishing_run(victim, moment)
    dagster.complete(run_id)
    dagster.corrections.assert_published_once(dagster.number)
    assert dagster.materialised(ISSUE_DATE) >= dagster.number + 1
