"""State that cannot be used: the message names it, no later step runs, and the repaired state works as before."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from ruter_dagster.contracts.tables import STOP_VISITS
from tests.chain.local_chain import Chain
from tests.chain.tides_days import DAY, NEW, with_many_trips

pytestmark = pytest.mark.extended

RAW, LOADS = "raw/stop_visits", "loads/stop_loads"


def test_unreadable_catalog_stops_runs_until_restored(chain: Chain) -> None:
    before, catalog = chain.content(), chain.warehouse / "catalog.db"
    good = catalog.read_bytes()
    catalog.write_bytes(b"no database" * 1000)

    outcome = chain.run("counts", NEW)

    assert outcome.asset == RAW
    assert outcome.started == {RAW: 1} and not outcome.retried and not outcome.materialised
    for message in (outcome.message, chain.refuse(LOADS, "counts", DAY)):
        assert f"The table catalog sqlite:///{catalog}" in message
        assert "cannot be used: file is not a database" in message
        assert "restore it from a backup, or delete catalog and warehouse together" in message
    catalog.write_bytes(good)
    assert chain.content() == before


def test_file_size_limit_stops_the_write_and_keeps_former_rows(
    chain: Chain, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The system lets no job write a file of more than 24 KB; the rows of a date take more."""
    before = chain.content()
    for day in (DAY, NEW):
        with_many_trips(chain.tides, day)
    with monkeypatch.context() as patch:
        patch.setattr(sys, "executable", str(_python_with_small_files(tmp_path)))

        outcome = chain.run("counts", DAY, NEW)

    assert outcome.asset == RAW
    assert outcome.started == {RAW: 1} and not outcome.retried and not outcome.materialised
    assert "No space left to write tables: " in outcome.message
    assert "the table is unchanged" in outcome.message
    assert f"Free space for {chain.warehouse}/tables, then run the step again" in outcome.message
    assert chain.content() == before
    assert f"Materialise {RAW} for it first" in chain.refuse(LOADS, "counts", NEW), "nor in the next run"
    assert chain.run("counts", DAY, assets=(LOADS,)).succeeded, "the former rows passed and stand"
    assert chain.content() == before

    assert chain.run("counts", DAY, NEW, assets=(RAW,)).succeeded
    versions = chain.content(STOP_VISITS)[STOP_VISITS.name][1]
    assert NEW in versions and versions[DAY] != before[STOP_VISITS.name][1][DAY]


def _python_with_small_files(folder: Path) -> Path:
    """A Python whose processes may write no file beyond 48 blocks of 512 bytes: what a full disk does, without filling one."""
    script = folder / "python"
    script.write_text(f'#!/bin/sh\nulimit -f 48\nexec "{sys.executable}" "$@"\n')
    script.chmod(0o700)
    return script


def test_full_disk_stops_the_write_and_keeps_former_rows(chain: Chain) -> None:
    before = chain.content()
    with _disk_of_its_own(chain.warehouse) as disk:
        disk.fill()

        outcome = chain.run("counts", NEW)

        assert outcome.asset == RAW
        assert outcome.started == {RAW: 1} and not outcome.retried and not outcome.materialised
        assert "the table is unchanged" in outcome.message
        assert f"Free space for {chain.warehouse}/tables, then run the step again" in outcome.message
        assert f"Materialise {RAW} for it first" in chain.refuse(LOADS, "counts", NEW)
        assert chain.content() == before

        disk.free()
        assert chain.run("counts", NEW, assets=(RAW,)).succeeded
        assert NEW in chain.content(STOP_VISITS)[STOP_VISITS.name][1]


class _Disk:
    """A small file system that one file can fill to its last byte."""

    def __init__(self, folder: Path) -> None:
        self._ballast = folder / "ballast"

    def fill(self) -> None:
        with self._ballast.open("wb", buffering=0) as file, pytest.raises(OSError, match="No space left"):
            while True:
                file.write(bytes(512))

    def free(self) -> None:
        self._ballast.unlink()


@contextmanager
def _disk_of_its_own(folder: Path) -> Iterator[_Disk]:
    """Puts what a folder holds on a file system of 4 MB, as long as the test lasts."""
    content = folder.rename(folder.with_name("content"))
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(folder)]
    if not shutil.which("mount") or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("mounting a small file system needs root's rights")
    try:
        shutil.copytree(content, folder, dirs_exist_ok=True)
        yield _Disk(folder)
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)
