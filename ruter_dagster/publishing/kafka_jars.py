"""The local broker's jars: jgo fetches them once, they are checked against `kafka_jars.lock` and kept in a cache.

`kafka_jars.lock` lists the SHA-256 and name of each jar, as `sha256sum` prints them. `write_lock` writes it for a new
version.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path

from ruter_dagster.contracts.errors import PermanentFailure
from ruter_dagster.publishing.connection import BrokerUnavailable

KAFKA_VERSION = "4.3.0"
ENDPOINT = f"org.apache.kafka:kafka_2.13:{KAFKA_VERSION}+org.slf4j:slf4j-simple:1.7.36"
"""The broker and a logger. Without the logger a dying broker would not say why."""

LOCK_FILE = Path(__file__).with_name("kafka_jars.lock")


def broker_jars(cache_dir: Path | None = None) -> Path:
    """The folder with the broker's checked jars and nothing else. Fetches them (44 MB) if the folder is missing.

    `cache_dir` defaults to `$XDG_CACHE_HOME/ruter-dagster`, else `~/.cache/ruter-dagster`. Raises `PermanentFailure` if a
    jar differs from the locked one, `BrokerUnavailable` if the registry does not answer.
    """
    cache_dir = cache_dir or default_cache_dir()
    expected = _read_lock()
    folder = cache_dir / f"kafka-{KAFKA_VERSION}-{_lock_digest()}"
    if not folder.exists():
        cache_dir.mkdir(parents=True, exist_ok=True)
        with (cache_dir / "kafka.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not folder.exists():
                _fetch(cache_dir, folder, expected)
    _check(folder.iterdir(), expected, folder)
    return folder


def default_cache_dir() -> Path:
    """The user's cache folder. Clones share it, so that a second clone fetches nothing."""
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "ruter-dagster"


def write_lock(jars: Iterable[Path]) -> None:
    """Writes `kafka_jars.lock` for these jars. Call it by hand when `ENDPOINT` changes."""
    lines = sorted(f"{_sha256(jar)}  {jar.name}\n" for jar in jars)
    LOCK_FILE.write_text("".join(lines))


def resolve(cache_dir: Path) -> list[Path]:
    """Fetches `ENDPOINT` and its dependencies with jgo, and returns the paths of the jars."""
    import jgo

    print(f"Fetching Apache Kafka {KAFKA_VERSION} (44 MB, once) …", file=sys.stderr, flush=True)
    try:
        return jgo.build(ENDPOINT, cache_dir=cache_dir / "jgo").all_jars
    except Exception as error:
        raise BrokerUnavailable(
            f"Apache Kafka {KAFKA_VERSION} could not be fetched for the local broker: {error}. "
            "Connect to the network once, or name a cluster in KAFKA_BOOTSTRAP_SERVERS."
        ) from error


def _fetch(cache_dir: Path, folder: Path, expected: dict[str, str]) -> None:
    jars = resolve(cache_dir)
    _check(jars, expected, cache_dir / "jgo")
    with tempfile.TemporaryDirectory(dir=cache_dir) as temporary:
        complete = Path(temporary) / "jars"
        complete.mkdir()
        for jar in jars:
            shutil.copyfile(jar, complete / jar.name)
        complete.rename(folder)
    shutil.rmtree(cache_dir / "jgo", ignore_errors=True)


def _read_lock() -> dict[str, str]:
    pairs = (line.split() for line in LOCK_FILE.read_text().splitlines())
    return {name: digest for digest, name in pairs}


def _lock_digest() -> str:
    return hashlib.sha256(LOCK_FILE.read_bytes()).hexdigest()[:12]


def _check(jars: Iterable[Path], expected: dict[str, str], folder: Path) -> None:
    actual = {jar.name: _sha256(jar) for jar in jars}
    wrong = sorted(name for name in expected.keys() | actual.keys() if expected.get(name) != actual.get(name))
    if wrong:
        raise PermanentFailure(
            f"The local broker's jars in {folder} differ from {LOCK_FILE.name}: {', '.join(wrong)}. "
            f"Delete {folder} and start again."
        )


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
