"""The job snapshot: what of the source is kept, and what is told of what is not."""

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
from tests.quality.frames import planned, set_aside
from tests.sources.gtfs_feed import FEED, write_folder, write_zip
from tests.sources.tides_folder import DAY, TRIPS, VEHICLES, VISITS

pytestmark = pytest.mark.filterwarnings("ignore:Delete operation did not match any records")

WEEKS = [DAY + timedelta(weeks=week) for week in range(6)]
"""More dates than are read in one pass."""


class Recorder(Reporter):
    """Keeps what the job reports."""

    def __init__(self) -> None:
        super().__init__(None)
        self.told: dict[str, Any] = {}
        self.checks: dict[str, tuple[bool, dict[str, Any]]] = {}

    def materialised(self, asset: str, **metadata: Any) -> None:
        self.told.update(metadata)

    def checked(self, asset: str, name: str, passed: bool, *severity: Any, **metadata: Any) -> None:
        self.checks[name] = (passed, metadata)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The same visits on every date of WEEKS, a file a date; on the first of them one visit that nobody counted."""
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


def copy(folder: Path, *dates: date, table: Table = STOP_VISITS) -> tuple[JobContext, dict[str, Any]]:
    """Runs the job on dates of the folder: its context and what it reported."""
    parameters, context, report = job(folder, *dates, table=table)
    snapshot.run(parameters, context)
    return context, report.told


def spoil(folder: Path, day: date, old: str, new: str) -> None:
    path = folder / "stop_visits" / f"{day}.csv"
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new))


def with_more_trips(folder: Path, day: date, bad: int = 0, good: int = 20) -> None:
    """Adds trips of one visit to a date, some of them with a count below 0."""
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


def test_what_was_left_out_or_completed_is_told(folder: Path) -> None:
    _, told = copy(folder, DAY)
    counts = told["rows_of_source"]["raw_value"]
    assert counts == {"visits": 4, "kept, not counted in a trip that is": 1}
    assert told["dates"][DAY].rows == 4


def test_rows_set_aside_are_kept_with_their_reason(folder: Path) -> None:
    spoil(folder, WEEKS[1], "3,2,0,0,5", "3,-2,0,0,5")
    spoil(folder, WEEKS[2], "p2,1,v1", "p2,0,v1")
    context, told = copy(folder, *WEEKS[:3])
    rows = rejected(context, *WEEKS[1:3])
    assert rows.select("service_date", "file", "line_number", "reason", "date_blocked").rows() == [
        (WEEKS[1], f"stop_visits/{WEEKS[1]}.csv", 2, "boarding_2 is below 0", False),
        (WEEKS[2], f"stop_visits/{WEEKS[2]}.csv", 4, "stop_sequence is below 1", False),
    ]
    assert told["rows_set_aside"]["raw_value"] == {"boarding_2 is below 0": 1, "stop_sequence is below 1": 1}
    assert context.store.dates(REJECTED_VISITS) == WEEKS[1:3], "the first date has none"


def test_corrected_input_clears_its_rejects(folder: Path) -> None:
    for day in WEEKS[1:3]:
        spoil(folder, day, "3,2,0,0,5", "3,-2,0,0,5")
    context, _ = copy(folder, *WEEKS[1:3])
    assert rejected(context, *WEEKS[1:3]).height == 2
    spoil(folder, WEEKS[1], "3,-2,0,0,5", "3,2,0,0,5")
    context, told = copy(folder, WEEKS[1])
    assert rejected(context, *WEEKS[1:3])["service_date"].to_list() == [WEEKS[2]]
    assert told["rows_set_aside"] is None


def test_a_date_with_too_many_bad_rows_is_blocked(folder: Path) -> None:
    context, _ = copy(folder, DAY)
    former = context.store.read(STOP_VISITS, [DAY])
    with_more_trips(folder, DAY, bad=3)
    parameters, context, report = job(folder, DAY)

    with pytest.raises(NoDataForDates) as failure:
        snapshot.run(parameters, context)

    assert str(failure.value).startswith(
        "raw.stop_visits: service_date 2026-11-20 is blocked: 11.1% of its rows were set aside (3 of 27 rows), the limit is 2.0%. "
        "Reasons: boarding_1 is below 0 (3 rows). E.g. stop_visits/2026-11-20.csv, line 6: boarding_1 is below 0: {"
    )
    assert "raise share_of_date in [rejects] of the operator file" in str(failure.value)
    assert not report.told, "nothing was materialised"
    assert context.store.read(STOP_VISITS, [DAY]).equals(former), "the former rows stand"
    assert rejected(context, DAY)["date_blocked"].to_list() == [True] * 3


@pytest.mark.parametrize("table", [STOP_VISITS, PLANNED_DEPARTURES])
def test_files_of_dates_are_recorded(folder: Path, table: Table) -> None:
    absent = WEEKS[0] + timedelta(1)
    _, told = copy(folder, WEEKS[0], absent, WEEKS[1], table=table)
    now = file_versions(settings_of(folder), table.name, [WEEKS[0], absent, WEEKS[1]])
    recorded = told["source_versions"]["raw_value"]
    assert recorded == {str(day): files.recorded() for day, files in now.items()}
    assert len(set(recorded.values())) == 3


@pytest.mark.parametrize("table", [STOP_VISITS, PLANNED_DEPARTURES])
def test_a_corrected_trip_makes_its_date_outdated(folder: Path, table: Table) -> None:
    for day in WEEKS:
        with (folder / "trips_performed.csv").open("a") as file:
            file.write((folder / "trips_performed" / f"{day}.csv").read_text().partition("\n")[2])
        (folder / "trips_performed" / f"{day}.csv").unlink()
    content = (folder / "trips_performed.csv").read_text()
    (folder / "trips_performed.csv").write_text(TRIPS.partition("\n")[0] + "\n" + content)
    _, told = copy(folder, *WEEKS[:2], table=table)
    text = (folder / "trips_performed.csv").read_text()
    corrected = text.replace(f"{WEEKS[1]},p2,v1,s2,31", f"{WEEKS[1]},p2,v1,s2,32")
    assert corrected != text
    (folder / "trips_performed.csv").write_text(corrected)
    now = file_versions(settings_of(folder), table.name, WEEKS[:2])
    recorded = told["source_versions"]["raw_value"]
    assert [day for day, files in now.items() if files.has_changed(recorded[str(day)])] == [WEEKS[1]]


def told_of_the_blocked_second_week(context: Any, report: Any) -> dict[str, Any]:
    """What the check `no_date_blocked` says; of three weeks the second is left out and listed."""
    assert context.store.dates(STOP_VISITS) == [WEEKS[0], WEEKS[2]]
    assert report.told["dates_blocked"]["raw_value"] == [str(WEEKS[1])]
    passed, details = report.checks["no_date_blocked"]
    assert not passed
    return details


def test_a_blocked_date_of_a_range_is_left_out_and_listed(folder: Path) -> None:
    with_more_trips(folder, WEEKS[1], bad=3)
    parameters, context, report = job(folder, *WEEKS[:3])
    snapshot.run(parameters, context)
    details = told_of_the_blocked_second_week(context, report)
    assert f"service_date {WEEKS[1]} is blocked: 11.1% of its rows" in details["observed"]


UNREADABLE: dict[str, tuple[str, bytes, str]] = {
    "missing column": ("stop_visits", b"trip_stop_sequence", "lacks the column trip_stop_sequence"),
    "not UTF-8": ("stop_visits", b"\xff", "is not UTF-8"),
    "trips not UTF-8": ("trips_performed", b"\xff", "is not UTF-8"),
    "half-written": ("stop_visits", b"", "is half-written"),
    "empty": ("stop_visits", b"", "is empty: not even a header"),
}


@pytest.mark.parametrize("fault", UNREADABLE)
def test_a_date_that_cannot_be_read_is_left_out_of_a_range(folder: Path, fault: str) -> None:
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

    details = told_of_the_blocked_second_week(context, report)
    assert details["observed"].startswith(
        f"raw.stop_visits: service_date {WEEKS[1]} blocked, cannot be read: "
    )
    assert f"{name}/{WEEKS[1]}.csv {reason}" in details["observed"]
    with pytest.raises(BadInput, match=reason):
        copy(folder, WEEKS[1])


class Timetable:
    """A source whose plan has rows set aside, by date."""

    def __init__(self, rejected: dict[date, int]) -> None:
        self._rejected = rejected

    def read_table(self, table: Table, dates: list[date]) -> Reading:
        rejected = [
            set_aside(day, rows, "stop_id has no value")
            for day, rows in self._rejected.items()
            if day in dates
        ]
        return Reading(planned(*dates), rejected=pl.concat(rejected))


def test_rows_of_a_plan_are_set_aside_and_block_a_date_beyond_the_limit(folder: Path) -> None:
    """Of 100 rows a date."""
    parameters, context, report = job(folder, *WEEKS[:3], table=PLANNED_DEPARTURES)
    context.source = Timetable({WEEKS[0]: 1, WEEKS[1]: 4})  # pyright: ignore[reportAttributeAccessIssue]
    snapshot.run(parameters, context)

    assert context.store.dates(PLANNED_DEPARTURES) == [WEEKS[0], WEEKS[2]]
    assert report.told["dates_blocked"]["raw_value"] == [str(WEEKS[1])]
    assert report.told["rows_set_aside"]["raw_value"] == {"stop_id has no value": 5}
    (example,) = report.told["set_aside_examples"]["raw_value"]["records"]
    assert (example["line_number"], example["reason"]) == (2, "stop_id has no value")
    blocked = report.told["blocked"]["raw_value"]
    assert blocked.startswith(f"raw.planned_departures: service_date {WEEKS[1]} is blocked: 3.8% of its rows")
    assert "materialise raw/planned_departures again" in blocked
    assert "ruter-dagster rejected" not in blocked, "which lists visits"
    assert context.store.dates(REJECTED_VISITS) == []


def test_the_plan_of_a_date_that_cannot_be_read_is_left_out_too(folder: Path) -> None:
    spoil(folder, WEEKS[1], "trip_stop_sequence", "sequence")
    context, told = copy(folder, *WEEKS[:3], table=PLANNED_DEPARTURES)
    assert context.store.dates(PLANNED_DEPARTURES) == [WEEKS[0], WEEKS[2]]
    assert told["dates_blocked"]["raw_value"] == [str(WEEKS[1])]


def test_an_unreadable_date_keeps_its_former_rows_and_rejects(folder: Path) -> None:
    spoil(folder, WEEKS[1], "3,2,0,0,5", "3,-2,0,0,5")
    context, _ = copy(folder, *WEEKS[:3])
    former = context.store.read(STOP_VISITS, WEEKS[:3])
    spoil(folder, WEEKS[1], "trip_stop_sequence", "sequence")
    context, told = copy(folder, *WEEKS[:3])
    assert context.store.read(STOP_VISITS, WEEKS[:3]).equals(former)
    assert rejected(context, WEEKS[1]).height == 1
    assert "+" in told["source_versions"]["raw_value"][str(WEEKS[1])], "a file of many dates may mend it"


def test_a_broken_file_of_all_dates_blocks_them_with_one_reason(folder: Path) -> None:
    (folder / "vehicles.csv").write_bytes(b"\xff")
    parameters, context, report = job(folder, *WEEKS[:3])
    with pytest.raises(NoDataForDates) as failure:
        snapshot.run(parameters, context)
    days = ", ".join(map(str, WEEKS[:3]))
    assert str(failure.value) == (
        f"raw.stop_visits: service_date {days} blocked, cannot be read: vehicles.csv is not UTF-8 (Latin-1, perhaps); "
        "save it as UTF-8"
    )
    assert not report.told


def test_ragged_rows_are_set_aside_and_beyond_the_limit_block_the_date(folder: Path) -> None:
    for day, ragged in ((WEEKS[1], 1), (WEEKS[2], 3)):
        with_more_trips(folder, day, good=100 if ragged == 1 else 20)
        path = folder / "stop_visits" / f"{day}.csv"
        path.write_text(path.read_text().replace("1,0,0,0,5,Scheduled", "1,0,0,5,Scheduled", ragged))
    parameters, context, report = job(folder, *WEEKS[:3])
    snapshot.run(parameters, context)
    assert context.store.dates(STOP_VISITS) == WEEKS[:2]
    rows = rejected(context, WEEKS[1])
    assert rows.select("file", "line_number", "reason").rows() == [
        (f"stop_visits/{WEEKS[1]}.csv", 6, "row has 11 cells, the header has 12")
    ]
    assert report.told["dates_blocked"]["raw_value"] == [str(WEEKS[2])]


def test_a_date_of_which_nothing_is_left_is_blocked(folder: Path) -> None:
    spoil(folder, DAY, f"{DAY},p", f"{DAY},q")
    parameters, context, _ = job(folder, DAY)
    with pytest.raises(NoDataForDates, match=r"is blocked: 100\.0% of its rows were set aside"):
        snapshot.run(parameters, context)


def test_a_blocked_date_of_a_standing_range_is_left_out_and_noted(folder: Path) -> None:
    copy(folder, WEEKS[1])
    spoil(folder, DAY, f"{DAY},p", f"{DAY},q")
    parameters, context, report = job(folder, DAY)
    part = parameters.model_copy(update={"of_range": True, "part_of_range": True})
    snapshot.run(part, context)
    assert report.told["dates"] == {}
    assert report.told["dates_blocked"]["raw_value"] == [str(DAY)]
    assert not report.checks["no_date_blocked"][0]
    [recorded] = report.told["source_versions"]["raw_value"].values()
    now = file_versions(settings_of(folder), STOP_VISITS.name, [DAY])[DAY]
    assert not now.has_changed(recorded), "it is read again once it was corrected"


def test_a_part_of_a_range_of_which_nothing_was_ever_kept_is_refused(folder: Path) -> None:
    spoil(folder, DAY, f"{DAY},p", f"{DAY},q")
    parameters, context, _ = job(folder, DAY)
    part = parameters.model_copy(update={"of_range": True, "part_of_range": True})
    with pytest.raises(NoDataForDates, match="is blocked"):
        snapshot.run(part, context)


def test_an_absent_date_of_a_standing_range_is_left_out_and_noted(folder: Path) -> None:
    copy(folder, WEEKS[1])
    absent = DAY + timedelta(1)
    parameters, context, report = job(folder, absent)
    part = parameters.model_copy(update={"of_range": True, "part_of_range": True})
    snapshot.run(part, context)
    assert report.told["dates_absent"]["raw_value"] == [str(absent)]
    assert report.told["dates"] == {}


def test_rejects_that_cannot_be_kept_fail_the_step(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is materialised has its rejects: they are written first."""
    spoil(folder, DAY, "3,2,0,0,5", "3,-2,0,0,5")
    parameters, context, report = job(folder, DAY)
    write = context.store.write

    def fail(table: Table, *args: Any, **options: Any) -> Any:
        if table is REJECTED_VISITS:
            raise OSError("no space left")
        return write(table, *args, **options)

    monkeypatch.setattr(context.store, "write", fail)
    with pytest.raises(OSError, match="no space left"):
        snapshot.run(parameters, context)
    assert not report.told
    assert context.store.dates(STOP_VISITS) == []


def test_a_range_is_read_in_passes_and_lists_the_dates_that_are_absent(folder: Path) -> None:
    span = [DAY + timedelta(offset) for offset in range(36)]
    context, told = copy(folder, *span)
    assert context.store.dates(STOP_VISITS) == WEEKS
    assert len(span) > snapshot.BATCH_DATES
    assert told["dates_absent"]["raw_value"] == [str(day) for day in span if day not in WEEKS]
    assert told["rows_of_source"]["raw_value"]["visits"] == 4 * len(WEEKS)


def test_a_long_range_is_written_as_it_is_read(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Passes are bounded by bytes: two of these dates each, and no pass waits for the next to be written."""
    spoil(folder, WEEKS[1], "3,2,0,0,5", "3,-2,0,0,5")
    with_more_trips(folder, WEEKS[3], bad=3)
    together, _ = copy(folder, *WEEKS)
    kept = [day for day in WEEKS if day != WEEKS[3]]
    expected = together.store.read(STOP_VISITS, kept)
    before = together.store.snapshot(STOP_VISITS).versions(WEEKS)
    monkeypatch.setattr(snapshot, "BATCH_BYTES", 2 * len(VISITS))
    monkeypatch.setattr(snapshot, "ROWS_HELD", 5)
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
    rows = {day: part.rows for day, part in report.told["dates"].items()}
    assert rows == dict(expected.group_by("service_date").len().iter_rows())
    assert rejected(context, WEEKS[1], WEEKS[3]).height == 4


def test_memory_does_not_grow_with_blocked_dates(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One date a pass; all but the last have three rows set aside, which blocks them."""
    blocked = WEEKS[:-1]
    for day in blocked:
        with_more_trips(folder, day, bad=3)
    monkeypatch.setattr(snapshot, "BATCH_DATES", 1)
    monkeypatch.setattr(snapshot, "ROWS_HELD", 2)
    held: list[int] = []
    add = snapshot._Snapshot.add

    def note(found: snapshot._Snapshot, *args: Any) -> None:
        add(found, *args)
        held.append(sum(frame.height for frame in found.rejected))

    monkeypatch.setattr(snapshot._Snapshot, "add", note)
    parameters, context, report = job(folder, *WEEKS)
    snapshot.run(parameters, context)

    assert held == [*([3] * len(blocked)), 0]
    rows = rejected(context, *blocked)
    assert dict(rows.group_by("service_date").len().iter_rows()) == dict.fromkeys(blocked, 3)
    assert rows["date_blocked"].all()
    assert report.told["rows_set_aside"]["raw_value"] == {"boarding_1 is below 0": 15}
    assert report.told["dates_blocked"]["raw_value"] == [str(day) for day in blocked]
    assert context.store.dates(STOP_VISITS) == WEEKS[-1:]


def test_a_date_asked_for_by_itself_must_be_there(folder: Path) -> None:
    with pytest.raises(DateAbsent, match="no counted visit on 2026-11-21; it has 6 dates from 2026-11-20"):
        copy(folder, DAY + timedelta(1))


def test_the_matched_share_and_the_feeds_are_told(folder: Path) -> None:
    write_folder(folder / "gtfs")
    _, visits = copy(folder, DAY)
    assert visits["matched_share"] == 1.0
    assert visits["rows_of_source"]["raw_value"]["trips matched by id"] == 2
    ahead = DAY + timedelta(3)
    _, plan = copy(folder, DAY, ahead, table=PLANNED_DEPARTURES)
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


def test_without_a_timetable_there_is_no_matched_share(folder: Path) -> None:
    _, told = copy(folder, DAY)
    assert told["matched_share"] is None
    assert "feeds" not in told


def test_a_planned_date_without_a_feed_is_named(folder: Path) -> None:
    write_folder(folder / "gtfs")
    with pytest.raises(
        DateAbsent, match=r"No GTFS feed is valid on 2027-03-01.*gtfs \(version autumn-1\) from 2026-11-16"
    ):
        copy(folder, date(2027, 3, 1), table=PLANNED_DEPARTURES)


RENUMBERED = {
    name: re.sub(r"(?m)^s(\d),", r"n\1,", text).replace("autumn-1", "autumn-2") for name, text in FEED.items()
}
"""The same journeys under other trip ids."""


@pytest.mark.parametrize("first", [DAY, DAY + timedelta(1)], ids=["same dates", "valid from tomorrow"])
def test_counts_are_matched_to_the_stored_plan(folder: Path, first: date) -> None:
    """Forecasts have the ids of the plan that stands; a feed that took its feed's place has others."""
    write_zip(folder / "gtfs.zip")
    context, _ = copy(folder, DAY, table=PLANNED_DEPARTURES)
    write_zip(folder / "gtfs.zip", with_first_date(RENUMBERED, first))
    context, told = copy(folder, DAY)
    visits = context.store.read(STOP_VISITS, [DAY])
    plan = context.store.read(PLANNED_DEPARTURES, [DAY])
    shared = visits.join(plan, on=["service_date", "trip_id", "stop_sequence", "stop_id"], how="semi")
    assert set(shared["trip_id"]) == {"s1", "s2"}
    assert told["matched_share"] == 1.0
    assert list(told["inputs"]["raw_value"]) == [PLANNED_DEPARTURES.name]
    assert list(told["inputs"]["raw_value"][PLANNED_DEPARTURES.name]["dates"]) == [str(DAY)]


def with_first_date(feed: dict[str, str], first: date) -> dict[str, str]:
    return feed | {"feed_info.txt": feed["feed_info.txt"].replace("20261116", f"{first:%Y%m%d}")}


def test_counts_without_a_stored_plan_are_matched_to_the_feed(folder: Path) -> None:
    write_zip(folder / "gtfs.zip", RENUMBERED)
    context, told = copy(folder, DAY)
    assert "n1" in set(context.store.read(STOP_VISITS, [DAY])["trip_id"])
    assert told["inputs"] is None


def test_counts_planned_by_what_ran_are_as_without_a_timetable(folder: Path) -> None:
    context, _ = copy(folder, DAY)
    expected = context.store.read(STOP_VISITS, [DAY])
    write_zip(folder / "gtfs.zip", with_first_date(FEED, DAY + timedelta(1)))
    copy(folder, DAY, table=PLANNED_DEPARTURES)
    context, told = copy(folder, DAY)
    assert context.store.read(STOP_VISITS, [DAY]).equals(expected)
    assert told["matched_share"] is None


def test_a_broken_newer_feed_costs_the_dates_that_no_other_plans(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write_zip(folder / "gtfs" / "a.zip")
    broken = folder / "gtfs" / "b.zip"
    broken.write_bytes(b"half")
    late = date(2026, 12, 14)
    days = [late - timedelta(1), late]
    context, told = copy(folder, *days, table=PLANNED_DEPARTURES)
    assert context.store.dates(PLANNED_DEPARTURES) == days[:1]
    assert told["dates_blocked"]["raw_value"] == [str(late)]
    feed = told["feeds"]["raw_value"][str(broken)]
    assert (feed["version"], feed["valid_from"], feed["dates_planned"]) == (None, None, 0)
    assert f"GTFS feed {broken}: set aside: " in caplog.text
    _, counts = copy(folder, DAY)
    assert counts["matched_share"] == 1.0
    assert list(counts["feeds"]["raw_value"]) == [str(broken)]


def test_a_date_that_a_broken_feed_may_plan_is_read_again(folder: Path) -> None:
    """It has counts, and so no file of its own will change once the feed is replaced."""
    first = WEEKS[4]
    feed = {name: text.replace("20261213", f"{first - timedelta(1):%Y%m%d}") for name, text in FEED.items()}
    write_zip(folder / "gtfs" / "a.zip", feed)
    (folder / "gtfs" / "b.zip").write_bytes(b"half")
    _, told = copy(folder, *WEEKS[3:5], table=PLANNED_DEPARTURES)
    assert told["dates_blocked"]["raw_value"] == [str(first)]
    recorded = told["source_versions"]["raw_value"]
    now = file_versions(settings_of(folder), PLANNED_DEPARTURES.name, WEEKS[3:5])
    assert [day for day, files in now.items() if files.has_changed(recorded[str(day)], True)] == [first]
