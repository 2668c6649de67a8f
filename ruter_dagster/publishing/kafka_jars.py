"""Where the local broker's jars come from: fetched once by jgo, checked against `kafka_jars.lock`, kept in a cache.

`kafka_jars.lock` lists each jar's SHA-256 and name as `sha256sum` prints them; `write_lock` makes it anew for another
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
"""The broker, and the logger without which a broker that dies would not say why."""

LOCK_FILE = Path(__file__).with_name("kafka_jars.lock")


def broker_jars(cache_dir: Path | None = None) -> Path:
    """The folder that holds the broker's checked jars and nothing else; fetched (44 MB) if it is not there.

    `cache_dir` defaults to `$XDG_CACHE_HOME/ruter-dagster`, else `~/.cache/ruter-dagster`. A jar that is not the
    locked one is a PermanentFailure; a registry that does not answer is BrokerUnavailable.
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
    """The user's cache folder: it outlives a clone, so that a second clone fetches nothing."""
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "ruter-dagster"


def write_lock(jars: Iterable[Path]) -> None:
    """Write `kafka_jars.lock` for these jars (by hand, when `ENDPOINT` changes)."""
    lines = sorted(f"{_sha256(jar)}  {jar.name}\n" for jar in jars)
    LOCK_FILE.write_text("".join(lines))


def resolve(cache_dir: Path) -> list[Path]:
    """Let jgo fetch `ENDPOINT` and all it depends on; the jars' paths."""
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
    with tempfile.TemporaryDirectory(dir=cache_dir) as unfinished:
        complete = Path(unfinished) / "jars"
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


def _check(jars: Iterable[Path], expected: dict[str, str], place: Path) -> None:
    found = {jar.name: _sha256(jar) for jar in jars}
    wrong = sorted(name for name in expected.keys() | found.keys() if expected.get(name) != found.get(name))
    if wrong:
        raise PermanentFailure(
            f"The local broker's jars in {place} are not those of {LOCK_FILE.name}: {', '.join(wrong)}. "
            f"Remove {place} and start again."
        )


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
