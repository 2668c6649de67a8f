"""Prints the dates and file versions of the source as JSON: `python -m ruter_dagster.sources.listing`.

- `dates`: service dates; null if the source may have any date.
- `files`: versions of the newest dates' own files.
- `timetable`: version of all GTFS feeds; null if there are none.

It runs in a separate process, so that a sensor loads no data library and can limit the waiting time.
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
    listing = {
        "dates": None if dates is None else sorted(day.isoformat() for day in dates),
        "files": {day.isoformat(): file.own for day, file in files.items()},
        "timetable": source.timetable.identity if isinstance(source, GtfsPlannedSource) else None,
    }
    print(json.dumps(listing))
    return 0


if __name__ == "__main__":
    sys.exit(main())
