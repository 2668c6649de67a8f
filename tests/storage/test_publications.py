"""A reader finds the newest publication, and the forecasts that it published."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest

from ruter_dagster.contracts.errors import PermanentFailure
from ruter_dagster.contracts.tables import LOAD_FORECASTS, PUBLICATIONS
from ruter_dagster.storage.catalog import local_catalog
from ruter_dagster.storage.publications import (
    Publication,
    newest_publication,
    publications_of,
    read_published,
    record_publication,
)
from ruter_dagster.storage.tables import TableStore
from tests.publishing.samples import ISSUE_DATE, load_forecasts

PUBLISHED_AT = datetime(2026, 11, 20, 3, 31, tzinfo=UTC)


@pytest.fixture
def store(tmp_path: Path) -> TableStore:
    return TableStore(local_catalog(tmp_path))


def publication(issue_date: date = ISSUE_DATE, name: str = "first", minutes: int = 0, **more) -> Publication:
    return Publication(
        issue_date=issue_date,
        publication_id=name,
        content_hash=f"content of {name}",
        snapshot_id=1,
        schema_version=2,
        issued_at=datetime(2026, 11, 20, 3, 30, tzinfo=UTC),
        published_at=PUBLISHED_AT + timedelta(minutes=minutes),
        journeys=7,
        calls=2000,
        tombstones=0,
        thresholds_version="nordic",
        degraded=False,
        **more,
    )


def published(store: TableStore, forecasts: pl.DataFrame, name: str) -> Publication:
    result = store.write(LOAD_FORECASTS, forecasts, [ISSUE_DATE], code_version="1")
    return replace(
        publication(name=name), snapshot_id=result.snapshot_id, content_hash=result.hashes[ISSUE_DATE]
    )


def test_newest_publication_is_that_of_the_newest_issue_date(store: TableStore) -> None:
    assert newest_publication(store) is None
    earlier = publication(ISSUE_DATE - timedelta(1), "of the day before", minutes=60)
    first, correction = publication(), publication(name="correction", minutes=9, supersedes="first")
    for row in (first, earlier, correction):
        record_publication(store, row)
    assert newest_publication(store) == correction
    assert newest_publication(store, earlier.issue_date) == earlier
    assert newest_publication(store, ISSUE_DATE - timedelta(9)) is None
    assert publications_of(store, ISSUE_DATE) == [first, correction]


def test_correction_is_newer_whatever_the_clocks_say(store: TableStore) -> None:
    first = publication(name="b", minutes=60)
    second = publication(name="c", minutes=-60, supersedes="b")
    third = publication(name="a", minutes=30, supersedes="c")
    for row in (third, first, second):
        record_publication(store, row)
    assert publications_of(store, ISSUE_DATE) == [first, second, third]
    assert newest_publication(store) == third


def test_publications_of_two_clusters_are_in_order_of_time(store: TableStore) -> None:
    first, correction = publication(name="z"), publication(name="y", minutes=-9, supersedes="z")
    of_other_cluster = publication(name="x", minutes=5)
    for row in (of_other_cluster, correction, first):
        record_publication(store, row)
    assert publications_of(store, ISSUE_DATE) == [first, correction, of_other_cluster]


def test_publication_whose_former_was_not_recorded_is_kept(store: TableStore) -> None:
    alone = publication(name="correction", supersedes="lost")
    record_publication(store, alone)
    assert publications_of(store, ISSUE_DATE) == [alone]


def test_published_snapshot_outlives_expiry_by_number(tmp_path: Path) -> None:
    store = TableStore(local_catalog(tmp_path), keep_snapshots=1, keep_for=timedelta(0))
    forecasts = load_forecasts(8)
    first = published(store, forecasts, "first")
    record_publication(store, first)
    for number in range(1, 31):
        published(store, forecasts.with_columns(pl.col("mean") + number), "not published")
    loaded = store.load(LOAD_FORECASTS)
    assert loaded is not None
    assert len(loaded.snapshots()) < 30, "others have expired"
    assert read_published(store, first).equals(forecasts.sort(LOAD_FORECASTS.key))


def test_publication_is_recorded_once(store: TableStore) -> None:
    record_publication(store, publication())
    snapshot = store.current_snapshot(PUBLICATIONS)
    record_publication(store, publication(minutes=5))
    assert publications_of(store, ISSUE_DATE) == [publication()]
    assert store.current_snapshot(PUBLICATIONS) == snapshot


def test_published_rows_are_read_after_a_new_forecast(store: TableStore) -> None:
    forecasts = load_forecasts(80)
    first = published(store, forecasts, "first")
    published(store, forecasts.with_columns(pl.col("mean") + 1), "second")
    rows = read_published(store, first)
    assert rows.equals(forecasts.sort(LOAD_FORECASTS.key))
    columns = ["trip_id", "mean"]
    late = read_published(store, first, columns, where=pl.col("horizon_days") == 3)
    assert late.columns == columns
    assert late.height == 20


def test_rows_of_an_expired_snapshot_are_read_while_they_are_unchanged(store: TableStore) -> None:
    forecasts = load_forecasts(8)
    first = replace(published(store, forecasts, "first"), snapshot_id=123)
    assert read_published(store, first).height == 8
    published(store, forecasts.head(4), "second")
    with pytest.raises(PermanentFailure, match=r"snapshot 123 of .* has expired"):
        read_published(store, first)
