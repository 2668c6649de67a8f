"""Where the timetable of the TIDES source lies: the GTFS feeds that the settings name, or those beside TIDES tables of this machine.

What feeds mean belongs in sources/gtfs.py; Dagster's layer asks here, and loads no data library.
"""

from __future__ import annotations

from pathlib import Path

from ruter_dagster.config.settings import Settings

BESIDE = ("gtfs", "gtfs.zip")
"""Names of a folder or zip of GTFS feeds that may lie beside TIDES tables in a folder."""


def gtfs_location(settings: Settings) -> str | None:
    """Folder, zip or `s3://` prefix of the GTFS feeds; None where the source is another, or has no timetable.

    An object store is not searched: whoever loads the definitions, or ticks, would wait for it.
    """
    if settings.source != "tides":
        return None
    if settings.gtfs_path:
        return settings.gtfs_path
    folder = (settings.tides_path or "").rstrip("/")
    return next((f"{folder}/{name}" for name in BESIDE if (Path(folder) / name).exists()), None)


def plans_ahead(settings: Settings) -> bool:
    """Whether the source plans dates before they have counts: all do but TIDES tables without GTFS."""
    return settings.source != "tides" or gtfs_location(settings) is not None
