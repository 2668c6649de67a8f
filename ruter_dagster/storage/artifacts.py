"""Files that are not tables (reports, verdicts, models), in a folder or an object store.

The meaning of the files belongs in verdicts.py and registry.py.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from urllib.parse import unquote, urlsplit

import obstore
from obstore.exceptions import BaseError
from obstore.store import LocalStore, ObjectStore

from ruter_dagster.aws.errors import first_line, remedy_of
from ruter_dagster.aws.object_store import open_store
from ruter_dagster.contracts.errors import PermanentFailure

_PARALLEL_TRANSFERS = 16
_DELETED_AT_ONCE = 1000
_NO_SPACE = ("No space left", "File too large", "quota exceeded")
_NO_ACCESS = ("Permission denied", "Read-only file system")


class ArtifactMissing(PermanentFailure):
    """The artifact store does not have the file."""


@dataclass(frozen=True)
class FileDetails:
    """Size of a file in bytes, and when it was written, in UTC."""

    size: int
    modified: datetime


class ArtifactStore:
    """Files by key (`models/load_model/…`). A file is written completely or not at all. Keys use `/` on every system."""

    def __init__(self, store: ObjectStore, root: str) -> None:
        self._store, self._root = store, root.rstrip("/")

    @classmethod
    def at(cls, root: Path | str, region: str | None = None) -> ArtifactStore:
        """The store of a folder, which is created, or of an address such as s3://bucket/prefix in an AWS region.

        Raises:
            PermanentFailure: the folder cannot be created.
        """
        if isinstance(root, str) and "://" in root and not root.startswith("file://"):
            return cls(open_store(root, region), root)
        text = str(root)
        folder = Path(unquote(urlsplit(text).path) if text.startswith("file://") else text).absolute()
        try:
            return cls(LocalStore(folder, mkdir=True), folder.as_uri())
        except (BaseError, OSError) as error:
            raise PermanentFailure(
                f"The artifact folder {folder} cannot be created: {error}. Remove the file of that name, or give this user "
                "write access."
            ) from error

    def put(self, key: str, content: bytes) -> None:
        """Writes a file, or replaces it."""
        try:
            obstore.put(self._store, key, content)
        except (BaseError, OSError) as error:
            raise _explained(self.uri(key), "written", error) from error

    def put_all(self, contents: Mapping[str, bytes]) -> None:
        """Writes or replaces files, given by key, in parallel."""
        with ThreadPoolExecutor(_PARALLEL_TRANSFERS) as writers:
            list(writers.map(self.put, contents, contents.values()))

    def get(self, key: str) -> bytes:
        """The file's content. Raises `ArtifactMissing`."""
        content = self.find(key)
        if content is None:
            raise ArtifactMissing(
                f"The file {self.uri(key)} does not exist: it was never written or was deleted."
            )
        return content

    def find(self, key: str) -> bytes | None:
        """The file's content, or None if it does not exist."""
        try:
            return bytes(obstore.get(self._store, key).bytes())
        except FileNotFoundError:
            return None
        except (BaseError, OSError) as error:
            raise _explained(self.uri(key), "read", error) from error

    def find_all(self, keys: Iterable[str]) -> dict[str, bytes]:
        """The content of the existing files by key, read in parallel."""
        names = list(keys)
        with ThreadPoolExecutor(_PARALLEL_TRANSFERS) as readers:
            contents = zip(names, readers.map(self.find, names), strict=True)
            return {key: content for key, content in contents if content is not None}

    def exists(self, key: str) -> bool:
        try:
            obstore.head(self._store, key)
        except FileNotFoundError:
            return False
        except (BaseError, OSError) as error:
            raise _explained(self.uri(key), "read", error) from error
        return True

    def list(self, prefix: str) -> list[str]:
        """The sorted keys below a prefix, which ends with `/`."""
        try:
            return sorted(entry["path"] for batch in obstore.list(self._store, prefix) for entry in batch)
        except (BaseError, OSError) as error:
            raise _explained(self.uri(prefix), "listed", error) from error

    def details(self, prefix: str) -> dict[str, FileDetails]:
        """Size and time of modification of each file below a prefix, by key. An empty prefix is the whole store."""
        try:
            return {
                entry["path"]: FileDetails(entry["size"], entry["last_modified"])
                for batch in obstore.list(self._store, prefix or None)
                for entry in batch
            }
        except (BaseError, OSError) as error:
            raise _explained(self.uri(prefix), "listed", error) from error

    def delete_all(self, keys: Sequence[str]) -> None:
        """Deletes files. A file that does not exist is no error."""
        for start in range(0, len(keys), _DELETED_AT_ONCE):
            try:
                obstore.delete(self._store, list(keys[start : start + _DELETED_AT_ONCE]))
            except FileNotFoundError:
                continue
            except (BaseError, OSError) as error:
                raise _explained(self.uri(keys[start]), "deleted", error) from error

    def uri(self, key: str) -> str:
        """The file's full address: file:///… or s3://…"""
        return f"{self._root}/{key}"


def _explained(uri: str, action: str, error: Exception) -> Exception:
    """A `PermanentFailure` for a full disk or missing rights; any other error unchanged, because a retry may succeed."""
    text = str(error).split("\n\nDebug source")[0]
    if any(word in text for word in _NO_SPACE):
        return PermanentFailure(
            f"{uri} cannot be {action}: {text}. Free space there, then run the step again."
        )
    if "://" in uri and not uri.startswith("file:"):
        remedy = remedy_of(error)
        return (
            PermanentFailure(f"{uri} cannot be {action}: {first_line(error)}. {remedy}") if remedy else error
        )
    if isinstance(error, PermissionError) or any(word in text for word in _NO_ACCESS):
        return PermanentFailure(
            f"{uri} cannot be {action}: {text}. Give this user read and write access to it."
        )
    return error
