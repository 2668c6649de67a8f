"""The folder of a source's state. A folder that is not writable, or that was moved or copied, is refused.

Tables, experiments and reports refer to their files by absolute paths. A copy would therefore change the files of its original.
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

ORIGIN_FILE = "location.json"
"""Name of the file that states the folder and the source of the state."""


def state_folder(settings: Settings) -> Path:
    """The source's folder, created if it does not exist.

    Raises:
        PermanentFailure: The folder cannot be created, or it was moved or copied.
    """
    folder = settings.source_dir
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise _not_writable(folder, error) from None
    # With a lake, the folder has no tables, and Dagster's own files contain no paths.
    if settings.lake is None:
        _require_original(folder, _source_location(settings))
    return folder


def require_writable_state(settings: Settings) -> Path:
    """The same as `state_folder`, after writing a test file into it and each of its folders.

    Raises:
        PermanentFailure: A folder or database is not writable.
    """
    folder = state_folder(settings)
    for path in (folder, *sorted(child for child in folder.iterdir() if child.is_dir())):
        try:
            with tempfile.TemporaryFile(dir=path) as file:
                file.write(b"x")
        except OSError as error:
            raise _not_writable(path, error) from None
    for database in folder.glob("*/**/*.db"):
        if not os.access(database, os.W_OK):
            raise PermanentFailure(
                f"The state file {database} is not writable. Give this user write access to it, "
                "or set another folder in RUTER_STATE_DIR."
            )
    return folder


def _not_writable(folder: Path, error: OSError) -> PermanentFailure:
    return PermanentFailure(
        f"The state folder {folder} cannot be written ({error.strerror or error}). Give this user write access and free space "
        "there, or set another folder in RUTER_STATE_DIR."
    )


def require_readable_state(folder: Path) -> Path:
    """The folder of another state, which is only read.

    Raises:
        PermanentFailure: The folder has no tables, or it was moved or copied.
    """
    if not (folder / "warehouse" / "catalog.db").is_file():
        raise PermanentFailure(
            f"{folder} has no tables. Name the folder of a state, for instance state/demo."
        )
    origin = _origin(folder)
    if origin is not None:
        _require_same(folder, origin)
    return folder


def _require_original(folder: Path, source: str) -> None:
    """Raises PermanentFailure if the state was created in another folder."""
    origin = _origin(folder)
    if origin is None:
        _write_origin(folder, source)
    else:
        _require_same(folder, origin)


def _require_same(folder: Path, origin: Path) -> None:
    """Raises PermanentFailure if `folder` is not the folder where its state was created."""
    if origin == folder or (origin.exists() and origin.samefile(folder)):
        return
    quoted_folder, quoted_origin = shlex.quote(str(folder)), shlex.quote(str(origin))
    if origin.exists():
        raise PermanentFailure(
            f"The state in {folder} is a copy of {origin}. Its tables refer to files there, so a write here would "
            f"change the original. Use the original (RUTER_STATE_DIR), or remove the copy and build it again: rm -r {quoted_folder}"
        )
    raise PermanentFailure(
        f"The state in {folder} was created in {origin}, and its tables refer to files there. Move it back, or link the "
        f"former path to it: mkdir -p {shlex.quote(str(origin.parent))} && ln -s {quoted_folder} {quoted_origin}. Or remove it and "
        f"build it again: rm -r {quoted_folder}"
    )


def _origin(folder: Path) -> Path | None:
    """The folder where the state was created, from its origin file, else from its catalog."""
    try:
        return Path(json.loads((folder / ORIGIN_FILE).read_text(encoding="utf-8"))["folder"])
    except FileNotFoundError:
        return _origin_of_catalog(folder / "warehouse" / "catalog.db")
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise PermanentFailure(
            f"{folder / ORIGIN_FILE} cannot be read ({error}). Remove that file if the state was neither moved nor copied."
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
    # Tables of a former version have a file:// address, which pyiceberg does not decode.
    return Path(location.partition(marker)[0].removeprefix("file://"))


def _write_origin(folder: Path, source: str) -> None:
    """Writes the origin file atomically. Two processes that start together write the same content."""
    content = json.dumps({"folder": str(folder), "source": source}, ensure_ascii=False, indent=2)
    unfinished = folder / f".{ORIGIN_FILE}.{os.getpid()}"
    try:
        unfinished.write_text(content + "\n", encoding="utf-8")
        unfinished.replace(folder / ORIGIN_FILE)
    except OSError as error:
        raise _not_writable(folder, error) from None


def _source_location(settings: Settings) -> str:
    """Location of the source's data, for people who read the file."""
    location = settings.source_location
    if location is None:
        return settings.source
    return location if "://" in location else str(Path(location).absolute())
