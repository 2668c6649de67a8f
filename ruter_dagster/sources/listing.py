"""Prints what the source has, as JSON: `python -m ruter_dagster.sources.listing`.

`dates`: its service dates, null where it answers any date. `files`: the versions of the files of the newest dates, own and shared.

A process of its own, so that whoever asks (a sensor) loads no data library and never waits for longer than it wants to.
"""

from __future__ import annotations

import json
import sys

from ruter_dagster.contracts.errors import PermanentFailure
from ruter_dagster.contracts.file_versions import RECENT_DATES
from ruter_dagster.contracts.jobs import EXIT_PERMANENT
from ruter_dagster.operator import operator_of
from ruter_dagster.settings import load_settings
from ruter_dagster.sources.file_versions import file_versions
from ruter_dagster.sources.open import open_source


def main() -> int:
    try:
        settings = load_settings()
        dates = open_source(settings, operator_of(settings)).available_dates()
        files = file_versions(settings, sorted(dates or ())[-RECENT_DATES:])
    except PermanentFailure as failure:
        print(failure, file=sys.stderr)
        return EXIT_PERMANENT
    found = None if dates is None else sorted(day.isoformat() for day in dates)
    versions = {day.isoformat(): [file.own, file.shared] for day, file in files.items()}
    print(json.dumps({"dates": found, "files": versions}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
