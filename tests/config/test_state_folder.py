"""State is used only where it was made: a copy never touches its original, and what cannot be used is a sentence."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest

from ruter_dagster.config.settings import Settings
from ruter_dagster.config.state_folder import MARK, require_writable_state, state_folder
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
    """The tables as every job opens them."""
    parameters = Snapshot(table=STOP_VISITS.name, dates=(DAY,))
    return JobContext(settings_of(state), parameters, Container(state), Reporter(None)).store


@pytest.fixture
def state(tmp_path: Path) -> Path:
    """The state of a project, with a table in it."""
    folder = tmp_path / "project" / "state"
    store_of(folder).write(VISITS, visits(), [DAY], code_version="1")
    return folder


def content_of(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_copy_of_a_state_is_refused_before_it_writes(state: Path, tmp_path: Path) -> None:
    before, copy = content_of(state), tmp_path / "copy"
    shutil.copytree(state, copy)

    with pytest.raises(PermanentFailure) as refused:
        store_of(copy)

    assert f"The state in {copy / 'demo'} is a copy of {state / 'demo'}" in str(refused.value)
    assert f"rm -r {copy / 'demo'}" in str(refused.value)
    assert content_of(state) == before
    assert store_of(state).dates(VISITS) == [DAY], "the original stays usable"


def test_copy_without_a_mark_is_known_by_its_catalog(state: Path, tmp_path: Path) -> None:
    (state / "demo" / MARK).unlink()
    shutil.copytree(state, tmp_path / "copy")
    with pytest.raises(PermanentFailure, match="is a copy of"):
        store_of(tmp_path / "copy")
    assert store_of(state).dates(VISITS) == [DAY]


def test_moved_project_works_through_the_link_that_the_message_names(state: Path, tmp_path: Path) -> None:
    moved = tmp_path / "Mine prosjekter, Ærlig" / "state"
    moved.parent.mkdir()
    state.rename(moved)
    with pytest.raises(PermanentFailure) as refused:
        store_of(moved)
    assert f"The state in {moved / 'demo'} was made in {state / 'demo'}" in str(refused.value)

    command = str(refused.value).partition("lead to it: ")[2].partition(". Or remove it")[0]
    assert os.system(command) == 0

    store_of(moved).write(VISITS, visits(load=1.0), [DAY], code_version="1")
    assert store_of(moved).read(VISITS, [DAY])["load"].unique().to_list() == [1.0]


def test_state_that_is_moved_back_is_usable(state: Path, tmp_path: Path) -> None:
    state.rename(tmp_path / "away")
    (tmp_path / "away").rename(state)
    assert store_of(state).dates(VISITS) == [DAY]


def test_state_says_which_source_it_is_of(tmp_path: Path) -> None:
    counts = tmp_path / "oslo" / "TIDES"
    folder = state_folder(settings_of(tmp_path / "state", source="tides", tides_path=str(counts)))
    assert json.loads((folder / MARK).read_text()) == {"folder": str(folder), "source": str(counts)}


def test_state_that_cannot_be_made_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(
        PermanentFailure, match=r"The state folder .*file/demo cannot be written .*RUTER_STATE_DIR"
    ):
        require_writable_state(settings_of(tmp_path / "file"))


def test_read_only_folder_of_a_state_is_a_sentence(state: Path) -> None:
    instance = state / "demo" / "instance"
    if os.geteuid() == 0:  # whom no mode stops
        instance.symlink_to("/proc/self")
    else:
        instance.mkdir(mode=0o500)
    with pytest.raises(PermanentFailure, match=r"The state folder .*demo/instance cannot be written"):
        require_writable_state(settings_of(state))
