"""The files of feeds: `feeds/<issue date>/<publication id>/…` among the artifacts, and `feeds/latest.json` with the newest ones.

A publication's files are written first, then its `publication.json`, then `latest.json`. So whoever follows `latest.json` sees
all files of one publication. The content of the files belongs in the package `feeds`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Iterable, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any

from ruter_dagster.storage.artifacts import ArtifactStore

FEEDS_PREFIX = "feeds/"
LATEST = f"{FEEDS_PREFIX}latest.json"
PUBLICATION = "publication.json"


@dataclass(frozen=True)
class StoredFile:
    """One file of a feed. `path` is relative to the publication's folder, `sha256` is of the stored bytes."""

    feed: str
    operating_day: date
    path: str
    media_type: str
    bytes: int
    sha256: str
    journeys: int
    calls: int


@dataclass(frozen=True)
class FeedPublication:
    """The feeds of one publication: its identity, times and files."""

    publication_id: str
    issue_date: date
    issued_at: datetime
    published_at: datetime
    files: tuple[StoredFile, ...]

    @property
    def folder(self) -> str:
        """The key of the publication's folder, which ends with `/`."""
        return folder_of(self.issue_date, self.publication_id)

    def to_json(self) -> bytes:
        """The content of `publication.json` and `latest.json`. The same publication always has the same bytes."""
        document = {
            "publicationId": self.publication_id,
            "issueDate": self.issue_date.isoformat(),
            "issuedAt": _utc(self.issued_at),
            "publishedAt": _utc(self.published_at),
            "folder": self.folder,
            "files": [_file_to_json(file) for file in self.files],
        }
        return json.dumps(document, indent=2, ensure_ascii=False).encode() + b"\n"


class FeedFiles:
    """The feeds in an artifact store."""

    def __init__(self, artifacts: ArtifactStore) -> None:
        self._artifacts = artifacts

    def put(self, publication_folder: str, path: str, content: bytes) -> str:
        """Writes a file of a publication, or replaces it. Returns the SHA-256 of its bytes."""
        self._artifacts.put(f"{publication_folder}{path}", content)
        return hashlib.sha256(content).hexdigest()

    def complete(self, publication: FeedPublication) -> None:
        """Writes `publication.json` after all files."""
        self._artifacts.put(f"{publication.folder}{PUBLICATION}", publication.to_json())

    def delete_leftovers(self, publication: FeedPublication) -> None:
        """Deletes files that an earlier attempt with other feeds left in the folder. `latest.json` may name them until `make_latest`."""
        expected = {
            f"{publication.folder}{name}"
            for name in (PUBLICATION, *(file.path for file in publication.files))
        }
        self._artifacts.delete_all(sorted(set(self._artifacts.list(publication.folder)) - expected))

    def make_latest(self, publication: FeedPublication, former: Collection[str] = ()) -> bool:
        """Makes `latest.json` name this publication, unless it names a newer one. Returns whether it names this one.

        A newer issue date is newer; of the same issue date, the later publication. `former`: ids of the publications of the
        issue date that are older than this one, whatever their times say.
        """
        latest = self.latest()
        own_age = publication.issue_date.isoformat(), _utc(publication.published_at)
        if latest and _age(latest) > own_age and latest["publicationId"] not in former:
            return False
        self._artifacts.put(LATEST, publication.to_json())
        return True

    def latest(self) -> dict[str, Any] | None:
        """The content of `latest.json`; None if there is none."""
        content = self._artifacts.find(LATEST)
        return json.loads(content) if content else None

    def first_kept(self, keep_days: int, *issue_dates: date) -> date:
        """The oldest issue date whose feeds are kept: `keep_days` before the latest one, which may be one of `issue_dates`."""
        latest = self.latest()
        known = [*issue_dates, *([date.fromisoformat(latest["issueDate"])] if latest else [])]
        return max(known) - timedelta(keep_days) if known else date.min

    def delete_old(self, keep_days: int) -> list[date]:
        """Deletes the feeds of issue dates that are more than `keep_days` before the latest one. Returns these dates."""
        first_kept = self.first_kept(keep_days)
        keys = {key: _issue_date(key) for key in self._artifacts.list(FEEDS_PREFIX) if key != LATEST}
        old = {key: day for key, day in keys.items() if day and day < first_kept}
        self._artifacts.delete_all(sorted(old))
        return sorted(set(old.values()))


def folder_of(issue_date: date, publication_id: str) -> str:
    """The key of a publication's folder, which ends with `/`."""
    return f"{FEEDS_PREFIX}{issue_date}/{publication_id}/"


def total_bytes(files: Iterable[StoredFile]) -> int:
    return sum(file.bytes for file in files)


def _file_to_json(file: StoredFile) -> dict[str, Any]:
    values = asdict(file) | {"operating_day": file.operating_day.isoformat()}
    return {_camel_case(name): value for name, value in values.items()}


def _camel_case(name: str) -> str:
    first, *others = name.split("_")
    return first + "".join(word.capitalize() for word in others)


def _utc(time: datetime) -> str:
    return time.astimezone(UTC).isoformat(timespec="microseconds")


def _age(document: dict[str, Any]) -> tuple[str, str]:
    return document["issueDate"], document["publishedAt"]


def _issue_date(key: str) -> date | None:
    """The issue date in a key of a feed; None for any other file."""
    parts: Sequence[str] = key.removeprefix(FEEDS_PREFIX).split("/")
    try:
        return date.fromisoformat(parts[0])
    except ValueError:
        return None
