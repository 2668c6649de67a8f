"""The state folder: a copied, moved or read-only one is refused with a clear message."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest

from ruter_dagster.config.settings import Settings
from ruter_dagster.config.state_folder import ORIGIN_FILE, require_writable_state, state_folder
from ruter_dagster.contracts.errors import PermanentFailure
from ruter_dagster.contracts.jobs import Snapshot
from ruter_dagster.contracts.tables import STOP_VISITS
from ruter_dagster.jobs.context import JobContext
from ruter_dagster.jobs.pipes import Reporter
from ruter_dagster.storage.tables import TableStore
from tests.jobs.test_container import Container
from tests.storage.frames import DAY, VISITS, visits


def settings_of(state: Path, **more: str) -> Settings:
    return Settings(_env_file=None, state_dir=state, **more)  # pyright: ignore[reportCallIssue]


def store_of(state: Path) -> TableStore:
    """The tables, opened as a job does."""
    parameters = Snapshot(table=STOP_VISITS.name, dates=(DAY,))
    return JobContext(settings_of(state), parameters, Container(state), Reporter(None)).store


@pytest.fixture
def state(tmp_path: Path) -> Path:
    """The state folder of a project, with one table."""
    folder = tmp_path / "project" / "state"
    store_of(folder).write(VISITS, visits(), [DAY], code_version="1")
    return folder


def content_of(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_copy_of_a_state_is_refused_before_it_writes(state: Path, tmp_path: Path) -> None:
    before, copy = content_of(state), tmp_path / "copy"
    shutil.copytree(state, copy)

    with pytest.raises(PermanentFailure) as error:
        store_of(copy)

    assert f"The state in {copy / 'demo'} is a copy of {state / 'demo'}" in str(error.value)
    assert f"rm -r {copy / 'demo'}" in str(error.value)
    assert content_of(state) == before
    assert store_of(state).dates(VISITS) == [DAY], "the original stays usable"


def test_copy_without_origin_file_is_recognised_by_its_catalog(state: Path, tmp_path: Path) -> None:
    (state / "demo" / ORIGIN_FILE).unlink()
    shutil.copytree(state, tmp_path / "copy")
    with pytest.raises(PermanentFailure, match="is a copy of"):
        store_of(tmp_path / "copy")
    assert store_of(state).dates(VISITS) == [DAY]


def test_moved_state_works_after_the_command_of_the_error(state: Path, tmp_path: Path) -> None:
    moved = tmp_path / "Mine prosjekter, Ærlig" / "state"
    moved.parent.mkdir()
    state.rename(moved)
    with pytest.raises(PermanentFailure) as error:
        store_of(moved)
    assert f"The state in {moved / 'demo'} was created in {state / 'demo'}" in str(error.value)

    command = str(error.value).partition("former path to it: ")[2].partition(". Or remove it")[0]
    assert os.system(command) == 0

    store_of(moved).write(VISITS, visits(load=1.0), [DAY], code_version="1")
    assert store_of(moved).read(VISITS, [DAY])["load"].unique().to_list() == [1.0]


def test_state_that_is_moved_back_is_usable(state: Path, tmp_path: Path) -> None:
    state.rename(tmp_path / "away")
    (tmp_path / "away").rename(state)
    assert store_of(state).dates(VISITS) == [DAY]


def test_origin_file_names_folder_and_source(tmp_path: Path) -> None:
    counts = tmp_path / "oslo" / "TIDES"
    folder = state_folder(settings_of(tmp_path / "state", source="tides", tides_path=str(counts)))
    assert json.loads((folder / ORIGIN_FILE).read_text()) == {"folder": str(folder), "source": str(counts)}


def test_state_folder_that_cannot_be_created_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(
        PermanentFailure, match=r"The state folder .*file/demo cannot be written .*RUTER_STATE_DIR"
    ):
        require_writable_state(settings_of(tmp_path / "file"))


def test_read_only_folder_is_named(state: Path) -> None:
    instance = state / "demo" / "instance"
    if os.geteuid() == 0:  # root ignores file modes
        instance.symlink_to("/proc/self")
    else:
        instance.mkdir(mode=0o500)
    with pytest.raises(PermanentFailure, match=r"The state folder .*demo/instance cannot be written"):
        require_writable_state(settings_of(state))
