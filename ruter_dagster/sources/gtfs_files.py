"""Finds GTFS feeds in a zip, a folder or below an object-store prefix, and copies their files to where polars can scan them.

What the files mean belongs in gtfs_tables.py and gtfs.py.
"""

from __future__ import annotations

import hashlib
import io
import re
import shutil
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from functools import cached_property
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory
from typing import Any, BinaryIO, Protocol

import obstore

from ruter_dagster.aws.object_store import open_store
from ruter_dagster.contracts.errors import BadInput
from ruter_dagster.sources.gtfs_vocabulary import GTFS_FILES

MEMBERS = tuple(file.name for file in GTFS_FILES)
"""The files of a feed that are read."""
_DATE = re.compile(r"(?<!\d)(\d{4})-?(\d{2})-?(\d{2})(?!\d)")
_HASH_DIGITS = 12
_FETCHED_AT_ONCE = 2**20
"""Bytes of a zip in an object store that are fetched together."""


class FeedUnreachable(BadInput):
    """The object store did not answer, or the file is gone meanwhile: that says nothing about the feed."""


class _Place(Protocol):
    """Where files lie: a folder of this machine or a prefix of an object store."""

    def paths(self) -> list[str]: ...

    def open(self, path: str) -> BinaryIO:
        """The file, to be read from any position: of one in an object store only what is asked for is fetched."""
        ...

    def fetch(self, path: str, target: Path) -> Path:
        """The file on this machine, at `target` unless it lies here already."""
        ...

    def identity(self, path: str) -> str:
        """Changes when the file is written; known without reading it."""
        ...

    def content(self, path: str) -> str:
        """Changes with the content of the file alone, where that can be told."""
        ...


@dataclass(frozen=True)
class _Member:
    """One file of a feed: what puts it below a folder and gives its path, and what identifies its content."""

    put: Callable[[Path], Path]
    content: Callable[[], str]


class FeedFiles:
    """The files of one feed. Its zip is opened, and files are unpacked or fetched, when they are first asked for.

    `name` is the address of its zip or folder, `published` the date that its name carries, if any; `identity` changes when any of
    its files is written. `names` are the files that it has, `content` identifies what is in them.
    """

    def __init__(
        self, name: str, published: date | None, identity: str, find: Callable[[], Mapping[str, _Member]]
    ) -> None:
        """`find` gives the files by name, and raises `BadInput` where they cannot be read."""
        self.name, self.published, self.identity = name, published, identity
        self._find = find
        # Unpacked files are removed with this object.
        self._folder = TemporaryDirectory(prefix="gtfs-")
        self._paths: dict[str, Path] = {}

    @cached_property
    def _members(self) -> Mapping[str, _Member]:
        return self._find()

    @cached_property
    def names(self) -> frozenset[str]:
        return frozenset(self._members)

    @cached_property
    def content(self) -> str:
        return _digest([(name, member.content()) for name, member in sorted(self._members.items())])

    def path(self, name: str) -> Path:
        """The file on this machine. Raises `BadInput` where the feed lacks it."""
        self.require(name)
        if name not in self._paths:
            self._paths[name] = self._members[name].put(Path(self._folder.name))
        return self._paths[name]

    def require(self, *names: str) -> None:
        """Raises `BadInput` that names the files that are missing."""
        missing = [name for name in names if name not in self.names]
        if missing:
            raise BadInput(
                f"GTFS feed {self.name} lacks {', '.join(missing)} (it has {', '.join(sorted(self.names))}); "
                "export the feed again, whole"
            )


def find_feeds(location: str) -> list[FeedFiles]:
    """Every feed at a location: one zip, one folder of .txt files, or a folder (or `s3://` prefix) of such zips and folders.

    Lists them, and opens none. Names that start with `.` or `_` are skipped. Raises `BadInput`: no such place, no feed in it.
    """
    place, base = _open(location)
    paths = [path for path in place.paths() if not _is_hidden(path)]
    zips = [path for path in paths if path.lower().endswith(".zip")]
    folders = sorted({str(PurePosixPath(path).parent) for path in paths if _is_member(path)})
    feeds = [_from_zip(place, path, base) for path in zips]
    feeds += [_from_folder(place, paths, folder, base) for folder in folders]
    if not feeds:
        raise BadInput(
            f"RUTER_GTFS_PATH={location} holds no GTFS feed: expected a zip, the .txt files of a feed, or a folder of such "
            "zips or folders"
        )
    return feeds


def identity_of(feeds: Sequence[FeedFiles]) -> str:
    """Changes when any of the feeds is written, added or removed."""
    return _digest([(feed.name, feed.identity) for feed in feeds])


def _from_zip(place: _Place, path: str, base: str) -> FeedFiles:
    """The files may lie in one folder inside the zip."""
    name = _shown(base, path)

    def find() -> dict[str, _Member]:
        with _zip_faults(name), place.open(path) as file, zipfile.ZipFile(file) as archive:
            members = _members(name, archive)
        return {member: _Member(unpack(info), content(info)) for member, info in members.items()}

    def unpack(info: zipfile.ZipInfo) -> Callable[[Path], Path]:
        return lambda folder: _unpack(name, place, path, info, folder)

    def content(info: zipfile.ZipInfo) -> Callable[[], str]:
        return lambda: f"{info.CRC} {info.file_size}"

    return FeedFiles(name, _date_of(path), _digest([(path, place.identity(path))]), find)


@contextmanager
def _zip_faults(name: str) -> Iterator[None]:
    try:
        yield
    except (zipfile.BadZipFile, EOFError, NotImplementedError, RuntimeError, OSError, zlib.error) as error:
        raise BadInput(
            f"GTFS feed {name} is no zip file that can be read ({error}); copy it again, whole"
        ) from None


def _members(name: str, archive: zipfile.ZipFile) -> dict[str, zipfile.ZipInfo]:
    found = [
        info for info in archive.infolist() if _is_member(info.filename) and not _is_hidden(info.filename)
    ]
    if not found:
        there = ", ".join(info.filename for info in archive.infolist()[:5]) or "it is empty"
        raise BadInput(f"GTFS feed {name} holds no file of GTFS ({there}); export the feed again")
    by_name = {PurePosixPath(info.filename).name: info for info in found}
    if len(by_name) < len(found):
        raise BadInput(
            f"GTFS feed {name} holds several files of one name, in several folders; put each feed into a zip of its own"
        )
    return by_name


def _unpack(name: str, place: _Place, path: str, info: zipfile.ZipInfo, folder: Path) -> Path:
    target = folder / PurePosixPath(info.filename).name
    with (
        _zip_faults(name),
        place.open(path) as file,
        zipfile.ZipFile(file) as archive,
        archive.open(info) as packed,
        target.open("wb") as unpacked,
    ):
        shutil.copyfileobj(packed, unpacked, 2**20)
    return target


def _from_folder(place: _Place, paths: Sequence[str], folder: str, base: str) -> FeedFiles:
    members = sorted(path for path in paths if _is_member(path) and str(PurePosixPath(path).parent) == folder)

    def member(path: str) -> _Member:
        name = PurePosixPath(path).name
        return _Member(lambda target: place.fetch(path, target / name), lambda: place.content(path))

    named = base.rsplit("/", 1)[-1] if folder == "." else folder
    return FeedFiles(
        _shown(base, "" if folder == "." else folder),
        _date_of(named),
        _digest([(path, place.identity(path)) for path in members]),
        lambda: {PurePosixPath(path).name: member(path) for path in members},
    )


def _digest(parts: Sequence[tuple[str, str]]) -> str:
    return hashlib.sha256("\n".join(f"{name} {content}" for name, content in parts).encode()).hexdigest()[
        :_HASH_DIGITS
    ]


def _date_of(path: str) -> date | None:
    """The last date that a name carries: `gtfs_20240201.zip`, `2024-02-01/`."""
    for year, month, day in reversed(_DATE.findall(path)):
        try:
            return date(int(year), int(month), int(day))
        except ValueError:
            continue
    return None


def _is_member(path: str) -> bool:
    return PurePosixPath(path).name in MEMBERS


def _is_hidden(path: str) -> bool:
    return any(part.startswith((".", "_")) for part in PurePosixPath(path).parts)


def _shown(base: str, path: str) -> str:
    return f"{base}/{path}" if path else base


def _open(location: str) -> tuple[_Place, str]:
    """The place and the address that names are shown below; of a single zip, its folder and it alone."""
    location = location.rstrip("/")
    if "://" in location:
        folder, _, last = location.rpartition("/")
        if last.lower().endswith(".zip"):
            return _Remote(folder, last), folder
        return _Remote(location), location
    path = Path(location).expanduser()
    if path.is_dir():
        return _Local(path), location
    if not path.is_file():
        raise BadInput(f"RUTER_GTFS_PATH={location}: there is no such file or folder; check the path")
    if path.suffix.lower() != ".zip":
        raise BadInput(f"RUTER_GTFS_PATH={location} is no .zip file; name the zip, or the folder of the feed")
    return _Local(path.parent, path.name), str(path.parent)


class _Local:
    def __init__(self, folder: Path, only: str | None = None) -> None:
        self._folder, self._only = folder, only

    def paths(self) -> list[str]:
        if self._only:
            return [self._only]
        try:
            return sorted(
                path.relative_to(self._folder).as_posix()
                for path in self._folder.rglob("*")
                if path.is_file()
            )
        except OSError as error:
            raise BadInput(f"GTFS folder {self._folder} cannot be read ({error}); check its rights") from None

    def fetch(self, path: str, target: Path) -> Path:
        return self._folder / path

    def open(self, path: str) -> BinaryIO:
        return (self._folder / path).open("rb")

    def identity(self, path: str) -> str:
        try:
            status = (self._folder / path).stat()
        except OSError as error:
            raise self._unreadable(path, error) from None
        return f"{status.st_size} {status.st_mtime_ns}"

    def content(self, path: str) -> str:
        try:
            with (self._folder / path).open("rb") as file:
                return hashlib.file_digest(file, "sha256").hexdigest()
        except OSError as error:
            raise self._unreadable(path, error) from None

    def _unreadable(self, path: str, error: OSError) -> BadInput:
        return BadInput(f"{self._folder / path} cannot be read ({error.strerror}); check its rights")


class _Remote:
    def __init__(self, url: str, only: str | None = None) -> None:
        self._url, self._only = url, only
        self._objects: dict[str, Any] = {}

    def paths(self) -> list[str]:
        self._objects = {meta["path"]: meta for meta in self._listing()}
        return sorted(self._objects)

    def open(self, path: str) -> BinaryIO:
        return io.BufferedReader(_RemoteFile(self._url, path, self._objects[path]["size"]), _FETCHED_AT_ONCE)  # pyright: ignore[reportReturnType]

    def identity(self, path: str) -> str:
        found = self._objects[path]
        return f"{found['e_tag']} {found['size']}"

    def content(self, path: str) -> str:
        return str(self._objects[path]["e_tag"])

    def fetch(self, path: str, target: Path) -> Path:
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            with target.open("wb") as file:
                for chunk in obstore.get(open_store(self._url), path).stream():
                    file.write(chunk)
        except (obstore.exceptions.BaseError, FileNotFoundError) as error:
            raise self._unreadable(path, error) from None
        return target

    def _listing(self) -> list[Any]:
        try:
            if self._only:
                return [obstore.head(open_store(self._url), self._only)]
            return [meta for batch in open_store(self._url).list() for meta in batch]
        except (obstore.exceptions.BaseError, OSError, ValueError) as error:
            raise self._unreadable(self._only or "", error) from None

    def _unreadable(self, path: str, error: BaseException) -> FeedUnreachable:
        return _unreachable(_shown(self._url, path), error)


def _unreachable(address: str, error: BaseException) -> FeedUnreachable:
    reason = str(error).splitlines()[0]
    return FeedUnreachable(f"{address} cannot be read ({reason}); check address and rights")


class _RemoteFile(io.RawIOBase):
    """An object that is fetched in parts, as they are read."""

    def __init__(self, url: str, path: str, size: int) -> None:
        self._store, self._path, self._size, self._at = open_store(url), path, size, 0
        self._address = _shown(url, path)

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._at = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence] + offset
        return self._at

    def readinto(self, buffer: Any) -> int:
        length = max(0, min(len(buffer), self._size - self._at))
        if length:
            try:
                part = obstore.get_range(self._store, self._path, start=self._at, length=length)
            except (obstore.exceptions.BaseError, FileNotFoundError) as error:
                raise _unreachable(self._address, error) from None
            buffer[:length] = bytes(part)
            self._at += length
        return length
