"""Files beside the tables: quality reports and verdicts, models, pictures; in a folder or an object store.

What the files mean belongs in verdicts.py and registry.py.
"""

from __future__ import annotations

from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import unquote, urlsplit

import obstore
from obstore.exceptions import BaseError
from obstore.store import LocalStore, ObjectStore

from ruter_dagster.aws.errors import first_line, remedy_of
from ruter_dagster.aws.object_store import open_store
from ruter_dagster.contracts.errors import PermanentFailure

_READERS = 16
_NO_ROOM = ("No space left", "File too large", "quota exceeded")
_NO_ACCESS = ("Permission denied", "Read-only file system")


class ArtifactMissing(PermanentFailure):
    """A file that the artifact store does not have."""


class ArtifactStore:
    """Files by key (`models/load_model/…`), each written whole or not at all. Keys use `/`, whatever lies below."""

    def __init__(self, store: ObjectStore, root: str) -> None:
        self._store, self._root = store, root.rstrip("/")

    @classmethod
    def at(cls, place: Path | str, region: str | None = None) -> ArtifactStore:
        """Files below a folder, which is made, or below an address such as s3://bucket/prefix, in an AWS region."""
        if isinstance(place, str) and "://" in place and not place.startswith("file://"):
            return cls(open_store(place, region), place)
        text = str(place)
        folder = Path(unquote(urlsplit(text).path) if text.startswith("file://") else text).absolute()
        try:
            return cls(LocalStore(folder, mkdir=True), folder.as_uri())
        except (BaseError, OSError) as error:
            raise PermanentFailure(
                f"The artifact folder {folder} cannot be made: {error}. Free that path, or give this user access to it."
            ) from error

    def put(self, key: str, content: bytes) -> None:
        """Writes the file whole, replacing a former one."""
        try:
            obstore.put(self._store, key, content)
        except (BaseError, OSError) as error:
            raise _fault(self.uri(key), "written", error) from error

    def get(self, key: str) -> bytes:
        """The file's content; raises `ArtifactMissing`."""
        content = self.find(key)
        if content is None:
            raise ArtifactMissing(
                f"There is no file {self.uri(key)}: it was never written, or someone removed it."
            )
        return content

    def find(self, key: str) -> bytes | None:
        """The file's content, or None."""
        try:
            return bytes(obstore.get(self._store, key).bytes())
        except FileNotFoundError:
            return None
        except (BaseError, OSError) as error:
            raise _fault(self.uri(key), "read", error) from error

    def find_all(self, keys: Iterable[str]) -> dict[str, bytes]:
        """The content of those files that are there, read several at a time."""
        names = list(keys)
        with ThreadPoolExecutor(_READERS) as readers:
            found = zip(names, readers.map(self.find, names), strict=True)
            return {key: content for key, content in found if content is not None}

    def exists(self, key: str) -> bool:
        try:
            obstore.head(self._store, key)
        except FileNotFoundError:
            return False
        except (BaseError, OSError) as error:
            raise _fault(self.uri(key), "read", error) from error
        return True

    def list(self, prefix: str) -> list[str]:
        """Keys below a prefix, which ends at a `/`, in order."""
        try:
            return sorted(entry["path"] for batch in obstore.list(self._store, prefix) for entry in batch)
        except (BaseError, OSError) as error:
            raise _fault(self.uri(prefix), "listed", error) from error

    def uri(self, key: str) -> str:
        """Where the file lies, for people and other programs: file:///… or s3://…"""
        return f"{self._root}/{key}"


def _fault(place: str, action: str, error: Exception) -> Exception:
    """Full disks and missing rights stay as they are however often one tries; anything else may pass."""
    text = str(error).split("\n\nDebug source")[0]
    if any(word in text for word in _NO_ROOM):
        return PermanentFailure(
            f"{place} cannot be {action}: {text}. Free space there, then run the step again."
        )
    if "://" in place and not place.startswith("file:"):
        remedy = remedy_of(error)
        return (
            PermanentFailure(f"{place} cannot be {action}: {first_line(error)}. {remedy}")
            if remedy
            else error
        )
    if isinstance(error, PermissionError) or any(word in text for word in _NO_ACCESS):
        return PermanentFailure(
            f"{place} cannot be {action}: {text}. Give this user read and write access to it."
        )
    return error
