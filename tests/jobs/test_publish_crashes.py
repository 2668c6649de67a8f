"""The process of the job `publish` is killed at random moments. A repeat leaves one marker and one row, and each status once."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from pathlib import Path
from random import Random

import polars as pl
import pytest

from ruter_dagster.contracts.jobs import Publish
from ruter_dagster.contracts.tables import LOAD_FORECASTS
from ruter_dagster.publishing.broker import Broker
from ruter_dagster.publishing.cluster import cluster_connection
from ruter_dagster.publishing.consumer import read_markers
from ruter_dagster.publishing.read_back import read_back
from ruter_dagster.publishing.status_messages import read_statuses, send_due_statuses
from ruter_dagster.storage.publications import publications_of, read_published
from tests.jobs import job_process
from tests.jobs.demo_jobs import context_of
from tests.publishing.samples import ISSUE_DATE, load_forecasts

pytestmark = pytest.mark.extended

PUBLISH = Publish(dates=(ISSUE_DATE,), issued_at="04:30")
EXPECTED_BY = datetime(2026, 11, 20, 5, tzinfo=UTC)
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
    variables = {
        "KAFKA_BOOTSTRAP_SERVERS": kafka_broker.bootstrap_servers,
        "RUTER_KAFKA_TOPIC_PREFIX": topic_prefix,
    }
    context = context_of(PUBLISH, tmp_path / "state")
    kafka = {"kafka_bootstrap_servers": kafka_broker.bootstrap_servers, "kafka_topic_prefix": topic_prefix}
    connection = cluster_connection(context.settings.model_copy(update=kafka))
    send_due_statuses(connection, ISSUE_DATE, EXPECTED_BY, datetime(2026, 11, 20, 6, tzinfo=UTC))

    for number, seconds in enumerate(WAITS):
        forecasts = load_forecasts(400).with_columns(pl.col("mean") + number)
        context.store.write(LOAD_FORECASTS, forecasts, [ISSUE_DATE], code_version="1")
        kill_while_publishing(tmp_path, seconds, variables)
        exit_code, printed = job_process.run(PUBLISH, tmp_path, **variables)
        assert exit_code == 0, printed

        markers = list(read_markers(connection).values())
        assert len(markers) == number + 1
        ids = [marker.publication_id for marker in markers]
        publications = publications_of(context.store, ISSUE_DATE)
        assert [publication.publication_id for publication in publications] == ids
        statuses = [(status.status, status.publication_id) for status in read_statuses(connection)]
        assert statuses[:4] == [
            ("expected", None),
            ("late", None),
            ("published", ids[0]),
            ("recovered", ids[0]),
        ]
        assert statuses[4:] == [("published", publication_id) for publication_id in ids[1:]]
        assert read_back(connection, ids[-1], ISSUE_DATE).faults(forecasts) == []
        assert read_published(context.store, publications[-1]).height == 400
