"""Finds GTFS feeds in a zip, a folder or below an object-store prefix, and copies their files to a folder that polars can scan.

Reading the files belongs in gtfs_tables.py and gtfs.py.
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
from ruter_dagster.sources.gtfs_schema import GTFS_FILES

MEMBERS = tuple(file.name for file in GTFS_FILES)
"""Names of the files of a feed that are read."""
_DATE = re.compile(r"(?<!\d)(\d{4})-?(\d{2})-?(\d{2})(?!\d)")
_HASH_DIGITS = 12
_BLOCK_BYTES = 2**20
"""Bytes of a zip in an object store that one request fetches."""


class FeedUnreachable(BadInput):
    """The object store cannot be reached, or the file was removed since the listing. The feed itself may be valid."""


class _Folder(Protocol):
    """A folder of this machine or a prefix of an object store."""

    def paths(self) -> list[str]: ...

    def open(self, path: str) -> BinaryIO:
        """The file, readable from any position. An object store sends only the requested bytes."""
        ...

    def fetch(self, path: str, target: Path) -> Path:
        """Path of the file on this machine. A remote file is copied to `target`."""
        ...

    def identity(self, path: str) -> str:
        """A text that changes when the file is written, known without reading the file."""
        ...

    def content(self, path: str) -> str:
        """A text that changes only with the content of the file, as far as possible."""
        ...


@dataclass(frozen=True)
class _Member:
    """One file of a feed. `copy_to` copies it into a folder and returns its path; `content` identifies its content."""

    copy_to: Callable[[Path], Path]
    content: Callable[[], str]


class FeedFiles:
    """The files of one feed. Its zip is opened, and files are unpacked or fetched, on first use.

    - `name`: address of its zip or folder.
    - `published`: the date in its name, if any.
    - `identity`: changes when any of its files is written.
    - `names`: names of its files.
    - `content`: identifies the content of its files.
    """

    def __init__(
        self, name: str, published: date | None, identity: str, find: Callable[[], Mapping[str, _Member]]
    ) -> None:
        """`find` returns the files by name, and raises `BadInput` if they cannot be read."""
        self.name, self.published, self.identity = name, published, identity
        self._find = find
        # Unpacked files are deleted together with this object.
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
        """Path of a file on this machine. Raises `BadInput` if the feed lacks it."""
        self.require(name)
        if name not in self._paths:
            self._paths[name] = self._members[name].copy_to(Path(self._folder.name))
        return self._paths[name]

    def require(self, *names: str) -> None:
        """Raises `BadInput` with the names of missing files."""
        missing = [name for name in names if name not in self.names]
        if missing:
            raise BadInput(
                f"GTFS feed {self.name} lacks {', '.join(missing)} (it has {', '.join(sorted(self.names))}); "
                "export the complete feed again"
            )


def find_feeds(location: str) -> list[FeedFiles]:
    """Lists the feeds at a location: one zip, one folder of .txt files, or a folder (or `s3://` prefix) of such zips and folders.

    It opens no feed. Names that start with `.` or `_` are skipped. Raises `BadInput` if the location does not exist or has no feed.
    """
    root, base = _open(location)
    paths = [path for path in root.paths() if not _is_hidden(path)]
    zips = [path for path in paths if path.lower().endswith(".zip")]
    folders = sorted({str(PurePosixPath(path).parent) for path in paths if _is_member(path)})
    feeds = [_zip_feed(root, path, base) for path in zips]
    feeds += [_folder_feed(root, paths, folder, base) for folder in folders]
    if not feeds:
        raise BadInput(
            f"RUTER_GTFS_PATH={location} has no GTFS feed: expected a zip, the .txt files of a feed, or a folder of such "
            "zips or folders"
        )
    return feeds


def identity_of(feeds: Sequence[FeedFiles]) -> str:
    """A hash that changes when any of the feeds is written, added or removed."""
    return _digest([(feed.name, feed.identity) for feed in feeds])


def _zip_feed(root: _Folder, path: str, base: str) -> FeedFiles:
    """The feed in a zip. Its files may be in one folder inside the zip."""
    name = _address(base, path)

    def find() -> dict[str, _Member]:
        with _zip_errors(name), root.open(path) as file, zipfile.ZipFile(file) as archive:
            members = _members(name, archive)
        return {member: _Member(unpack(info), content(info)) for member, info in members.items()}

    def unpack(info: zipfile.ZipInfo) -> Callable[[Path], Path]:
        return lambda folder: _unpack(name, root, path, info, folder)

    def content(info: zipfile.ZipInfo) -> Callable[[], str]:
        return lambda: f"{info.CRC} {info.file_size}"

    return FeedFiles(name, _date_in_name(path), _digest([(path, root.identity(path))]), find)


@contextmanager
def _zip_errors(name: str) -> Iterator[None]:
    """Turns errors of a zip file into `BadInput`."""
    try:
        yield
    except (zipfile.BadZipFile, EOFError, NotImplementedError, RuntimeError, OSError, zlib.error) as error:
        raise BadInput(f"GTFS feed {name} is not a readable zip file ({error}); copy it again") from None


def _members(name: str, archive: zipfile.ZipFile) -> dict[str, zipfile.ZipInfo]:
    """The GTFS files in a zip, by file name. Raises `BadInput` if it has none, or several of one name."""
    members = [
        info for info in archive.infolist() if _is_member(info.filename) and not _is_hidden(info.filename)
    ]
    if not members:
        content = ", ".join(info.filename for info in archive.infolist()[:5]) or "it is empty"
        raise BadInput(f"GTFS feed {name} has no GTFS file ({content}); export the feed again")
    by_name = {PurePosixPath(info.filename).name: info for info in members}
    if len(by_name) < len(members):
        raise BadInput(
            f"GTFS feed {name} has several files with the same name, in several folders; put each feed into its own zip"
        )
    return by_name


def _unpack(name: str, root: _Folder, path: str, info: zipfile.ZipInfo, folder: Path) -> Path:
    target = folder / PurePosixPath(info.filename).name
    with (
        _zip_errors(name),
        root.open(path) as file,
        zipfile.ZipFile(file) as archive,
        archive.open(info) as packed,
        target.open("wb") as unpacked,
    ):
        shutil.copyfileobj(packed, unpacked, 2**20)
    return target


def _folder_feed(root: _Folder, paths: Sequence[str], folder: str, base: str) -> FeedFiles:
    members = sorted(path for path in paths if _is_member(path) and str(PurePosixPath(path).parent) == folder)

    def member(path: str) -> _Member:
        name = PurePosixPath(path).name
        return _Member(lambda target: root.fetch(path, target / name), lambda: root.content(path))

    folder_name = base.rsplit("/", 1)[-1] if folder == "." else folder
    return FeedFiles(
        _address(base, "" if folder == "." else folder),
        _date_in_name(folder_name),
        _digest([(path, root.identity(path)) for path in members]),
        lambda: {PurePosixPath(path).name: member(path) for path in members},
    )


def _digest(parts: Sequence[tuple[str, str]]) -> str:
    return hashlib.sha256("\n".join(f"{name} {content}" for name, content in parts).encode()).hexdigest()[
        :_HASH_DIGITS
    ]


def _date_in_name(path: str) -> date | None:
    """The last date in a name such as `gtfs_20240201.zip` or `2024-02-01/`."""
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


def _address(base: str, path: str) -> str:
    return f"{base}/{path}" if path else base


def _open(location: str) -> tuple[_Folder, str]:
    """The folder of a location, and its address for messages. For a single zip, the folder contains only this zip."""
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
        raise BadInput(
            f"RUTER_GTFS_PATH={location} is not a .zip file; set the path of the zip, or of the folder of the feed"
        )
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
            raise BadInput(
                f"GTFS folder {self._folder} cannot be read ({error}); check its permissions"
            ) from None

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
        return BadInput(f"{self._folder / path} cannot be read ({error.strerror}); check its permissions")


class _Remote:
    def __init__(self, url: str, only: str | None = None) -> None:
        self._url, self._only = url, only
        self._objects: dict[str, Any] = {}

    def paths(self) -> list[str]:
        self._objects = {meta["path"]: meta for meta in self._listing()}
        return sorted(self._objects)

    def open(self, path: str) -> BinaryIO:
        return io.BufferedReader(_RemoteFile(self._url, path, self._objects[path]["size"]), _BLOCK_BYTES)  # pyright: ignore[reportReturnType]

    def identity(self, path: str) -> str:
        meta = self._objects[path]
        return f"{meta['e_tag']} {meta['size']}"

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
        return _unreachable(_address(self._url, path), error)


def _unreachable(address: str, error: BaseException) -> FeedUnreachable:
    reason = str(error).splitlines()[0]
    return FeedUnreachable(f"{address} cannot be read ({reason}); check the address and permissions")


class _RemoteFile(io.RawIOBase):
    """A file in an object store that fetches only the bytes that are read. A large zip is never fetched completely."""

    def __init__(self, url: str, path: str, size: int) -> None:
        self._store, self._path, self._size, self._position = open_store(url), path, size, 0
        self._address = _address(url, path)

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._position = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._size}[
            whence
        ] + offset
        return self._position

    def readinto(self, buffer: Any) -> int:
        length = max(0, min(len(buffer), self._size - self._position))
        if length:
            try:
                chunk = obstore.get_range(self._store, self._path, start=self._position, length=length)
            except (obstore.exceptions.BaseError, FileNotFoundError) as error:
                raise _unreachable(self._address, error) from None
            buffer[:length] = bytes(chunk)
            self._position += length
        return length
