"""The publications of forecasts, and the forecasts that each published. Feeds and pages read them here.

So every channel shows what consumers read on Kafka, also if the forecasts were computed again and not yet published.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from datetime import date

import polars as pl

from ruter_dagster.contracts.errors import PermanentFailure
from ruter_dagster.contracts.tables import LOAD_FORECASTS, PUBLICATIONS
from ruter_dagster.contracts.validation import polars_schema
from ruter_dagster.storage.publication_order import Publication, read_publications
from ruter_dagster.storage.snapshots import TableSnapshot
from ruter_dagster.storage.tables import TableStore


def publications_of(store: TableStore, issue_date: date) -> list[Publication]:
    """The publications of an issue date, in the order of publication."""
    return read_publications(store.snapshot(PUBLICATIONS), [issue_date]).get(issue_date, [])


def newest_publication(store: TableStore, issue_date: date | None = None) -> Publication | None:
    """The newest publication of `issue_date`, by default of the newest published issue date; None if there is none."""
    dates = [issue_date] if issue_date else store.dates(PUBLICATIONS)[-1:]
    publications = publications_of(store, dates[0]) if dates else []
    return publications[-1] if publications else None


def record_publication(store: TableStore, publication: Publication, *, code_version: str = "1") -> None:
    """Adds a publication to the table. A publication that the table has already stays as it is."""
    recorded = publications_of(store, publication.issue_date)
    if publication.publication_id in [other.publication_id for other in recorded]:
        return
    rows = [asdict(row) for row in (*recorded, publication)]
    frame = pl.DataFrame(rows, schema=polars_schema(PUBLICATIONS))
    store.write(PUBLICATIONS, frame, [publication.issue_date], code_version=code_version)


def read_published(
    store: TableStore,
    publication: Publication,
    columns: Sequence[str] | None = None,
    where: pl.Expr | None = None,
) -> pl.DataFrame:
    """The published forecasts (contract LOAD_FORECASTS), sorted by key. `where` keeps the rows for which it is true.

    Raises `PermanentFailure` if their snapshot has expired and the rows of the issue date were replaced since.
    """
    snapshot = find_published_snapshot(
        store, publication.issue_date, publication.snapshot_id, publication.content_hash
    )
    if snapshot is None:
        raise PermanentFailure(
            f"The forecasts of publication {publication.publication_id} ({publication.issue_date}) no longer exist: snapshot "
            f"{publication.snapshot_id} of {LOAD_FORECASTS.name} has expired, and the rows of that date were replaced. "
            "Publish the present forecasts: materialise forecasts/published_forecasts for that date."
        )
    return snapshot.read([publication.issue_date], columns, where=where)


def find_published_snapshot(
    store: TableStore, issue_date: date, snapshot_id: int, content_hash: str
) -> TableSnapshot | None:
    """A snapshot of forecasts.load_forecasts that has the published rows of `issue_date`; None if none has them any more."""
    current = store.snapshot(LOAD_FORECASTS)
    if current.versions([issue_date]).get(issue_date) == content_hash:
        return current
    loaded = store.load(LOAD_FORECASTS)
    if loaded is None or loaded.snapshot_by_id(snapshot_id) is None:
        return None
    pinned = store.snapshot(LOAD_FORECASTS, snapshot_id)
    return pinned if pinned.versions([issue_date]).get(issue_date) == content_hash else None
