"""Which files of the source a date is read from, as hashes: a date whose files have changed since is to be read again."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from datetime import date
from functools import cached_property

from ruter_dagster.settings import Settings
from ruter_dagster.sources.tides_files import TableFile
from ruter_dagster.sources.tides_tables import TableReader
from ruter_dagster.sources.tides_vocabulary import STOP_VISITS, TRIPS_PERFORMED, VEHICLES

_TABLES = (STOP_VISITS, TRIPS_PERFORMED, VEHICLES)
"""Visits and plan of a date come from all of these: trips say what ran and what was scheduled, vehicles what they hold."""
_NONE = "none"
_SEPARATOR = "+"


@dataclass(frozen=True)
class FileVersions:
    """Hashes of what a date is read from: its own files, whose paths name it, and those that it shares with other dates.

    A shared file changes whenever a date is added to it, so `rows` says what it has of this date; it is read when it is asked for.
    """

    own: str
    shared: str
    rows: Callable[[], str]

    def recorded(self) -> str:
        """What is kept with a date that was read."""
        return _SEPARATOR.join((self.own, self.shared, self.rows()))

    def has_changed(self, recorded: str) -> bool:
        """Whether the date would be read from other rows than those of which `recorded` was kept."""
        own, *shared = recorded.split(_SEPARATOR)
        if own != self.own:
            return True
        if not shared or shared[0] == self.shared:
            return False
        return shared[1:] != [self.rows()]


def file_versions(settings: Settings, dates: Collection[date]) -> dict[date, FileVersions]:
    """The files of the dates' counts; empty where the source has no files. Lists them, and opens none before it must.

    Raises `BadInput` where the folder cannot be read, or a table is missing.
    """
    if settings.source != "tides":
        return {}
    counts = _CountFiles(settings.tides_path or "")
    return {day: counts.version(day) for day in dates}


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

    def version(self, day: date) -> FileVersions:
        own = _hash(_line(file) for file in self._own.get(day, ()))
        return FileVersions(own, self._shared, lambda: self._rows(day))

    def _rows(self, day: date) -> str:
        return _hash(
            digest for table in self._digests for digest in (table.get(day), table.get(None)) if digest
        )

    @cached_property
    def _digests(self) -> list[dict[date | None, str]]:
        return [self._reader.row_digests(table) for table in _TABLES]


def _line(file: TableFile) -> str:
    return f"{file.path} {file.version}"


def _hash(lines: Iterable[str]) -> str:
    found = sorted(lines)
    return hashlib.sha256("\n".join(found).encode()).hexdigest()[:16] if found else _NONE
