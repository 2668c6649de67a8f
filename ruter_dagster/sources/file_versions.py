"""Hashes of the files from which a date is read. A date is read again after its files have changed."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable
from dataclasses import replace
from datetime import date
from functools import cached_property

from ruter_dagster.config.gtfs_location import gtfs_location
from ruter_dagster.config.operator import Operator, operator_of
from ruter_dagster.config.settings import Settings
from ruter_dagster.contracts.errors import BadInput
from ruter_dagster.contracts.file_versions import NO_VERSION, FileVersions
from ruter_dagster.contracts.tables import PLANNED_DEPARTURES, WEATHER_FORECASTS
from ruter_dagster.sources.gtfs_source import capacity_dates
from ruter_dagster.sources.gtfs_timetable import Timetable
from ruter_dagster.sources.tides_files import TableFile
from ruter_dagster.sources.tides_schema import STOP_VISITS, TRIPS_PERFORMED, VEHICLES
from ruter_dagster.sources.tides_tables import TableReader

_TABLES = (STOP_VISITS, TRIPS_PERFORMED, VEHICLES)
"""Tables from which visits and plan of a date are read. Trips have the schedule, vehicles the capacities."""


def file_versions(settings: Settings, table: str, dates: Collection[date]) -> dict[date, FileVersions]:
    """Versions of the files from which a raw table's dates are read; empty for a source without files.

    It lists files, and opens a file only if its listing is not enough. Raises `BadInput` if the folder cannot be read or lacks
    a table.
    """
    if settings.source != "tides" or table == WEATHER_FORECASTS.name:
        return {}
    counts = _CountFiles(settings.tides_path or "")
    location = gtfs_location(settings)
    if table != PLANNED_DEPARTURES.name or location is None:
        return {day: counts.version(day) for day in dates}
    plan = _PlanFiles(location, operator_of(settings), counts)
    return {day: plan.version(day) for day in dates}


class _CountFiles:
    """The files of TIDES tables in a folder."""

    def __init__(self, location: str) -> None:
        # Digests are of unparsed cells, so the time zone does not matter.
        self._reader = TableReader(location, "UTC")
        files = [file for table in _TABLES for file in self._reader.folder.files(table)]
        self._shared = _hash(_file_version(file) for file in files if file.service_date is None)
        self._files_by_date: dict[date, list[TableFile]] = {}
        for file in files:
            if file.service_date is not None:
                self._files_by_date.setdefault(file.service_date, []).append(file)

    @cached_property
    def dates(self) -> frozenset[date]:
        """Dates with counts."""
        return self._reader.dates(STOP_VISITS)

    def version(self, day: date) -> FileVersions:
        own = _hash(_file_version(file) for file in self._files_by_date.get(day, ()))
        return FileVersions(own, self._shared, lambda: self._row_hash(day))

    def _row_hash(self, day: date) -> str:
        try:
            digests = self._digests
        except BadInput:
            # The later read reports the error. Any change of these files may fix it.
            return self._shared
        return _hash(digest for table in digests for digest in (table.get(day), table.get(None)) if digest)

    @cached_property
    def _digests(self) -> list[dict[date | None, str]]:
        return [self._reader.row_digests(table) for table in _TABLES]


class _PlanFiles:
    """The feeds of a timetable, and the counts from which its capacities are derived."""

    def __init__(self, location: str, operator: Operator, counts: _CountFiles) -> None:
        self._location, self._operator, self._counts = location, operator, counts

    def version(self, day: date) -> FileVersions:
        counted_dates = self._counts.dates
        is_ahead = bool(counted_dates) and day > max(counted_dates)
        return replace(self._counts.version(day), timetable=lambda: self._feed_hash(day), is_ahead=is_ahead)

    def _feed_hash(self, day: date) -> str:
        feed = self._timetable.feed_of(day)
        if feed is None:
            return NO_VERSION
        capacity_files = [self._counts.version(other) for other in capacity_dates(day, self._counts.dates)]
        return _hash([feed.files.identity, *(f"{files.own} {files.rows()}" for files in capacity_files)])

    @cached_property
    def _timetable(self) -> Timetable:
        return Timetable(self._location, self._operator.time_zone, self._operator.route_types)


def _file_version(file: TableFile) -> str:
    return f"{file.path} {file.version}"


def _hash(lines: Iterable[str]) -> str:
    ordered = sorted(lines)
    return hashlib.sha256("\n".join(ordered).encode()).hexdigest()[:16] if ordered else NO_VERSION
