"""Where the timetable of the TIDES source lies: the GTFS feeds that the settings name, or those beside the TIDES tables.

What feeds mean belongs in sources/gtfs.py; Dagster's layer asks here, and loads no data library.
"""

from __future__ import annotations

from pathlib import Path

from ruter_dagster.contracts.errors import BadInput
from ruter_dagster.settings import Settings

BESIDE = ("gtfs", "gtfs.zip")
"""Names of a folder or zip of GTFS feeds that may lie beside TIDES tables."""


def gtfs_location(settings: Settings) -> str | None:
    """Folder, zip or `s3://` prefix of the GTFS feeds; None where the source is another, or has no timetable."""
    if settings.source != "tides":
        return None
    if settings.gtfs_path:
        return settings.gtfs_path
    folder = (settings.tides_path or "").rstrip("/")
    if "://" in folder:
        return next((f"{folder}/{name}" for name in BESIDE if _is_in_store(folder, name)), None)
    return next((f"{folder}/{name}" for name in BESIDE if (Path(folder) / name).exists()), None)


def plans_ahead(settings: Settings) -> bool:
    """Whether the source plans dates before they have counts: all do but TIDES tables without GTFS."""
    return settings.source != "tides" or gtfs_location(settings) is not None


def _is_in_store(folder: str, name: str) -> bool:
    """Whether there is an object of that name, or any below it."""
    import obstore

    from ruter_dagster.aws.object_store import open_store

    try:
        if name.endswith(".zip"):
            obstore.head(open_store(folder), name)
            return True
        return any(batch for batch in obstore.list(open_store(folder), f"{name}/", chunk_size=1))
    except FileNotFoundError:
        return False
    except obstore.exceptions.BaseError as error:
        reason = str(error).splitlines()[0]
        raise BadInput(
            f"TIDES folder {folder} cannot be read ({reason}); check its path and rights"
        ) from None
