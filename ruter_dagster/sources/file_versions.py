"""Which files of the source a date is read from, as hashes: a date whose files have changed since is to be read again."""

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
from ruter_dagster.sources.tides_tables import TableReader
from ruter_dagster.sources.tides_vocabulary import STOP_VISITS, TRIPS_PERFORMED, VEHICLES

_TABLES = (STOP_VISITS, TRIPS_PERFORMED, VEHICLES)
"""Visits and plan of a date come from all of these: trips say what ran and what was scheduled, vehicles what they hold."""


def file_versions(settings: Settings, table: str, dates: Collection[date]) -> dict[date, FileVersions]:
    """The files that a raw table's dates are read from; empty where there are none. Lists them, and opens none before it must.

    Raises `BadInput` where the folder cannot be read, or a table is missing.
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
    """The files of the tables in a folder."""

    def __init__(self, location: str) -> None:
        # Digests are of cells as they are written: no time is read.
        self._reader = TableReader(location, "UTC")
        files = [file for table in _TABLES for file in self._reader.folder.files(table)]
        self._shared = _hash(_line(file) for file in files if file.service_date is None)
        self._own: dict[date, list[TableFile]] = {}
        for file in files:
            if file.service_date is not None:
                self._own.setdefault(file.service_date, []).append(file)

    @cached_property
    def dates(self) -> frozenset[date]:
        """Dates with counts."""
        return self._reader.dates(STOP_VISITS)

    def version(self, day: date) -> FileVersions:
        own = _hash(_line(file) for file in self._own.get(day, ()))
        return FileVersions(own, self._shared, lambda: self._rows(day))

    def _rows(self, day: date) -> str:
        try:
            digests = self._digests
        except BadInput:
            # What cannot be read is noticed where it is read; any change of these files may mend it.
            return self._shared
        return _hash(digest for table in digests for digest in (table.get(day), table.get(None)) if digest)

    @cached_property
    def _digests(self) -> list[dict[date | None, str]]:
        return [self._reader.row_digests(table) for table in _TABLES]


class _PlanFiles:
    """The feeds of a timetable, and the counts that tell which seats their journeys have."""

    def __init__(self, location: str, operator: Operator, counts: _CountFiles) -> None:
        self._location, self._operator, self._counts = location, operator, counts

    def version(self, day: date) -> FileVersions:
        known = self._counts.dates
        is_ahead = bool(known) and day > max(known)
        return replace(self._counts.version(day), timetable=lambda: self._feed(day), is_ahead=is_ahead)

    def _feed(self, day: date) -> str:
        feed = self._timetable.feed_of(day)
        if feed is None:
            return NO_VERSION
        counted = [self._counts.version(other) for other in capacity_dates(day, self._counts.dates)]
        return _hash([feed.files.identity, *(f"{files.own} {files.rows()}" for files in counted)])

    @cached_property
    def _timetable(self) -> Timetable:
        return Timetable(self._location, self._operator.time_zone, self._operator.route_types)


def _line(file: TableFile) -> str:
    return f"{file.path} {file.version}"


def _hash(lines: Iterable[str]) -> str:
    found = sorted(lines)
    return hashlib.sha256("\n".join(found).encode()).hexdigest()[:16] if found else NO_VERSION
