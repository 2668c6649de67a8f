"""The job snapshot copies valid dates and reports rejected, blocked and missing ones."""

from __future__ import annotations

import re
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from ruter_dagster.config.settings import Settings
from ruter_dagster.contracts.container import Container
from ruter_dagster.contracts.errors import BadInput, NoDataForDates
from ruter_dagster.contracts.jobs import Snapshot
from ruter_dagster.contracts.tables import PLANNED_DEPARTURES, REJECTED_VISITS, STOP_VISITS, Table
from ruter_dagster.jobs import snapshot
from ruter_dagster.jobs.context import JobContext
from ruter_dagster.jobs.pipes import Reporter
from ruter_dagster.sources.base import DateAbsent, Reading
from ruter_dagster.sources.file_versions import file_versions
from tests.quality.frames import planned, rejected_rows
from tests.sources.gtfs_feed import FEED, write_folder, write_zip
from tests.sources.tides_folder import DAY, TRIPS, VEHICLES, VISITS

pytestmark = pytest.mark.filterwarnings("ignore:Delete operation did not match any records")

WEEKS = [DAY + timedelta(weeks=week) for week in range(6)]
"""Dates of six weeks, more days than one pass reads."""


class Recorder(Reporter):
    """Records the job's reports."""

    def __init__(self) -> None:
        super().__init__(None)
        self.metadata: dict[str, Any] = {}
        self.checks: dict[str, tuple[bool, dict[str, Any]]] = {}

    def materialised(self, asset: str, **metadata: Any) -> None:
        self.metadata.update(metadata)

    def checked(self, asset: str, name: str, passed: bool, *severity: Any, **metadata: Any) -> None:
        self.checks[name] = (passed, metadata)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The same visits on each date of WEEKS, one file for each date. The first date has a visit without counts."""
    for table, rows in (("stop_visits", VISITS), ("trips_performed", TRIPS)):
        (tmp_path / table).mkdir()
        for day in WEEKS:
            (tmp_path / table / f"{day}.csv").write_text(rows.replace(str(DAY), str(day)))
    first = tmp_path / "stop_visits" / f"{DAY}.csv"
    first.write_text(first.read_text().replace("4,0,0,0,4,Scheduled", "4,0,,,,Scheduled"))
    (tmp_path / "vehicles.csv").write_text(VEHICLES)
    return tmp_path


def settings_of(folder: Path) -> Settings:
    return Settings(
        source="tides", tides_path=str(folder), operator="ruter", state_dir=folder / "state", _env_file=None
    )  # pyright: ignore[reportCallIssue]


def job(folder: Path, *dates: date, table: Table = STOP_VISITS) -> tuple[Snapshot, JobContext, Recorder]:
    parameters = Snapshot(table=table.name, dates=dates, of_range=len(dates) > 1, code_version="1")
    report = Recorder()
    return parameters, JobContext(settings_of(folder), parameters, Container(folder), report), report


def run_snapshot(folder: Path, *dates: date, table: Table = STOP_VISITS) -> tuple[JobContext, dict[str, Any]]:
    """Runs the job on dates of the folder. Returns its context and the reported metadata."""
    parameters, context, report = job(folder, *dates, table=table)
    snapshot.run(parameters, context)
    return context, report.metadata


def replace_text(folder: Path, day: date, old: str, new: str) -> None:
    path = folder / "stop_visits" / f"{day}.csv"
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new))


def add_trips(folder: Path, day: date, bad: int = 0, good: int = 20) -> None:
    """Adds trips with one visit each to a date, `bad` of them with a negative count."""
    with (folder / "stop_visits" / f"{day}.csv").open("a") as file:
        for trip in range(bad + good):
            count = -1 if trip < bad else 1
            file.write(f"{day},x{trip},1,v1,solli,{day}T12:00:00+01:00,{count},0,0,0,5,Scheduled\n")
    with (folder / "trips_performed" / f"{day}.csv").open("a") as file:
        file.writelines(
            f"{day},x{trip},v1,sx{trip},32,Bus Service,0,In service,Scheduled\n" for trip in range(bad + good)
        )


def rejected(context: JobContext, *dates: date) -> pl.DataFrame:
    return context.store.read(REJECTED_VISITS, dates)


def test_counts_of_source_rows_are_reported(folder: Path) -> None:
    _, metadata = run_snapshot(folder, DAY)
    counts = metadata["rows_of_source"]["raw_value"]
    assert counts == {"visits": 4, "kept without counts, trip counted at other stops": 1}
    assert metadata["dates"][DAY].rows == 4


def test_rejected_rows_are_stored_with_their_reason(folder: Path) -> None:
    replace_text(folder, WEEKS[1], "3,2,0,0,5", "3,-2,0,0,5")
    replace_text(folder, WEEKS[2], "p2,1,v1", "p2,0,v1")
    context, metadata = run_snapshot(folder, *WEEKS[:3])
    rows = rejected(context, *WEEKS[1:3])
    assert rows.select("service_date", "file", "line_number", "reason", "date_blocked").rows() == [
        (WEEKS[1], f"stop_visits/{WEEKS[1]}.csv", 2, "boarding_2 is below 0", False),
        (WEEKS[2], f"stop_visits/{WEEKS[2]}.csv", 4, "stop_sequence is below 1", False),
    ]
    assert metadata["rejected_by_reason"]["raw_value"] == {
        "boarding_2 is below 0": 1,
        "stop_sequence is below 1": 1,
    }
    assert context.store.dates(REJECTED_VISITS) == WEEKS[1:3], "the first date has no rejected rows"


def test_corrected_input_clears_its_rejects(folder: Path) -> None:
    for day in WEEKS[1:3]:
        replace_text(folder, day, "3,2,0,0,5", "3,-2,0,0,5")
    context, _ = run_snapshot(folder, *WEEKS[1:3])
    assert rejected(context, *WEEKS[1:3]).height == 2
    replace_text(folder, WEEKS[1], "3,-2,0,0,5", "3,2,0,0,5")
    context, metadata = run_snapshot(folder, WEEKS[1])
    assert rejected(context, *WEEKS[1:3])["service_date"].to_list() == [WEEKS[2]]
    assert metadata["rejected_by_reason"] is None


def test_date_with_too_many_bad_rows_is_blocked(folder: Path) -> None:
    context, _ = run_snapshot(folder, DAY)
    before = context.store.read(STOP_VISITS, [DAY])
    add_trips(folder, DAY, bad=3)
    parameters, context, report = job(folder, DAY)

    with pytest.raises(NoDataForDates) as failure:
        snapshot.run(parameters, context)

    assert str(failure.value).startswith(
        "raw.stop_visits: service_date 2026-11-20 is blocked: 11.1% of its rows were rejected (3 of 27 rows), the limit is 2.0%. "
        "Reasons: boarding_1 is below 0 (3 rows). E.g. stop_visits/2026-11-20.csv, line 6: boarding_1 is below 0: {"
    )
    assert "raise share_of_date in [rejects] of the operator file" in str(failure.value)
    assert not report.metadata, "nothing was materialised"
    assert context.store.read(STOP_VISITS, [DAY]).equals(before), "the rows are unchanged"
    assert rejected(context, DAY)["date_blocked"].to_list() == [True] * 3


@pytest.mark.parametrize("table", [STOP_VISITS, PLANNED_DEPARTURES])
def test_file_versions_of_dates_are_recorded(folder: Path, table: Table) -> None:
    absent = WEEKS[0] + timedelta(1)
    _, metadata = run_snapshot(folder, WEEKS[0], absent, WEEKS[1], table=table)
    now = file_versions(settings_of(folder), table.name, [WEEKS[0], absent, WEEKS[1]])
    recorded = metadata["source_versions"]["raw_value"]
    assert recorded == {str(day): files.recorded() for day, files in now.items()}
    assert len(set(recorded.values())) == 3


@pytest.mark.parametrize("table", [STOP_VISITS, PLANNED_DEPARTURES])
def test_corrected_trip_makes_its_date_outdated(folder: Path, table: Table) -> None:
    for day in WEEKS:
        with (folder / "trips_performed.csv").open("a") as file:
            file.write((folder / "trips_performed" / f"{day}.csv").read_text().partition("\n")[2])
        (folder / "trips_performed" / f"{day}.csv").unlink()
    content = (folder / "trips_performed.csv").read_text()
    (folder / "trips_performed.csv").write_text(TRIPS.partition("\n")[0] + "\n" + content)
    _, metadata = run_snapshot(folder, *WEEKS[:2], table=table)
    text = (folder / "trips_performed.csv").read_text()
    corrected = text.replace(f"{WEEKS[1]},p2,v1,s2,31", f"{WEEKS[1]},p2,v1,s2,32")
    assert corrected != text
    (folder / "trips_performed.csv").write_text(corrected)
    now = file_versions(settings_of(folder), table.name, WEEKS[:2])
    recorded = metadata["source_versions"]["raw_value"]
    assert [day for day, files in now.items() if files.has_changed(recorded[str(day)])] == [WEEKS[1]]


def check_of_the_blocked_second_week(context: Any, report: Any) -> dict[str, Any]:
    """Metadata of the check `no_date_blocked`, if the second of three weeks is blocked and listed."""
    assert context.store.dates(STOP_VISITS) == [WEEKS[0], WEEKS[2]]
    assert report.metadata["dates_blocked"]["raw_value"] == [str(WEEKS[1])]
    passed, details = report.checks["no_date_blocked"]
    assert not passed
    return details


def test_blocked_date_of_a_range_is_listed(folder: Path) -> None:
    add_trips(folder, WEEKS[1], bad=3)
    parameters, context, report = job(folder, *WEEKS[:3])
    snapshot.run(parameters, context)
    details = check_of_the_blocked_second_week(context, report)
    assert f"service_date {WEEKS[1]} is blocked: 11.1% of its rows" in details["observed"]


UNREADABLE: dict[str, tuple[str, bytes, str]] = {
    "missing column": ("stop_visits", b"trip_stop_sequence", "lacks the column trip_stop_sequence"),
    "not UTF-8": ("stop_visits", b"\xff", "is not UTF-8"),
    "trips not UTF-8": ("trips_performed", b"\xff", "is not UTF-8"),
    "half-written": ("stop_visits", b"", "is half-written"),
    "empty": ("stop_visits", b"", "is empty and has no header"),
}


@pytest.mark.parametrize("fault", UNREADABLE)
def test_unreadable_date_of_a_range_is_listed(folder: Path, fault: str) -> None:
    name, bytes_, reason = UNREADABLE[fault]
    path = folder / name / f"{WEEKS[1]}.csv"
    content = path.read_bytes()
    spoilt = {
        "missing column": content.replace(bytes_, b"sequence"),
        "half-written": content[:-20],
        "empty": b"",
    }.get(fault, bytes_ + content)
    path.write_bytes(spoilt)

    parameters, context, report = job(folder, *WEEKS[:3])
    snapshot.run(parameters, context)

    details = check_of_the_blocked_second_week(context, report)
    assert details["observed"].startswith(f"raw.stop_visits: service_date {WEEKS[1]} cannot be read: ")
    assert f"{name}/{WEEKS[1]}.csv {reason}" in details["observed"]
    with pytest.raises(BadInput, match=reason):
        run_snapshot(folder, WEEKS[1])


class Timetable:
    """A source whose plan has rejected rows, by date."""

    def __init__(self, rejected: dict[date, int]) -> None:
        self._rejected = rejected

    def read_table(self, table: Table, dates: list[date]) -> Reading:
        rejected = [
            rejected_rows(day, rows, "stop_id has no value")
            for day, rows in self._rejected.items()
            if day in dates
        ]
        return Reading(planned(*dates), rejected=pl.concat(rejected))


def test_rejected_rows_of_a_plan_block_a_date(folder: Path) -> None:
    """Each date has 100 rows."""
    parameters, context, report = job(folder, *WEEKS[:3], table=PLANNED_DEPARTURES)
    context.source = Timetable({WEEKS[0]: 1, WEEKS[1]: 4})  # pyright: ignore[reportAttributeAccessIssue]
    snapshot.run(parameters, context)

    assert context.store.dates(PLANNED_DEPARTURES) == [WEEKS[0], WEEKS[2]]
    assert report.metadata["dates_blocked"]["raw_value"] == [str(WEEKS[1])]
    assert report.metadata["rejected_by_reason"]["raw_value"] == {"stop_id has no value": 5}
    (example,) = report.metadata["rejected_examples"]["raw_value"]["records"]
    assert (example["line_number"], example["reason"]) == (2, "stop_id has no value")
    blocked = report.metadata["blocked"]["raw_value"]
    assert blocked.startswith(f"raw.planned_departures: service_date {WEEKS[1]} is blocked: 3.8% of its rows")
    assert "materialise raw/planned_departures again" in blocked
    assert "ruter-dagster rejected" not in blocked, "this command lists visits"
    assert context.store.dates(REJECTED_VISITS) == []


def test_plan_of_an_unreadable_date_is_blocked(folder: Path) -> None:
    replace_text(folder, WEEKS[1], "trip_stop_sequence", "sequence")
    context, metadata = run_snapshot(folder, *WEEKS[:3], table=PLANNED_DEPARTURES)
    assert context.store.dates(PLANNED_DEPARTURES) == [WEEKS[0], WEEKS[2]]
    assert metadata["dates_blocked"]["raw_value"] == [str(WEEKS[1])]


def test_unreadable_date_keeps_its_rows_and_rejects(folder: Path) -> None:
    replace_text(folder, WEEKS[1], "3,2,0,0,5", "3,-2,0,0,5")
    context, _ = run_snapshot(folder, *WEEKS[:3])
    before = context.store.read(STOP_VISITS, WEEKS[:3])
    replace_text(folder, WEEKS[1], "trip_stop_sequence", "sequence")
    context, metadata = run_snapshot(folder, *WEEKS[:3])
    assert context.store.read(STOP_VISITS, WEEKS[:3]).equals(before)
    assert rejected(context, WEEKS[1]).height == 1
    assert "+" in metadata["source_versions"]["raw_value"][str(WEEKS[1])], (
        "a shared file may correct the date"
    )


def test_broken_shared_file_blocks_all_dates_with_one_reason(folder: Path) -> None:
    (folder / "vehicles.csv").write_bytes(b"\xff")
    parameters, context, report = job(folder, *WEEKS[:3])
    with pytest.raises(NoDataForDates) as failure:
        snapshot.run(parameters, context)
    days = ", ".join(map(str, WEEKS[:3]))
    assert str(failure.value) == (
        f"raw.stop_visits: service_date {days} cannot be read: vehicles.csv is not UTF-8 (Latin-1, perhaps); "
        "save it as UTF-8"
    )
    assert not report.metadata


def test_ragged_rows_are_rejected_and_may_block_the_date(folder: Path) -> None:
    for day, ragged in ((WEEKS[1], 1), (WEEKS[2], 3)):
        add_trips(folder, day, good=100 if ragged == 1 else 20)
        path = folder / "stop_visits" / f"{day}.csv"
        path.write_text(path.read_text().replace("1,0,0,0,5,Scheduled", "1,0,0,5,Scheduled", ragged))
    parameters, context, report = job(folder, *WEEKS[:3])
    snapshot.run(parameters, context)
    assert context.store.dates(STOP_VISITS) == WEEKS[:2]
    rows = rejected(context, WEEKS[1])
    assert rows.select("file", "line_number", "reason").rows() == [
        (f"stop_visits/{WEEKS[1]}.csv", 6, "row has 11 cells, the header has 12")
    ]
    assert report.metadata["dates_blocked"]["raw_value"] == [str(WEEKS[2])]


def test_date_without_kept_rows_is_blocked(folder: Path) -> None:
    replace_text(folder, DAY, f"{DAY},p", f"{DAY},q")
    parameters, context, _ = job(folder, DAY)
    with pytest.raises(NoDataForDates, match=r"is blocked: 100\.0% of its rows were rejected"):
        snapshot.run(parameters, context)


def test_blocked_date_of_an_existing_range_is_listed(folder: Path) -> None:
    run_snapshot(folder, WEEKS[1])
    replace_text(folder, DAY, f"{DAY},p", f"{DAY},q")
    parameters, context, report = job(folder, DAY)
    part = parameters.model_copy(update={"of_range": True, "part_of_range": True})
    snapshot.run(part, context)
    assert report.metadata["dates"] == {}
    assert report.metadata["dates_blocked"]["raw_value"] == [str(DAY)]
    assert not report.checks["no_date_blocked"][0]
    [recorded] = report.metadata["source_versions"]["raw_value"].values()
    now = file_versions(settings_of(folder), STOP_VISITS.name, [DAY])[DAY]
    assert not now.has_changed(recorded), "the date is read again after a correction"


def test_blocked_part_of_a_new_range_is_an_error(folder: Path) -> None:
    replace_text(folder, DAY, f"{DAY},p", f"{DAY},q")
    parameters, context, _ = job(folder, DAY)
    part = parameters.model_copy(update={"of_range": True, "part_of_range": True})
    with pytest.raises(NoDataForDates, match="is blocked"):
        snapshot.run(part, context)


def test_missing_date_of_an_existing_range_is_listed(folder: Path) -> None:
    run_snapshot(folder, WEEKS[1])
    absent = DAY + timedelta(1)
    parameters, context, report = job(folder, absent)
    part = parameters.model_copy(update={"of_range": True, "part_of_range": True})
    snapshot.run(part, context)
    assert report.metadata["dates_absent"]["raw_value"] == [str(absent)]
    assert report.metadata["dates"] == {}


def test_failed_write_of_rejected_rows_fails_the_step(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rejected rows are written first, so that no materialisation lacks them."""
    replace_text(folder, DAY, "3,2,0,0,5", "3,-2,0,0,5")
    parameters, context, report = job(folder, DAY)
    write = context.store.write

    def fail(table: Table, *args: Any, **options: Any) -> Any:
        if table is REJECTED_VISITS:
            raise OSError("no space left")
        return write(table, *args, **options)

    monkeypatch.setattr(context.store, "write", fail)
    with pytest.raises(OSError, match="no space left"):
        snapshot.run(parameters, context)
    assert not report.metadata
    assert context.store.dates(STOP_VISITS) == []


def test_range_is_read_in_passes_and_lists_missing_dates(folder: Path) -> None:
    span = [DAY + timedelta(offset) for offset in range(36)]
    context, metadata = run_snapshot(folder, *span)
    assert context.store.dates(STOP_VISITS) == WEEKS
    assert len(span) > snapshot.BATCH_DATES
    assert metadata["dates_absent"]["raw_value"] == [str(day) for day in span if day not in WEEKS]
    assert metadata["rows_of_source"]["raw_value"]["visits"] == 4 * len(WEEKS)


def test_long_range_is_written_in_parts(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each pass reads two dates, and is written before the next one."""
    replace_text(folder, WEEKS[1], "3,2,0,0,5", "3,-2,0,0,5")
    add_trips(folder, WEEKS[3], bad=3)
    together, _ = run_snapshot(folder, *WEEKS)
    kept = [day for day in WEEKS if day != WEEKS[3]]
    expected = together.store.read(STOP_VISITS, kept)
    before = together.store.snapshot(STOP_VISITS).versions(WEEKS)
    monkeypatch.setattr(snapshot, "BATCH_BYTES", 2 * len(VISITS))
    monkeypatch.setattr(snapshot, "MAX_ROWS", 5)
    parameters, context, report = job(folder, *WEEKS)
    context.settings = context.settings.model_copy(update={"state_dir": folder / "other"})
    writes: list[list[date]] = []
    write = context.store.write

    def note(table: Table, frame: pl.DataFrame, dates: Any, **options: Any) -> Any:
        if table is STOP_VISITS:
            writes.append(list(dates))
        return write(table, frame, dates, **options)

    monkeypatch.setattr(context.store, "write", note)
    snapshot.run(parameters, context)
    assert len(writes) > 1
    assert [day for dates in writes for day in dates] == kept
    assert context.store.read(STOP_VISITS, kept).equals(expected)
    assert context.store.snapshot(STOP_VISITS).versions(WEEKS) == before
    rows = {day: part.rows for day, part in report.metadata["dates"].items()}
    assert rows == dict(expected.group_by("service_date").len().iter_rows())
    assert rejected(context, WEEKS[1], WEEKS[3]).height == 4


def test_memory_does_not_grow_with_blocked_dates(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each pass reads one date. All dates but the last are blocked by three rejected rows."""
    blocked = WEEKS[:-1]
    for day in blocked:
        add_trips(folder, day, bad=3)
    monkeypatch.setattr(snapshot, "BATCH_DATES", 1)
    monkeypatch.setattr(snapshot, "MAX_ROWS", 2)
    held: list[int] = []
    add = snapshot._Copy.add

    def note(copied: snapshot._Copy, *args: Any) -> None:
        add(copied, *args)
        held.append(sum(frame.height for frame in copied.rejected))

    monkeypatch.setattr(snapshot._Copy, "add", note)
    parameters, context, report = job(folder, *WEEKS)
    snapshot.run(parameters, context)

    assert held == [*([3] * len(blocked)), 0]
    rows = rejected(context, *blocked)
    assert dict(rows.group_by("service_date").len().iter_rows()) == dict.fromkeys(blocked, 3)
    assert rows["date_blocked"].all()
    assert report.metadata["rejected_by_reason"]["raw_value"] == {"boarding_1 is below 0": 15}
    assert report.metadata["dates_blocked"]["raw_value"] == [str(day) for day in blocked]
    assert context.store.dates(STOP_VISITS) == WEEKS[-1:]


def test_missing_single_date_is_an_error(folder: Path) -> None:
    with pytest.raises(DateAbsent, match="no counted visit on 2026-11-21; it has 6 dates from 2026-11-20"):
        run_snapshot(folder, DAY + timedelta(1))


def test_matched_share_and_feeds_are_reported(folder: Path) -> None:
    write_folder(folder / "gtfs")
    _, visits = run_snapshot(folder, DAY)
    assert visits["matched_share"] == 1.0
    assert visits["rows_of_source"]["raw_value"]["trips matched by id"] == 2
    ahead = DAY + timedelta(3)
    _, plan = run_snapshot(folder, DAY, ahead, table=PLANNED_DEPARTURES)
    assert plan["dates"].keys() == {DAY, ahead}
    assert plan["feeds"]["raw_value"] == {
        f"{folder}/gtfs": {
            "version": "autumn-1",
            "valid_from": "2026-11-16",
            "valid_to": "2026-12-13",
            "dates_planned": 2,
            "remarks": [],
        }
    }


def test_matched_share_needs_a_timetable(folder: Path) -> None:
    _, metadata = run_snapshot(folder, DAY)
    assert metadata["matched_share"] is None
    assert "feeds" not in metadata


def test_planned_date_without_a_feed_is_an_error(folder: Path) -> None:
    write_folder(folder / "gtfs")
    with pytest.raises(
        DateAbsent, match=r"No GTFS feed is valid on 2027-03-01.*gtfs \(version autumn-1\) from 2026-11-16"
    ):
        run_snapshot(folder, date(2027, 3, 1), table=PLANNED_DEPARTURES)


RENUMBERED = {
    name: re.sub(r"(?m)^s(\d),", r"n\1,", text).replace("autumn-1", "autumn-2") for name, text in FEED.items()
}
"""The same journeys under other trip ids."""


@pytest.mark.parametrize("first", [DAY, DAY + timedelta(1)], ids=["same dates", "valid from tomorrow"])
def test_counts_are_matched_to_the_stored_plan(folder: Path, first: date) -> None:
    """Forecasts have the trip ids of the stored plan. A newer feed has other ids."""
    write_zip(folder / "gtfs.zip")
    context, _ = run_snapshot(folder, DAY, table=PLANNED_DEPARTURES)
    write_zip(folder / "gtfs.zip", with_first_date(RENUMBERED, first))
    context, metadata = run_snapshot(folder, DAY)
    visits = context.store.read(STOP_VISITS, [DAY])
    plan = context.store.read(PLANNED_DEPARTURES, [DAY])
    shared = visits.join(plan, on=["service_date", "trip_id", "stop_sequence", "stop_id"], how="semi")
    assert set(shared["trip_id"]) == {"s1", "s2"}
    assert metadata["matched_share"] == 1.0
    assert list(metadata["inputs"]["raw_value"]) == [PLANNED_DEPARTURES.name]
    assert list(metadata["inputs"]["raw_value"][PLANNED_DEPARTURES.name]["dates"]) == [str(DAY)]


def with_first_date(feed: dict[str, str], first: date) -> dict[str, str]:
    return feed | {"feed_info.txt": feed["feed_info.txt"].replace("20261116", f"{first:%Y%m%d}")}


def test_counts_without_a_stored_plan_use_the_feed(folder: Path) -> None:
    write_zip(folder / "gtfs.zip", RENUMBERED)
    context, metadata = run_snapshot(folder, DAY)
    assert "n1" in set(context.store.read(STOP_VISITS, [DAY])["trip_id"])
    assert metadata["inputs"] is None


def test_plan_made_from_counts_matches_no_trips(folder: Path) -> None:
    context, _ = run_snapshot(folder, DAY)
    expected = context.store.read(STOP_VISITS, [DAY])
    write_zip(folder / "gtfs.zip", with_first_date(FEED, DAY + timedelta(1)))
    run_snapshot(folder, DAY, table=PLANNED_DEPARTURES)
    context, metadata = run_snapshot(folder, DAY)
    assert context.store.read(STOP_VISITS, [DAY]).equals(expected)
    assert metadata["matched_share"] is None


def test_broken_newer_feed_blocks_dates_without_another_feed(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write_zip(folder / "gtfs" / "a.zip")
    broken = folder / "gtfs" / "b.zip"
    broken.write_bytes(b"half")
    late = date(2026, 12, 14)
    days = [late - timedelta(1), late]
    context, metadata = run_snapshot(folder, *days, table=PLANNED_DEPARTURES)
    assert context.store.dates(PLANNED_DEPARTURES) == days[:1]
    assert metadata["dates_blocked"]["raw_value"] == [str(late)]
    feed = metadata["feeds"]["raw_value"][str(broken)]
    assert (feed["version"], feed["valid_from"], feed["dates_planned"]) == (None, None, 0)
    assert f"GTFS feed {broken}: unreadable: " in caplog.text
    _, counts = run_snapshot(folder, DAY)
    assert counts["matched_share"] == 1.0
    assert list(counts["feeds"]["raw_value"]) == [str(broken)]


def test_date_of_a_broken_feed_is_read_again(folder: Path) -> None:
    """No file of the date itself changes when the broken feed is replaced."""
    first = WEEKS[4]
    feed = {name: text.replace("20261213", f"{first - timedelta(1):%Y%m%d}") for name, text in FEED.items()}
    write_zip(folder / "gtfs" / "a.zip", feed)
    (folder / "gtfs" / "b.zip").write_bytes(b"half")
    _, metadata = run_snapshot(folder, *WEEKS[3:5], table=PLANNED_DEPARTURES)
    assert metadata["dates_blocked"]["raw_value"] == [str(first)]
    recorded = metadata["source_versions"]["raw_value"]
    now = file_versions(settings_of(folder), PLANNED_DEPARTURES.name, WEEKS[3:5])
    assert [day for day, files in now.items() if files.has_changed(recorded[str(day)], True)] == [first]
