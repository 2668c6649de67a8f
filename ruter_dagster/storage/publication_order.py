"""The rows of forecasts.publications in the order of publication, and the snapshots of forecasts that readers need because of them.

The order is that of the offsets on Kafka. The hosts that publish may have clocks that differ, so `supersedes` gives the order
within an issue date, and `published_at` only the order of publications of which none corrects the other.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import date, datetime

from ruter_dagster.contracts.tables import PUBLICATIONS
from ruter_dagster.storage.snapshots import TableSnapshot


@dataclass(frozen=True)
class Publication:
    """One row of forecasts.publications. Times are in UTC."""

    issue_date: date
    publication_id: str
    content_hash: str
    snapshot_id: int
    schema_version: int
    issued_at: datetime
    published_at: datetime
    journeys: int
    calls: int
    tombstones: int
    thresholds_version: str
    degraded: bool
    supersedes: str | None = None


def in_order(publications: Collection[Publication]) -> list[Publication]:
    """Publications of one issue date in the order of publication: each after the one that it corrects.

    A publication that corrects none of the others is the first on its cluster. Publications of two clusters are sorted by time.
    """
    by_id = {publication.publication_id: publication for publication in publications}

    def position(publication: Publication) -> tuple[datetime, int]:
        """The latest time of the publication and of those before it, and the number of those before it."""
        latest, number = publication.published_at, 0
        while publication.supersedes in by_id and number < len(by_id):
            publication, number = by_id[publication.supersedes], number + 1
            latest = max(latest, publication.published_at)
        return latest, number

    return sorted(by_id.values(), key=position)


def read_publications(table: TableSnapshot, dates: Collection[date]) -> dict[date, list[Publication]]:
    """The publications of each of `dates` that has any, in the order of publication. `table` is forecasts.publications."""
    rows = table.read(table.versions(dates).keys())
    publications = [Publication(**row) for row in rows.sort(PUBLICATIONS.key).iter_rows(named=True)]
    days = dict.fromkeys(publication.issue_date for publication in publications)
    return {day: in_order([each for each in publications if each.issue_date == day]) for day in days}


def published_snapshots(forecasts: TableSnapshot, publications: TableSnapshot) -> set[int]:
    """The snapshots of forecasts.load_forecasts that readers need for publications whose rows were replaced since.

    These are the snapshots of the newest publication of each issue date. If its rows are the present ones, it needs no snapshot.
    """
    versions: dict[date, str] = forecasts.versions(forecasts.dates())
    by_date = read_publications(publications, publications.dates())
    newest: Sequence[Publication] = [of_date[-1] for of_date in by_date.values()]
    return {each.snapshot_id for each in newest if versions.get(each.issue_date) != each.content_hash}
