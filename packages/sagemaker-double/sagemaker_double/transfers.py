"""Moves files between S3 and a container's folders, as the platform does: channels down, outputs, models and checkpoints up."""

from __future__ import annotations

import json
import tarfile
import tempfile
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from boto3.exceptions import S3UploadFailedError


class NoObjects(Exception):
    """No object below an input's address."""


def bucket_and_key(uri: str) -> tuple[str, str]:
    parts = urlsplit(uri, allow_fragments=False)
    return parts.netloc, parts.path.lstrip("/")


class Transfers:
    """`s3`: a boto3 client of the double itself."""

    def __init__(self, s3: Any) -> None:
        self.s3 = s3

    def keys(self, bucket: str, prefix: str) -> list[str]:
        pages = self.s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix)
        return [each["Key"] for page in pages for each in page.get("Contents", [])]

    def download(
        self, uri: str, folder: Path, *, manifest: bool = False, shard: tuple[int, int] | None = None
    ) -> None:
        """Everything below `uri`, a prefix or a manifest; `shard` (i, n): every n-th object from i on."""
        folder.mkdir(parents=True, exist_ok=True)
        bucket, files = self._listed(uri, manifest)
        if not files:
            raise NoObjects(uri)
        if shard:
            files = dict(list(files.items())[shard[0] :: shard[1]])
        for key, relative in files.items():
            target = folder / relative
            target.parent.mkdir(parents=True, exist_ok=True)
            self.s3.download_file(bucket, key, str(target))

    def _listed(self, uri: str, manifest: bool) -> tuple[str, dict[str, str]]:
        """The bucket, and each key with its path in the container."""
        bucket, prefix = bucket_and_key(uri)
        if not manifest:
            keys = [key for key in self.keys(bucket, prefix) if not key.endswith("/")]
            return bucket, {key: _relative(key, prefix) for key in keys}
        listed = json.loads(self.s3.get_object(Bucket=bucket, Key=prefix)["Body"].read())
        bucket, prefix = bucket_and_key(listed[0]["prefix"])
        return bucket, {prefix + name: name for name in listed[1:]}

    def upload(self, folder: Path, uri: str) -> None:
        """Uploads each file of a folder, but nothing that links point to."""
        bucket, prefix = bucket_and_key(uri)
        for path in _files(folder):
            self.s3.upload_file(str(path), bucket, _key(path, folder, prefix))

    def upload_changes(
        self, folder: Path, uri: str, known: dict[Path, tuple[int, int]], *, changing: bool
    ) -> None:
        """As `upload`, but only files that have changed since the last time, which `known` holds.

        `changing`: a running container may replace a file at any moment. Such a file waits for the next time.
        """
        bucket, prefix = bucket_and_key(uri)
        for path in _files(folder):
            try:
                stat = path.stat()
                stamp = (stat.st_mtime_ns, stat.st_size)
                if known.get(path) != stamp:
                    self.s3.upload_file(str(path), bucket, _key(path, folder, prefix))
                    known[path] = stamp
            except (OSError, S3UploadFailedError):
                if not changing:
                    raise

    def upload_archive(self, folder: Path, uri: str) -> None:
        """A folder's files as one .tar.gz; nothing if it has none."""
        files = list(_files(folder))
        if not files:
            return
        with tempfile.TemporaryDirectory() as scratch:
            archive = Path(scratch) / "archive.tar.gz"
            with tarfile.open(archive, "w:gz", compresslevel=1) as tar:
                for path in files:
                    tar.add(path, path.relative_to(folder).as_posix())
            bucket, key = bucket_and_key(uri)
            self.s3.upload_file(str(archive), bucket, key)


def _key(path: Path, folder: Path, prefix: str) -> str:
    relative = path.relative_to(folder).as_posix()
    return f"{prefix.rstrip('/')}/{relative}" if prefix else relative


def _relative(key: str, prefix: str) -> str:
    rest = key[len(prefix) :]
    if rest.startswith("/") or prefix.endswith("/") or not prefix:
        return rest.lstrip("/")
    return key[prefix.rfind("/") + 1 :]


def _files(folder: Path) -> list[Path]:
    if not folder.is_dir():
        return []
    return sorted(path for path in folder.rglob("*") if path.is_file() and not path.is_symlink())
