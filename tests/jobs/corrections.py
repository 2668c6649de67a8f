"""A state whose forecasts of an issue date are corrected again and again, and what must be true after each publication."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from ruter_dagster.contracts.jobs import Publish
from ruter_dagster.contracts.tables import LOAD_FORECASTS
from ruter_dagster.publishing.cluster import cluster_connection
from ruter_dagster.publishing.status_messages import read_statuses, send_due_statuses
from ruter_dagster.storage.publications import publications_of, read_published
from tests.jobs.demo_jobs import context_of
from tests.publishing.crash_at_random import forecasts_of
from tests.publishing.crash_checks import assert_published_once
from tests.publishing.samples import ISSUE_DATE

PUBLISH = Publish(dates=(ISSUE_DATE,), issued_at="04:30")
_EXPECTED_BY = datetime(2026, 11, 20, 5, tzinfo=UTC)


class Corrections:
    """The state is in `folder`/state. The statuses `expected` and `late` are sent before the first publication."""

    def __init__(self, folder: Path, bootstrap_servers: str, topic_prefix: str) -> None:
        self.variables = {
            "KAFKA_BOOTSTRAP_SERVERS": bootstrap_servers,
            "RUTER_KAFKA_TOPIC_PREFIX": topic_prefix,
        }
        context = context_of(PUBLISH, folder / "state")
        cluster = {"kafka_bootstrap_servers": bootstrap_servers, "kafka_topic_prefix": topic_prefix}
        self.store = context.store
        self.connection = cluster_connection(context.settings.model_copy(update=cluster))
        send_due_statuses(self.connection, ISSUE_DATE, _EXPECTED_BY, datetime(2026, 11, 20, 6, tzinfo=UTC))

    def write(self, number: int) -> None:
        """Replaces the forecasts, from number 0 on."""
        self.store.write(LOAD_FORECASTS, forecasts_of(number), [ISSUE_DATE], code_version="1")

    def assert_published_once(self, number: int) -> None:
        """Each correction up to `number` has one marker, one row and its statuses, and consumers read each journey once."""
        ids = [marker.publication_id for marker in assert_published_once(self.connection, number)]
        publications = publications_of(self.store, ISSUE_DATE)
        assert [publication.publication_id for publication in publications] == ids
        statuses = [(status.status, status.publication_id) for status in read_statuses(self.connection)]
        assert statuses[:4] == [("expected", None), ("late", None), ("published", ids[0]), ("recovered", ids[0])]  # fmt: skip
        assert statuses[4:] == [("published", publication_id) for publication_id in ids[1:]]
        assert read_published(self.store, publications[-1]).height == forecasts_of(number).height
