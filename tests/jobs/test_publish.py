"""The publish job records each publication, and says what became of each issue date."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from ruter_dagster.contracts.errors import PermanentFailure
from ruter_dagster.contracts.jobs import Publish
from ruter_dagster.contracts.tables import LOAD_FORECASTS
from ruter_dagster.jobs import publish
from ruter_dagster.jobs.context import JobContext
from ruter_dagster.publishing.broker import Broker
from ruter_dagster.publishing.cluster import cluster_connection
from ruter_dagster.publishing.consumer import read_markers
from ruter_dagster.publishing.read_back import read_back
from ruter_dagster.publishing.status_messages import read_statuses
from ruter_dagster.storage.publications import newest_publication, publications_of, read_published
from tests.jobs.demo_jobs import context_of
from tests.publishing.samples import ISSUE_DATE, load_forecasts


class Job:
    """Writes forecasts and publishes them on the tests' broker."""

    def __init__(self, folder: Path, broker: Broker, prefix: str) -> None:
        self._folder = folder
        self._kafka = {
            "kafka_bootstrap_servers": broker.bootstrap_servers,
            "kafka_topic_prefix": prefix,
            "environment": prefix.rstrip("."),
        }
        self.reports: list[dict[str, Any]] = []

    def context(self, **parameters: Any) -> JobContext:
        context = context_of(
            Publish(issued_at="04:30", **{"dates": (ISSUE_DATE,)} | parameters), self._folder
        )
        context.settings = context.settings.model_copy(update=self._kafka)
        return context

    def write(self, forecasts: pl.DataFrame) -> str:
        dates = forecasts["issue_date"].unique().to_list()
        written = self.context().store.write(LOAD_FORECASTS, forecasts, dates, code_version="1")
        return written.hashes[dates[0]]

    def publish(self, **parameters: Any) -> str:
        """Runs the job, and returns what it reports as outcome."""
        context = self.context(**parameters)
        publish.run(context.parameters, context)  # pyright: ignore[reportArgumentType]
        return self.reports[-1]["outcome"]


@pytest.fixture
def job(tmp_path: Path, kafka_broker: Broker, topic_prefix: str, monkeypatch: pytest.MonkeyPatch) -> Job:
    job = Job(tmp_path, kafka_broker, topic_prefix)
    monkeypatch.setattr(
        "ruter_dagster.jobs.pipes.Reporter.materialised",
        lambda _, asset, **metadata: job.reports.append(metadata),
    )
    return job


def test_publication_is_recorded_once(job: Job, caplog: pytest.LogCaptureFixture) -> None:
    version = job.write(load_forecasts(160))
    with caplog.at_level("INFO", "ruter_dagster.jobs"):
        assert job.publish() == f"{ISSUE_DATE}: published 8 journeys, 0 tombstones"
    assert caplog.messages[-1] == f"Forecasts of {ISSUE_DATE}: published 8 journeys, 0 tombstones"
    store = job.context().store
    (first,) = publications_of(store, ISSUE_DATE)
    assert (first.content_hash, first.journeys, first.calls, first.tombstones) == (version, 8, 160, 0)
    assert (first.degraded, first.supersedes) == (False, None)

    time = f"{first.published_at:%Y-%m-%d %H:%M:%S}"
    assert job.publish() == (
        f"{ISSUE_DATE}: already published on {time} UTC, version {version}; nothing was sent"
    )
    assert publications_of(store, ISSUE_DATE) == [first]


def test_commit_without_its_row_is_recorded_by_a_repeat(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    job.write(load_forecasts(80))

    def killed(*_: Any, **__: Any) -> None:
        raise SystemExit

    with monkeypatch.context() as dying, pytest.raises(SystemExit):
        dying.setattr(publish, "record_publication", killed)
        job.publish()
    store = job.context().store
    assert newest_publication(store) is None
    assert "already published" in job.publish()
    (marker,) = read_markers(cluster_connection(job.context().settings)).values()
    recorded = newest_publication(store)
    assert recorded and recorded.publication_id == marker.publication_id
    assert recorded.published_at == marker.published_at


def test_missing_row_is_recorded_before_its_correction(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    forecasts = load_forecasts(80)
    version = job.write(forecasts)

    def killed(*_: Any, **__: Any) -> None:
        raise SystemExit

    with monkeypatch.context() as dying, pytest.raises(SystemExit):
        dying.setattr(publish, "record_publication", killed)
        job.publish()
    job.write(forecasts.with_columns(mean=pl.col("mean") + 3))
    job.publish()
    first, second = publications_of(job.context().store, ISSUE_DATE)
    assert (first.content_hash, first.calls, first.supersedes) == (version, 80, None)
    assert first.thresholds_version == second.thresholds_version != "unknown"
    assert second.supersedes == first.publication_id


def test_correction_sends_what_changed_and_is_what_channels_read(job: Job) -> None:
    forecasts = load_forecasts(160)
    job.write(forecasts)
    job.publish()
    trip = forecasts["trip_id"][0]
    one = (pl.col("trip_id") == trip) & (pl.col("horizon_days") == 1)
    other = (pl.col("trip_id") == trip) & (pl.col("horizon_days") == 2)
    failed = forecasts.filter(~other).with_columns(
        mean=pl.when(one).then(pl.col("mean") + 3).otherwise("mean")
    )
    job.write(failed)

    assert job.publish() == f"{ISSUE_DATE}: published 1 of 7 journeys, 1 tombstones"

    store = job.context().store
    first, second = publications_of(store, ISSUE_DATE)
    assert (second.supersedes, second.tombstones) == (first.publication_id, 1)
    assert newest_publication(store) == second
    assert read_published(store, second, ["mean"])["mean"].sum() == pytest.approx(failed["mean"].sum())
    assert read_published(store, first).height == 160
    read = read_back(cluster_connection(job.context().settings), second.publication_id, ISSUE_DATE)
    assert read.faults(failed) == []
    assert job.reports[-1]["dates"][ISSUE_DATE].numbers == {"journeys": 7, "messages": 1, "tombstones": 1}


def test_older_issue_date_is_not_published(job: Job) -> None:
    forecasts, next_date = load_forecasts(80), ISSUE_DATE + timedelta(1)
    job.write(forecasts)
    job.write(forecasts.with_columns(issue_date=pl.lit(next_date)))
    job.publish(dates=(next_date,))
    newest = newest_publication(job.context().store)
    assert newest

    assert job.publish() == (
        f"{ISSUE_DATE}: not published, because consumers read the newer issue date {next_date} already "
        f"(publication {newest.publication_id})"
    )
    assert job.reports[-1]["superseded"]["raw_value"] == [ISSUE_DATE.isoformat()]
    assert newest_publication(job.context().store, ISSUE_DATE) is None


def test_dates_are_published_in_their_order(job: Job) -> None:
    forecasts, next_date = load_forecasts(80), ISSUE_DATE + timedelta(1)
    job.write(forecasts)
    job.write(forecasts.with_columns(issue_date=pl.lit(next_date)))
    assert "not published" not in job.publish(dates=(next_date, ISSUE_DATE))
    assert list(job.reports[-1]["dates"]) == [ISSUE_DATE, next_date]


def test_failed_model_makes_the_publication_degraded(job: Job) -> None:
    failed = load_forecasts(80).with_columns(
        # Of one day only: any forecast that replaces the model is enough.
        reasons=pl.when(horizon_days=1).then(pl.lit("event modelFailed")).otherwise(pl.lit("")),
    )
    job.write(failed)
    job.publish()
    newest = newest_publication(job.context().store)
    assert newest and newest.degraded
    job.write(load_forecasts(80))
    job.publish()
    newest = newest_publication(job.context().store)
    assert newest and not newest.degraded
    statuses = read_statuses(cluster_connection(job.context().settings))
    assert [status.status for status in statuses] == ["degraded", "published", "recovered"]
    assert statuses[-1].publication_id == newest.publication_id


def test_levels_of_other_thresholds_are_not_published(job: Job) -> None:
    job.write(load_forecasts(80).with_columns(thresholds_version=pl.lit("other")))
    with pytest.raises(
        PermanentFailure, match=r"by thresholds other, .* Materialise forecasts/load_forecasts"
    ):
        job.publish()
