"""The folder of a source's state. It is refused if it is not writable, or was moved or copied.

Tables, experiments and reports name their files by absolute paths.
"""

from __future__ import annotations

import json
import os
import shlex
import sqlite3
import tempfile
from contextlib import closing, suppress
from pathlib import Path
from urllib.parse import quote

from ruter_dagster.config.settings import Settings
from ruter_dagster.contracts.errors import PermanentFailure

MARK = "location.json"
"""Name of the file with the folder and the source of the state."""


def state_folder(settings: Settings) -> Path:
    """The source's folder, created if it does not exist.

    Raises:
        PermanentFailure: the folder cannot be created, or it was moved or copied.
    """
    folder = settings.source_dir
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise _not_writable(folder, error) from None
    # In a lake's deployment no table lies in the folder, and Dagster's files know no paths.
    if settings.lake is None:
        _require_same_place(folder, _place_of(settings))
    return folder


def require_writable_state(settings: Settings) -> Path:
    """The same as `state_folder`, after writing a test file into it and each of its folders.

    Raises:
        PermanentFailure: names the first folder that is not writable, and the remedy.
    """
    folder = state_folder(settings)
    for place in (folder, *sorted(path for path in folder.iterdir() if path.is_dir())):
        try:
            with tempfile.TemporaryFile(dir=place) as file:
                file.write(b"x")
        except OSError as error:
            raise _not_writable(place, error) from None
    for database in folder.glob("*/**/*.db"):
        if not os.access(database, os.W_OK):
            raise PermanentFailure(
                f"The state file {database} may not be written. Give this user write access to it, "
                "or name another folder in RUTER_STATE_DIR."
            )
    return folder


def _not_writable(place: Path, error: OSError) -> PermanentFailure:
    return PermanentFailure(
        f"The state folder {place} cannot be written ({error.strerror or error}). Give this user write access and free space "
        "there, or name another folder in RUTER_STATE_DIR."
    )


def _require_same_place(folder: Path, source: str) -> None:
    origin = _origin(folder)
    if origin is None:
        _mark(folder, source)
        return
    if origin == folder or (origin.exists() and origin.samefile(folder)):
        return
    here, there = shlex.quote(str(folder)), shlex.quote(str(origin))
    if origin.exists():
        raise PermanentFailure(
            f"The state in {folder} is a copy of {origin}: its tables name their files there, so that a write here would "
            f"change the original. Use the original (RUTER_STATE_DIR), or remove the copy and build it anew: rm -r {here}"
        )
    raise PermanentFailure(
        f"The state in {folder} was made in {origin}, and its tables name their files there. Move it back, or let the former "
        f"path lead to it: mkdir -p {shlex.quote(str(origin.parent))} && ln -s {here} {there}. Or remove it and build it "
        f"anew: rm -r {here}"
    )


def _origin(folder: Path) -> Path | None:
    """The folder where the state was created, by its mark, else by its catalog."""
    try:
        return Path(json.loads((folder / MARK).read_text(encoding="utf-8"))["folder"])
    except FileNotFoundError:
        return _origin_of_catalog(folder / "warehouse" / "catalog.db")
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise PermanentFailure(
            f"{folder / MARK} cannot be read ({error}). Remove that file if the state was neither moved nor copied."
        ) from None


def _origin_of_catalog(catalog: Path) -> Path | None:
    location = None
    if catalog.is_file():
        with (
            suppress(sqlite3.Error),
            closing(sqlite3.connect(f"file:{quote(str(catalog))}?mode=ro", uri=True)) as db,
        ):
            row = db.execute("SELECT metadata_location FROM iceberg_tables LIMIT 1").fetchone()
            location = str(row[0]) if row else None
    marker = "/warehouse/tables/"
    if location is None or marker not in location:
        return None
    # A table of a former version has an address; pyiceberg takes it as it stands.
    return Path(location.partition(marker)[0].removeprefix("file://"))


def _mark(folder: Path, source: str) -> None:
    """Writes the mark atomically. Two processes that start together write the same content."""
    content = json.dumps({"folder": str(folder), "source": source}, ensure_ascii=False, indent=2)
    unfinished = folder / f".{MARK}.{os.getpid()}"
    try:
        unfinished.write_text(content + "\n", encoding="utf-8")
        unfinished.replace(folder / MARK)
    except OSError as error:
        raise _not_writable(folder, error) from None


def _place_of(settings: Settings) -> str:
    """Location of the source's data, for people who read the mark."""
    place = settings.source_location
    return settings.source if place is None else place if "://" in place else str(Path(place).absolute())
