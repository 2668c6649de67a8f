"""A date is read again when its files have changed, and one with rows set aside also when a file that it shares has."""

from __future__ import annotations

from datetime import date, timedelta
from pathlib import Path

import pytest

from ruter_dagster.settings import Settings
from ruter_dagster.sources.file_versions import file_versions
from tests.sources.tides_folder import DAY, TRIPS, VEHICLES, VISITS, write_tables

NEXT = DAY + timedelta(1)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two dates, a file each; the vehicles are theirs both."""
    for table, rows in (("stop_visits", VISITS), ("trips_performed", TRIPS)):
        (tmp_path / table).mkdir()
        for day in (DAY, NEXT):
            (tmp_path / table / f"{day}.csv").write_text(rows.replace(str(DAY), str(day)))
    (tmp_path / "vehicles.csv").write_text(VEHICLES)
    return tmp_path


def settings(folder: Path) -> Settings:
    return Settings(source="tides", tides_path=str(folder), _env_file=None)  # pyright: ignore[reportCallIssue]


def changed(folder: Path, file: str, with_rejects: bool = False) -> set[date]:
    """The dates that are to be read again once a file has changed."""
    before = {
        day: files.recorded(with_rejects)
        for day, files in file_versions(settings(folder), [DAY, NEXT]).items()
    }
    (folder / file).write_text((folder / file).read_text() + "\n")
    now = file_versions(settings(folder), [DAY, NEXT])
    return {day for day in now if now[day].has_changed(before[day])}


@pytest.mark.parametrize("table", ["stop_visits", "trips_performed"])
def test_a_changed_file_concerns_its_own_date(folder: Path, table: str) -> None:
    assert changed(folder, f"{table}/{NEXT}.csv") == {NEXT}


def test_a_shared_file_concerns_dates_with_rejects(folder: Path) -> None:
    assert changed(folder, "vehicles.csv") == set()
    assert changed(folder, "vehicles.csv", with_rejects=True) == {DAY, NEXT}


def test_a_file_of_many_dates_is_shared(tmp_path: Path) -> None:
    write_tables(tmp_path)
    assert changed(tmp_path, "stop_visits.csv") == set()
    assert changed(tmp_path, "stop_visits.csv", with_rejects=True) == {DAY, NEXT}


def test_a_date_that_arrives_has_changed(folder: Path) -> None:
    late = NEXT + timedelta(1)
    before = file_versions(settings(folder), [late])[late].recorded(False)
    (folder / "stop_visits" / f"{late}.csv").write_text(VISITS.replace(str(DAY), str(late)))
    assert file_versions(settings(folder), [late])[late].has_changed(before)


def test_a_source_without_files_has_none() -> None:
    assert file_versions(Settings(source="demo", _env_file=None), [DAY]) == {}  # pyright: ignore[reportCallIssue]
