"""A date is read again after its own files or its rows in shared files have changed."""

from __future__ import annotations

from datetime import date, timedelta
from pathlib import Path

import pytest

from ruter_dagster.config.settings import Settings
from ruter_dagster.contracts.tables import PLANNED_DEPARTURES, STOP_VISITS, Table
from ruter_dagster.sources.file_versions import file_versions
from tests.sources.gtfs_feed import FEED, write_folder, write_zip
from tests.sources.tides_folder import DAY, TRIPS, VEHICLES, VISITS, write_tables

NEXT = DAY + timedelta(1)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two dates with their own files, and one vehicles file for both."""
    for table, rows in (("stop_visits", VISITS), ("trips_performed", TRIPS)):
        (tmp_path / table).mkdir()
        for day in (DAY, NEXT):
            (tmp_path / table / f"{day}.csv").write_text(rows.replace(str(DAY), str(day)))
    (tmp_path / "vehicles.csv").write_text(VEHICLES)
    return tmp_path


def settings(folder: Path) -> Settings:
    return Settings(source="tides", tides_path=str(folder), operator="ruter", _env_file=None)  # pyright: ignore[reportCallIssue]


def changed(folder: Path, file: str, old: str = "", new: str = "", more: str = "\n") -> set[date]:
    """The dates that are to be read again once a file has changed."""
    before = {
        day: files.recorded()
        for day, files in file_versions(settings(folder), STOP_VISITS.name, [DAY, NEXT]).items()
    }
    text = (folder / file).read_text()
    assert old in text
    (folder / file).write_text(text.replace(old, new) + more)
    now = file_versions(settings(folder), STOP_VISITS.name, [DAY, NEXT])
    return {day for day in now if now[day].has_changed(before[day])}


@pytest.fixture
def shared(tmp_path: Path) -> Path:
    """Two dates in one file of each table."""
    write_tables(tmp_path)
    for table in ("stop_visits", "trips_performed"):
        header, _, rows = (tmp_path / f"{table}.csv").read_text().partition("\n")
        (tmp_path / f"{table}.csv").write_text(f"{header}\n{rows}{rows.replace(str(DAY), str(NEXT))}")
    return tmp_path


def test_new_vehicles_table_changes_every_date(folder: Path) -> None:
    (folder / "vehicles.csv").unlink()
    dates = [DAY, NEXT]
    before = {
        day: files.recorded()
        for day, files in file_versions(settings(folder), STOP_VISITS.name, dates).items()
    }
    (folder / "vehicles.csv").write_text(VEHICLES)
    now = file_versions(settings(folder), STOP_VISITS.name, dates)
    assert all(now[day].has_changed(before[day]) for day in dates)


@pytest.mark.parametrize("table", ["stop_visits", "trips_performed"])
def test_changed_file_changes_its_date(folder: Path, table: str) -> None:
    assert changed(folder, f"{table}/{NEXT}.csv") == {NEXT}


@pytest.mark.parametrize(
    ("file", "row"),
    [
        ("trips_performed.csv", f"{NEXT},p1,v1,s1,31"),
        ("stop_visits.csv", f"{NEXT},p1,2,v1,nationaltheatret"),
    ],
)
def test_corrected_row_of_a_shared_file_changes_its_date(shared: Path, file: str, row: str) -> None:
    assert changed(shared, file, row, f"{row}x") == {NEXT}


def test_removed_row_of_a_shared_file_changes_its_date(shared: Path) -> None:
    trip = f"{DAY},p2,v1,s2,31,Bus Service,1,In service,Scheduled\n"
    assert changed(shared, "trips_performed.csv", trip) == {DAY}


def test_corrected_vehicles_change_every_date(folder: Path) -> None:
    assert changed(folder, "vehicles.csv", "v1,40", "v1,45") == {DAY, NEXT}


def test_rewritten_shared_file_with_equal_rows_changes_no_date(shared: Path) -> None:
    assert changed(shared, "vehicles.csv") == set()
    _, *rows = (shared / "stop_visits.csv").read_text().splitlines()
    assert changed(shared, "stop_visits.csv", "\n".join(rows), "\n".join(reversed(rows))) == set()


def test_date_added_to_a_shared_file_changes_no_other_date(shared: Path) -> None:
    late = TRIPS.partition("\n")[2].replace(str(DAY), str(NEXT + timedelta(1)))
    assert changed(shared, "trips_performed.csv", more=late) == set()


def test_unreadable_shared_file_changes_every_date(shared: Path) -> None:
    assert changed(shared, "trips_performed.csv", "service_date", "day") == {DAY, NEXT}


def test_new_date_has_changed(folder: Path) -> None:
    late = NEXT + timedelta(1)
    before = file_versions(settings(folder), STOP_VISITS.name, [late])[late].recorded()
    (folder / "stop_visits" / f"{late}.csv").write_text(VISITS.replace(str(DAY), str(late)))
    assert file_versions(settings(folder), STOP_VISITS.name, [late])[late].has_changed(before)


def test_source_without_files_has_no_versions() -> None:
    assert file_versions(Settings(source="demo", _env_file=None), STOP_VISITS.name, [DAY]) == {}  # pyright: ignore[reportCallIssue]


AHEAD = [NEXT + timedelta(days) for days in range(5)]
"""The newest date with counts, and those after it."""


def planned(folder: Path) -> dict[date, str]:
    """The recorded versions of the planned departures of these dates."""
    versions = file_versions(settings(folder), PLANNED_DEPARTURES.name, AHEAD)
    return {day: files.recorded() for day, files in versions.items()}


def outdated(folder: Path, before: dict[date, str], table: Table = PLANNED_DEPARTURES) -> list[date]:
    now = file_versions(settings(folder), table.name, before)
    return [day for day, files in now.items() if files.has_changed(before[day])]


def test_replaced_feed_changes_future_dates(folder: Path) -> None:
    write_zip(folder / "gtfs.zip")
    before = planned(folder)
    assert outdated(folder, before) == []
    write_zip(folder / "gtfs.zip", FEED | {"stops.txt": FEED["stops.txt"] + "x,,X,,\n"})
    assert outdated(folder, before) == AHEAD[1:]


def test_newer_feed_changes_the_future_dates_that_it_plans(folder: Path) -> None:
    write_folder(folder / "gtfs" / "2026-11-16")
    before = planned(folder)
    from_tuesday = {"feed_info.txt": FEED["feed_info.txt"].replace("20261116", f"{AHEAD[3]:%Y%m%d}")}
    write_folder(folder / "gtfs" / "2026-11-20", FEED | from_tuesday)
    assert outdated(folder, before) == AHEAD[3:]


def test_corrected_trips_change_future_dates_planned_with_their_vehicles(folder: Path) -> None:
    """A date is planned with the vehicles of dates four days before it and earlier."""
    write_zip(folder / "gtfs.zip")
    before = planned(folder)
    trips = folder / "trips_performed" / f"{NEXT}.csv"
    trips.write_text(trips.read_text().replace("p2,v1", "p2,v2"))
    assert outdated(folder, before) == [NEXT, AHEAD[4]]


def test_plan_of_a_date_with_counts_is_kept(folder: Path) -> None:
    write_zip(folder / "gtfs.zip")
    before = planned(folder)
    for table, rows in (("stop_visits", VISITS), ("trips_performed", TRIPS)):
        (folder / table / f"{AHEAD[1]}.csv").write_text(rows.replace(str(DAY), str(AHEAD[1])))
    assert outdated(folder, before) == []
    write_zip(folder / "gtfs.zip", FEED | {"stops.txt": FEED["stops.txt"] + "x,,X,,\n"})
    now = file_versions(settings(folder), PLANNED_DEPARTURES.name, AHEAD)
    assert now[AHEAD[1]].has_changed(before[AHEAD[1]])
    assert not now[AHEAD[1]].has_changed(before[AHEAD[1]], is_matched=True)


def test_changed_feed_does_not_change_counts(folder: Path) -> None:
    write_zip(folder / "gtfs.zip")
    versions = file_versions(settings(folder), STOP_VISITS.name, [DAY, NEXT])
    before = {day: files.recorded() for day, files in versions.items()}
    write_zip(folder / "gtfs.zip", FEED | {"stops.txt": FEED["stops.txt"] + "x,,X,,\n"})
    assert outdated(folder, before, STOP_VISITS) == []
