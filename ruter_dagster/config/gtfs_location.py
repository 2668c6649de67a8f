"""Location of the TIDES source's GTFS feeds: the setting, or a folder or zip beside TIDES tables on this machine.

Reading feeds belongs in sources/gtfs.py. Dagster's processes import this module, so it loads no data library.
"""

from __future__ import annotations

from pathlib import Path

from ruter_dagster.config.settings import Settings

DEFAULT_NAMES = ("gtfs", "gtfs.zip")
"""Names of a folder or zip with GTFS feeds, looked for beside the TIDES tables."""


def gtfs_location(settings: Settings) -> str | None:
    """Folder, zip or `s3://` prefix of the GTFS feeds; None if the source has no timetable or is not TIDES.

    An object store is not searched, because loading definitions and sensor ticks would wait for it.
    """
    if settings.source != "tides":
        return None
    if settings.gtfs_path:
        return settings.gtfs_path
    folder = (settings.tides_path or "").rstrip("/")
    return next((f"{folder}/{name}" for name in DEFAULT_NAMES if (Path(folder) / name).exists()), None)


def plans_ahead(settings: Settings) -> bool:
    """Whether the source has planned departures before their counts exist. Only TIDES tables without GTFS have none."""
    return settings.source != "tides" or gtfs_location(settings) is not None
