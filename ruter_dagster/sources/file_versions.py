"""Which files of the source a date is read from, as hashes: a date whose files have changed since is to be read again."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable
from datetime import date

from ruter_dagster.contracts.file_versions import FileVersions
from ruter_dagster.settings import Settings
from ruter_dagster.sources.tides_files import Folder, TableFile
from ruter_dagster.sources.tides_vocabulary import STOP_VISITS, TRIPS_PERFORMED, VEHICLES

_NONE = "none"


def file_versions(settings: Settings, dates: Collection[date]) -> dict[date, FileVersions]:
    """The files of the dates' counts; empty where the source has no files. Lists them, and opens none.

    Raises `BadInput` where the folder cannot be read, or a table is missing.
    """
    if settings.source != "tides":
        return {}
    folder = Folder(settings.tides_path or "")
    files = [file for table in (STOP_VISITS, TRIPS_PERFORMED, VEHICLES) for file in folder.files(table)]
    shared = _hash(file for file in files if file.service_date is None)
    own: dict[date, list[TableFile]] = {}
    for file in files:
        if file.service_date is not None:
            own.setdefault(file.service_date, []).append(file)
    return {day: FileVersions(_hash(own.get(day, ())), shared) for day in dates}


def _hash(files: Iterable[TableFile]) -> str:
    lines = sorted(f"{file.path} {file.version}" for file in files)
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:16] if lines else _NONE
