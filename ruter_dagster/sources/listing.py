"""Prints what the source has, as JSON: `python -m ruter_dagster.sources.listing`.

`dates` are its service dates, null where it answers any; `files` the versions of the newest dates' own files; `timetable` changes with
its GTFS feeds, null where it has none.

A process of its own, so that whoever asks (a sensor) loads no data library and never waits for longer than it wants to.
"""

from __future__ import annotations

import json
import sys

from ruter_dagster.config.operator import operator_of
from ruter_dagster.config.settings import load_settings
from ruter_dagster.contracts.errors import PermanentFailure
from ruter_dagster.contracts.file_versions import RECENT_DATES
from ruter_dagster.contracts.jobs import EXIT_PERMANENT
from ruter_dagster.contracts.tables import STOP_VISITS
from ruter_dagster.sources.configured_source import open_source
from ruter_dagster.sources.file_versions import file_versions
from ruter_dagster.sources.gtfs_source import GtfsPlannedSource


def main() -> int:
    try:
        settings = load_settings()
        source = open_source(settings, operator_of(settings))
        dates = source.available_dates()
        files = file_versions(settings, STOP_VISITS.name, sorted(dates or ())[-RECENT_DATES:])
    except PermanentFailure as failure:
        print(failure, file=sys.stderr)
        return EXIT_PERMANENT
    found = {
        "dates": None if dates is None else sorted(day.isoformat() for day in dates),
        "files": {day.isoformat(): file.own for day, file in files.items()},
        "timetable": source.timetable.identity if isinstance(source, GtfsPlannedSource) else None,
    }
    print(json.dumps(found))
    return 0


if __name__ == "__main__":
    sys.exit(main())
