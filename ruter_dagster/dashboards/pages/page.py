"""The interface of a page, and the reader whose results Streamlit caches.

A page is a module with a `PAGE`. `dashboards/app.py` lists the pages. `show` gets the page's `Context` and draws. Data come from
functions of `dashboards/data`, which take `context.reader`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime
from zoneinfo import ZoneInfo

import polars as pl
import streamlit as st

from ruter_dagster.contracts.tables import Table
from ruter_dagster.dashboards.data.names import names_of
from ruter_dagster.dashboards.data.words import Names
from ruter_dagster.dashboards.engine import Query, TableReader, Value
from ruter_dagster.dashboards.sources import Sources

_RESULTS = 500
"""Results of queries that are kept in memory, each at most a few thousand rows."""


@dataclass(frozen=True)
class Context:
    """What a page draws from: the sources, and a reader of their state, which has one snapshot per table for the whole page."""

    sources: Sources
    reader: CachedReader

    @property
    def time_zone(self) -> str:
        return self.sources.time_zone

    @property
    def today(self) -> date:
        """The operator's date now. Only the age of data is compared with it."""
        return datetime.now(UTC).astimezone(ZoneInfo(self.time_zone)).date()

    def names(self, day: date) -> Names:
        return names_of(self.reader, day)

    def reader_of(self, label: str) -> CachedReader:
        """A reader of another state."""
        return CachedReader(self.sources.others[label].reader(), label)


@dataclass(frozen=True)
class DashboardPage:
    """A page: its title in the navigation, the last part of its address, its icon (Material Symbols), and what draws it."""

    title: str
    path: str
    icon: str
    show: Callable[[Context], None]


class CachedReader:
    """A `Reader` that keeps results by the snapshots of the tables that a query reads, so that new rows are never hidden."""

    def __init__(self, reader: TableReader, state: str) -> None:
        self._reader, self._state = reader, state

    def dates(self, table: Table) -> list[date]:
        return self._reader.dates(table)

    def version(self, table: Table, day: date) -> str | None:
        return self._reader.version(table, day)

    def has_snapshot(self, table: Table, snapshot_id: int) -> bool:
        return self._reader.has_snapshot(table, snapshot_id)

    def run(
        self, query: Query, *, snapshots: Mapping[Table, int | None] | None = None, **parameters: Value
    ) -> pl.DataFrame:
        pins = snapshots or {}
        versions = tuple(
            (table.name, pins.get(table) or self._reader.snapshot_id(table)) for table in query.tables
        )
        return _rows(self._reader, query, snapshots, self._state, query.sql, versions, parameters)


@st.cache_data(max_entries=_RESULTS, show_spinner=False)
def _rows(
    _reader: TableReader,
    _query: Query,
    _snapshots: Mapping[Table, int | None] | None,
    state: str,
    sql: str,
    versions: tuple[tuple[str, int | None], ...],
    parameters: Mapping[str, Value],
) -> pl.DataFrame:
    return _reader.run(_query, snapshots=_snapshots, **parameters)
