"""The process of the job `publish` is killed at random moments. A repeat leaves one marker and one row, and each status once."""

from __future__ import annotations

import time
from pathlib import Path
from random import Random

import pytest

from ruter_dagster.publishing.broker import Broker
from tests.jobs import job_process
from tests.jobs.corrections import PUBLISH, Corrections

pytestmark = pytest.mark.extended

PROGRESS = "Publishing: "
"""The job prints it when a batch of messages is sent. Statuses, marker, commit and the row of the table follow."""
CHANCE = Random(18)
WAITS = [CHANCE.uniform(0, 0.6) for _ in range(6)]
"""Seconds from the job's progress line to the kill."""


def kill_while_publishing(folder: Path, seconds: float, variables: dict[str, str]) -> None:
    with job_process.start(PUBLISH, folder, **variables) as job:
        assert job.stdout
        if any(PROGRESS in line for line in job.stdout):
            time.sleep(seconds)
        job.kill()


def test_killed_job_publishes_each_correction_once(
    tmp_path: Path, kafka_broker: Broker, topic_prefix: str
) -> None:
    corrections = Corrections(tmp_path, kafka_broker.bootstrap_servers, topic_prefix)
    for number, seconds in enumerate(WAITS):
        corrections.write(number)
        kill_while_publishing(tmp_path, seconds, corrections.variables)
        exit_code, printed = job_process.run(PUBLISH, tmp_path, **corrections.variables)
        assert exit_code == 0, printed
        corrections.assert_published_once(number)
