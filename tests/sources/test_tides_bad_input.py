"""Bad input in TIDES tables: bad rows are rejected with a reason, unreadable files are refused with a remedy."""

import json
import os
from collections.abc import Callable
from datetime import UTC, date, datetime
from pathlib import Path

import obstore
import polars as pl
import pytest
from obstore.exceptions import PermissionDeniedError

from ruter_dagster.config.operator import RejectLimits
from ruter_dagster.contracts import tables as contract
from ruter_dagster.contracts.errors import BadInput
from ruter_dagster.contracts.validation import validate
from ruter_dagster.quality.rejects import blocked_dates
from ruter_dagster.sources.base import DateAbsent
from ruter_dagster.sources.tides import TidesReading
from tests.sources.tides_folder import (
    DAY,
    EXAMPLE,
    TRIPS,
    VEHICLES,
    VISITS,
    change,
    message,
    source,
    write_tables,
)

Edit = Callable[[Path], None]


@pytest.fixture
def folder(tmp_path) -> Path:
    return write_tables(tmp_path)


def read(folder: Path, day: date = DAY) -> TidesReading:
    """The date as it is read, after the checks before the commit."""
    reading = source(folder).read([day])
    validate(reading.stop_visits, contract.STOP_VISITS, [day] if reading.stop_visits.height else [])
    validate(reading.rejected, contract.REJECTED_VISITS, [day])
    assert reading.planned_departures.select(contract.PLANNED_DEPARTURES.key).is_unique().all()
    return reading


def edit(table: str, old: str, new: str) -> Edit:
    return lambda folder: change(folder, table, old, new)


def append(*rows: str) -> Edit:
    def add(folder: Path) -> None:
        with (folder / "stop_visits.csv").open("a", encoding="utf-8") as file:
            file.writelines(f"{row}\n" for row in rows)

    return add


# Rejected rows: the edit, the reason, the number of kept visits, and whether the row stays as a visit without counts

REJECTED: dict[str, tuple[Edit, str, int, bool]] = {
    "text in a number": (edit("stop_visits", "3,2,0,0,5", "three,2,0,0,5"), "boarding_1 is not a whole number", 4, True),
    "negative count": (edit("stop_visits", "3,2,0,0,5", "3,2,-2,0,5"), "alighting_1 is below 0", 4, True),
    "negative count of one door hidden by another": (edit("stop_visits", "3,2,0,0,5", "3,-2,0,0,1"), "boarding_2 is below 0", 4, True),
    "impossible count": (edit("stop_visits", "3,2,0,0,5", "3,200,0,0,5"), "boardings is over twice the vehicle's capacity", 4, True),
    "count beyond 32 bits": (edit("stop_visits", "3,2,0,0,5", "3,5000000000,0,0,5"), "boardings is over twice the vehicle's capacity", 4, True),
    "date": (edit("stop_visits", "2026-11-20,p1,1", "20.11.2026,p1,1"), "service_date is not a date (YYYY-MM-DD)", 3, False),
    "no date": (edit("stop_visits", "2026-11-20,p1,2", ",p1,2"), "service_date has no value", 3, False),
    "no time": (edit("stop_visits", "2026-11-20T08:05:00+01:00", "soon"), "schedule_departure_time is not a time (2026-11-20T08:15:00+01:00)", 3, False),
    "time out of the date": (edit("stop_visits", "2026-11-20T09:05", "2026-11-22T09:05"), "scheduled_departure_time is outside the service date, which ends at the second midnight after its start", 3, False),
    "empty stop": (edit("stop_visits", "p2,1,v1,jernbanetorget", "p2,1,v1,"), "stop_id has no value", 3, False),
    "sequence 0": (edit("stop_visits", "p2,1,v1", "p2,0,v1"), "stop_sequence is below 1", 3, False),
    "sequence beyond 32 bits": (edit("stop_visits", "p2,1,v1", "p2,3000000000,v1"), "stop_sequence is impossible", 3, False),
    "no sequence": (edit("stop_visits", "p2,1,v1", "p2,,v1"), "trip_stop_sequence has no value", 3, False),
    "unknown trip": (edit("stop_visits", "2026-11-20,p2,1", "2026-11-20,p9,1"), "trip_id_performed is not in trips_performed", 3, False),
    "no trip": (edit("stop_visits", "2026-11-20,p2,1", "2026-11-20,,1"), "trip_id_performed has no value", 3, False),
    "different counts of one visit": (
        append("2026-11-20,p1,1,v1,jernbanetorget,2026-11-20T08:00:00+01:00,3,3,0,0,6,Scheduled"),
        "several different rows of one visit, and no time shows which is newest", 4, True,
    ),
    "different stops of one visit": (
        append("2026-11-20,p1,1,v1,solli,2026-11-20T08:00:00+01:00,3,2,0,0,5,Scheduled"),
        "several different rows of one visit, and no time shows which is newest", 3, False,
    ),
}  # fmt: skip


@pytest.mark.parametrize("fault", REJECTED)
def test_bad_row_is_rejected_and_other_rows_are_used(folder: Path, fault: str) -> None:
    spoil, reason, visits, without_counts = REJECTED[fault]
    spoil(folder)

    reading = read(folder)

    assert reading.rejected["reason"].unique().to_list() == [reason]
    assert reading.stop_visits.height == visits
    assert reading.rejected["kept_without_counts"].any() == without_counts
    uncounted = reading.stop_visits.filter(pl.col("boardings").is_null() & pl.col("departure_load").is_null())
    assert uncounted.height == without_counts


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        ("s2,31,", "s2,,", "route_id has no value in trips_performed"),
        ("Bus Service,1", "Buss,1", "route_type Buss is none of bus, tram, metro, boat, rail; add its mode to [route_types] of the operator file"),
        ("Bus Service,1", "Bus Service,2", "direction_id is neither 0 nor 1"),
        ("Bus Service,1", "Bus Service,out", "trip in trips_performed: direction_id is not a whole number"),
        ("2026-11-20,p2", "2026-11-20,p3", "trip_id_performed is not in trips_performed"),
    ],
    ids=["no line", "unknown route type", "direction", "text as direction", "no trip"],
)  # fmt: skip
def test_visits_of_a_bad_trip_are_rejected(folder: Path, old: str, new: str, reason: str) -> None:
    change(folder, "trips_performed", old, new)
    reading = read(folder)
    assert reading.rejected.select("reason", "trip_id_performed").unique().rows() == [(reason, "p2")]
    assert set(reading.stop_visits["trip_id"]) == {"s1"}
    assert set(reading.planned_departures["trip_id"]) == {"s1"}


def test_visits_of_a_trip_with_different_rows_are_rejected(folder: Path) -> None:
    path = folder / "trips_performed.csv"
    path.write_text(path.read_text() + "2026-11-20,p2,v1,s2,32,Bus Service,1,In service,Scheduled\n")
    reading = read(folder)
    assert reading.rejected["reason"].to_list() == ["trip in trips_performed: has several different rows"] * 2
    assert set(reading.stop_visits["trip_id"]) == {"s1"}


def test_trip_with_mostly_rejected_visits_is_rejected(folder: Path) -> None:
    append("2026-11-20,p2,3,v1,solli,2026-11-20T09:10:00+01:00,0,0,0,0,0,Scheduled")(folder)
    change(folder, "stop_visits", "p2,1,v1,jernbanetorget", "p2,1,v1,")
    assert read(folder).stop_visits.filter(pl.col("trip_id") == "s2").height == 2
    change(folder, "stop_visits", "p2,2,v1,nationaltheatret", "p2,2,v1,")
    reading = read(folder)
    assert set(reading.stop_visits["trip_id"]) == {"s1"}
    assert reading.rejected["reason"].to_list()[2] == "most visits of its trip were rejected"
    assert reading.planned_departures.filter(pl.col("trip_id") == "s2").height == 1


def test_row_of_another_date_in_a_dated_file_is_rejected(folder: Path) -> None:
    (folder / "stop_visits").mkdir()
    rows = VISITS.replace("2026-11-20,p2,1", "2026-11-21,p2,1")
    (folder / "stop_visits" / "2026-11-20.csv").write_text(rows, encoding="utf-8")
    (folder / "stop_visits.csv").unlink()
    reading = read(folder)
    assert reading.stop_visits.height == 3
    assert reading.rejected.select("service_date", "file", "line_number", "reason").rows() == [
        (DAY, "stop_visits/2026-11-20.csv", 4, "service_date is outside the file's own date, 2026-11-20")
    ]


def test_rejected_csv_row_is_kept_in_its_original_form(folder: Path) -> None:
    change(folder, "stop_visits", "4,0,0,0,4,Scheduled", "4.5,0,NA,0,4,Scheduled")
    (row,) = read(folder).rejected.to_dicts()
    assert (row["file"], row["line_number"], row["line_id"]) == ("stop_visits.csv", 4, "31")
    assert (row["vehicle_id"], row["vehicle_type"]) == ("v1", "bus of 100 places")
    assert json.loads(row["row"]) == {
        "service_date": "2026-11-20", "trip_id_performed": "p2", "trip_stop_sequence": "1", "vehicle_id": "v1",
        "stop_id": "jernbanetorget", "schedule_departure_time": "2026-11-20T09:00:00+01:00", "boarding_1": "4.5", "boarding_2": "0",
        "alighting_1": None, "alighting_2": "0", "departure_load": "4", "schedule_relationship": "Scheduled",
    }  # fmt: skip


def test_rejected_parquet_row_is_kept_in_its_original_form(folder: Path) -> None:
    visits = pl.read_csv(folder / "stop_visits.csv", null_values="NA", try_parse_dates=True)
    visits.with_columns(boarding_1=-pl.col("boarding_1")).write_parquet(folder / "stop_visits.parquet")
    (folder / "stop_visits.csv").unlink()
    rejected = read(folder).rejected
    assert rejected["line_number"].to_list() == [1, 2, 3]
    assert json.loads(rejected["row"][2])["boarding_1"] == -4


def test_wrong_cell_affects_only_its_own_date(folder: Path) -> None:
    append("2026-11-21,p1,1,v1,x,2026-11-21T08:00:00+01:00,many,0,0,0,1,Scheduled")(folder)
    assert read(folder).rejected.is_empty()


# Loads


@pytest.mark.parametrize("load", ["201", "-2", "9999999999", "full", "5.5"])
def test_impossible_load_is_replaced_by_counts(folder: Path, load: str) -> None:
    change(folder, "stop_visits", "3,2,0,0,5", f"3,2,0,0,{load}")
    reading = read(folder)
    assert reading.stop_visits["departure_load"].to_list() == [None, 3, 4, 0]
    assert reading.stop_visits["boardings"].to_list() == [5, 1, 4, 0]
    assert reading.rejected.is_empty()
    name = "repaired, impossible departure_load replaced by boardings and alightings"
    assert reading.counts[name] == 1


def test_impossible_load_without_counts_is_rejected(folder: Path) -> None:
    change(folder, "stop_visits", "3,2,0,0,5", ",,,,201")
    change(folder, "stop_visits", "1,NA,2,1,3", ",,,,3")
    reading = read(folder)
    assert reading.rejected["reason"].to_list() == ["departure_load is over twice the vehicle's capacity"]
    assert reading.stop_visits["departure_load"].to_list() == [3, 4, 0], (
        "a trip of loads alone goes without the stop"
    )


def test_load_minus_1_is_unknown(folder: Path) -> None:
    change(folder, "stop_visits", "3,2,0,0,5", "3,2,0,0,-1")
    reading = read(folder)
    assert reading.rejected.is_empty()
    assert reading.stop_visits["departure_load"].to_list() == [None, 3, 4, 0]
    assert reading.counts["repaired, departure_load -1 read as unknown"] == 1


@pytest.mark.parametrize(("load", "kept"), [(250, True), (251, False)])
def test_mode_limits_the_load_of_unknown_capacity(folder: Path, load: int, kept: bool) -> None:
    (folder / "vehicles.csv").write_text("vehicle_id,capacity_seated,capacity_standing\nv1,,\n")
    change(folder, "stop_visits", "3,2,0,0,5", f",,,,{load}")
    change(folder, "stop_visits", "1,NA,2,1,3", ",,,,3")
    reading = read(folder)
    expected = [] if kept else ["departure_load is over what a vehicle of the mode can carry"]
    assert reading.rejected["reason"].to_list() == expected


# Repairs

REPAIRED: dict[str, tuple[Edit, str, int]] = {
    "exact duplicate": (
        append("2026-11-20,p1,1,v1,jernbanetorget,2026-11-20T08:00:00+01:00,3,2,0,0,5,Scheduled"),
        "repaired, one of several equal rows of a visit kept", 1,
    ),
    "trip type": (edit("trips_performed", "1,In service", "1,Charter"), "repaired, trip_type is unknown to TIDES: taken as unknown", 1),
    "relationship": (
        edit("stop_visits", "5,Scheduled", "5,Planned"),
        "repaired, schedule_relationship is unknown to TIDES: taken as unknown", 1,
    ),
    "no offset": (edit("stop_visits", "T08:05:00+01:00", "T08:05:00"), "repaired, time without offset taken as Europe/Oslo", 1),
    "12.0": (edit("stop_visits", "3,2,0,0,5", "3.0,2,0,0,5"), "repaired, whole number written with a decimal point", 1),
    "seats": (edit("vehicles", "40", "forty"), "repaired, capacity_seated is not a whole number: taken as unknown", 1),
    "negative seats": (edit("vehicles", "40", "-40"), "repaired, capacity_seated is below 0: taken as unknown", 1),
    "impossible seats": (edit("vehicles", "40", "99999"), "repaired, impossible capacity taken as unknown", 1),
    "unknown vehicle": (edit("vehicles", "v1", "v9"), "kept, vehicle missing in vehicles: unknown capacity", 4),
    "equal vehicles": (edit("vehicles", "v1,40,60\n", "v1,40,60\nv1,40,60\n"), "repaired, one of several equal rows of a vehicle kept", 1),
    "different vehicles": (
        edit("vehicles", "v1,40,60\n", "v1,40,60\nv1,41,60\n"),
        "repaired, vehicle with several different rows: unknown capacity", 1,
    ),
    "equal trips": (
        edit("trips_performed", "2026-11-20,p2", "2026-11-20,p1,v1,s1,31,Bus Service,0,In service,Scheduled\n2026-11-20,p2"),
        "repaired, one of several equal rows of a trip kept", 1,
    ),
}  # fmt: skip


def test_impossible_capacity_is_unknown_in_the_plan(folder: Path) -> None:
    edit("vehicles", "40,60", "99999,60")(folder)
    plan = source(folder).planned_departures(DAY)
    validate(plan, contract.PLANNED_DEPARTURES, {DAY})
    assert plan.select("seats", "total_capacity").null_count().row(0) == (4, 4)


@pytest.mark.parametrize("fault", REPAIRED)
def test_repaired_rows_are_used_and_counted(folder: Path, fault: str) -> None:
    expected = read(folder).stop_visits.drop("seats", "total_capacity")
    spoil, name, number = REPAIRED[fault]
    spoil(folder)

    reading = read(folder)

    visits = reading.stop_visits.sort(contract.STOP_VISITS.key).drop("seats", "total_capacity")
    assert visits.equals(expected)
    assert reading.rejected.is_empty()
    assert reading.counts[name] == number


def test_time_in_the_repeated_hour_is_the_first_one(folder: Path) -> None:
    change(folder, "stop_visits", "2026-11-20T09:05:00+01:00", "2026-10-25T02:30:00")
    for table in ("stop_visits", "trips_performed"):
        change(folder, table, "2026-11-20", "2026-10-25")
    reading = read(folder, date(2026, 10, 25))
    assert (
        datetime(2026, 10, 25, 0, 30, tzinfo=UTC) in reading.stop_visits["scheduled_departure_time"].to_list()
    )
    name = "repaired, time without offset in the hour that the clocks repeat taken as the first"
    assert reading.counts[name] == 1


def test_newest_of_different_rows_is_kept(folder: Path) -> None:
    path = folder / "stop_visits.csv"
    header, *rows = VISITS.splitlines()
    rows = [f"{row},2026-11-20T08:00:10+01:00" for row in rows]
    newer = rows[0].replace("3,2,0,0,5", "3,3,0,0,6").replace("08:00:10", "08:00:40")
    path.write_text("\n".join([f"{header},actual_departure_time", newer, *rows]) + "\n")
    reading = read(folder)
    assert reading.stop_visits.filter(stop_sequence=1, trip_id="s1")["boardings"].to_list() == [6]
    assert reading.rejected.is_empty()
    assert reading.counts["repaired, newest of several rows of a visit kept"] == 1


def test_parquet_time_without_zone_is_local(folder: Path) -> None:
    expected = read(folder).stop_visits
    table = pl.read_csv(folder / "stop_visits.csv", try_parse_dates=True, null_values="NA")
    local = table.with_columns(
        pl.col("schedule_departure_time").dt.convert_time_zone("Europe/Oslo").dt.replace_time_zone(None)
    )
    local.write_parquet(folder / "stop_visits.parquet")
    (folder / "stop_visits.csv").unlink()
    assert read(folder).stop_visits.equals(expected)


# The example of the issue: one vehicle, two trips, three stops, correct counts, and one departure_load of 999

SIX_VISITS = """\
service_date,trip_id_performed,trip_stop_sequence,vehicle_id,stop_id,schedule_departure_time,boarding_1,alighting_1,departure_load
2026-11-20,p1,1,v1,a,2026-11-20T08:00:00+01:00,5,0,5
2026-11-20,p1,2,v1,b,2026-11-20T08:05:00+01:00,2,3,999
2026-11-20,p1,3,v1,c,2026-11-20T08:10:00+01:00,0,4,0
2026-11-20,p2,1,v1,a,2026-11-20T09:00:00+01:00,4,0,4
2026-11-20,p2,2,v1,b,2026-11-20T09:05:00+01:00,1,1,4
2026-11-20,p2,3,v1,c,2026-11-20T09:10:00+01:00,0,4,0
"""
SINGLE_EDITS: dict[str, Edit] = {
    "none": lambda folder: None,
    "boarding -1": edit("stop_visits", "09:05:00+01:00,1,1,4", "09:05:00+01:00,-1,1,4"),
    "load -2": edit("stop_visits", "1,1,4", "1,1,-2"),
    "exact duplicate": append("2026-11-20,p2,1,v1,a,2026-11-20T09:00:00+01:00,4,0,4"),
    "unknown trip": edit("stop_visits", "p2,1,v1", "p9,1,v1"),
    "empty stop": edit("stop_visits", "v1,b,2026-11-20T09", "v1,,2026-11-20T09"),
    "sequence 0": edit("stop_visits", "p2,1,v1", "p2,0,v1"),
    "empty route": edit("trips_performed", "s2,31,", "s2,,"),
    "trip type Charter": edit("trips_performed", "1,In service", "1,Charter"),
    "time without offset": edit("stop_visits", "T09:00:00+01:00", "T09:00:00"),
    "-1 as unknown load": edit("stop_visits", "1,1,4", "1,1,-1"),
}


def six_visits(folder: Path) -> Path:
    write_tables(folder)
    (folder / "stop_visits.csv").write_text(SIX_VISITS)
    return folder


@pytest.mark.parametrize("change_one", SINGLE_EDITS)
def test_single_edit_does_not_block_the_date(tmp_path: Path, change_one: str) -> None:
    folder = six_visits(tmp_path)
    SINGLE_EDITS[change_one](folder)
    reading = read(folder)
    assert set(reading.stop_visits["trip_id"]) >= {"s1"}
    assert reading.stop_visits.height >= 3
    assert not blocked_dates(reading.stop_visits, reading.rejected, RejectLimits.model_validate({}))


# What is refused: nothing of the date can be read


def test_missing_folder_is_refused(tmp_path):
    with pytest.raises(BadInput, match="does not exist or is not a folder; check its path"):
        source(tmp_path / "nowhere").available_dates()


def test_missing_table_is_refused(folder):
    (folder / "trips_performed.csv").unlink()
    assert "TIDES table trips_performed is missing in" in message(folder)
    assert "expected trips_performed.csv, trips_performed.parquet or a folder trips_performed/" in message(
        folder
    )


def test_duplicate_table_is_refused(folder):
    (folder / "vehicles.parquet").write_bytes(b"")
    assert "vehicles exists more than once" in message(folder)


def test_missing_column_is_refused(folder):
    change(folder, "trips_performed", "route_type", "type_of_route")
    assert "trips_performed.csv lacks the column route_type" in message(folder)


def test_renamed_count_column_is_named_with_what_is_accepted(folder):
    counts = "boarding_1,boarding_2,alighting_1,alighting_2,departure_load"
    change(folder, "stop_visits", counts, "a,b,c,d,load")
    assert (
        "stop_visits.csv has no passenger counts: TIDES' stop_visits needs departure_load, or (boarding_1 or boarding_2) and "
        "(alighting_1 or alighting_2); it has service_date," in message(folder)
    )
    assert message(folder).endswith("Rename load to departure_load if it holds the same values")


@pytest.mark.parametrize("kept", ["departure_load", "boarding_1,alighting_2"])
def test_one_kind_of_count_column_is_enough(folder, kept):
    for name in {"boarding_1", "boarding_2", "alighting_1", "alighting_2", "departure_load"} - set(
        kept.split(",")
    ):
        change(folder, "stop_visits", name, f"other_{name}")
    assert source(folder).stop_visits(DAY).height


def test_vehicles_table_may_be_missing(folder):
    (folder / "vehicles.csv").unlink()
    reading = source(folder).read([DAY])
    assert reading.stop_visits.height == 4
    assert reading.planned_departures["seats"].null_count() == 4
    assert reading.counts["kept, vehicle missing in vehicles: unknown capacity"] == 4


def test_date_without_visits_is_absent(folder):
    with pytest.raises(DateAbsent) as failure:
        source(folder).stop_visits(date(2026, 11, 22))
    assert "no counted visit on 2026-11-22; it has 1 dates from 2026-11-20 to 2026-11-20" in str(
        failure.value
    )


def test_table_without_rows_has_no_dates(folder):
    (folder / "stop_visits.csv").write_text(VISITS.splitlines()[0] + "\n", encoding="utf-8")
    assert "it has no dates" in message(folder)


def test_absent_date_of_a_range_has_no_rows(folder):
    reading = source(folder).read([DAY, date(2026, 11, 22)])
    assert reading.stop_visits["service_date"].unique().to_list() == [DAY]


def test_journey_past_midnight_belongs_to_its_service_date(folder):
    change(folder, "stop_visits", "2026-11-20T09:05", "2026-11-21T01:05")
    assert source(folder).stop_visits(DAY).height == 4


def test_half_written_csv_is_refused(folder):
    (folder / "stop_visits.csv").write_text(VISITS[:-12], encoding="utf-8")
    assert "stop_visits.csv is half-written: its last row has 11 of 12 columns; copy it again" in message(
        folder
    )


def test_half_written_parquet_is_refused(folder):
    whole = (EXAMPLE / "stop_visits.parquet").read_bytes()
    (folder / "stop_visits.csv").unlink()
    (folder / "stop_visits.parquet").write_bytes(whole[: len(whole) // 2])
    assert "stop_visits.parquet is not a complete Parquet file, perhaps half-written" in message(folder)


def test_empty_file_is_refused(folder):
    (folder / "vehicles.csv").write_bytes(b"")
    assert "vehicles.csv is empty and has no header" in message(folder)


@pytest.mark.parametrize("encoding", ["latin-1", "utf-16", "utf-16-le", "utf-16-be"])
def test_header_that_is_not_utf_8_is_refused(folder: Path, encoding: str) -> None:
    content = VEHICLES.replace("vehicle_id", "vehicle_id,ø")
    (folder / "vehicles.csv").write_bytes(content.encode(encoding))
    likely = "Latin-1" if encoding == "latin-1" else "UTF-16"
    assert f"vehicles.csv is not UTF-8 ({likely}, perhaps); save it as UTF-8" in message(folder)


def test_row_that_is_not_utf_8_is_rejected(folder: Path) -> None:
    content = VISITS.replace("p2,1,v1,jernbanetorget", "p2,1,v1,tøyen")
    (folder / "stop_visits.csv").write_bytes(content.encode("latin-1"))
    reading = read(folder)
    (row,) = reading.rejected.to_dicts()
    assert (row["file"], row["line_number"], row["trip_id_performed"]) == ("stop_visits.csv", 4, "p2")
    assert row["reason"] == "stop_id is not UTF-8 (Latin-1, perhaps); save the file as UTF-8"
    assert json.loads(row["row"])["stop_id"] == "t\ufffdyen"
    assert reading.stop_visits.height == 3


def test_invalid_bytes_in_unused_columns_are_ignored(folder: Path) -> None:
    expected = read(folder).stop_visits
    header, *rows = VISITS.splitlines()
    content = "\n".join([f"{header},stop_name", *(f"{row},Tøyen" for row in rows)]) + "\n"
    (folder / "stop_visits.csv").write_bytes(content.encode("latin-1"))
    reading = read(folder)
    assert reading.stop_visits.equals(expected)
    assert reading.rejected.is_empty()


def test_latin_1_file_blocks_its_date_and_names_the_encoding(folder: Path) -> None:
    content = VISITS.replace("jernbanetorget", "tøyen").replace("nationaltheatret", "blåsen")
    (folder / "stop_visits.csv").write_bytes(content.encode("latin-1"))
    reading = read(folder)
    assert reading.rejected.height == 4
    blocked = blocked_dates(reading.stop_visits, reading.rejected, RejectLimits.model_validate({}))
    assert "stop_id is not UTF-8 (Latin-1, perhaps); save the file as UTF-8 (4 rows)" in blocked[DAY].message


def test_visits_of_a_trip_in_latin_1_are_rejected(folder: Path) -> None:
    content = TRIPS.replace("p2,v1,s2,31", "p2,v1,s2,3ø")
    (folder / "trips_performed.csv").write_bytes(content.encode("latin-1"))
    reason = "trip in trips_performed: route_id is not UTF-8 (Latin-1, perhaps); save the file as UTF-8"
    assert read(folder).rejected["reason"].to_list() == [reason] * 2


def test_vehicle_that_is_not_utf_8_has_unknown_capacity(folder: Path) -> None:
    (folder / "vehicles.csv").write_bytes(VEHICLES.replace("v1,40", "ø,40").encode("latin-1"))
    reading = read(folder)
    assert reading.stop_visits["seats"].null_count() == 4
    assert reading.rejected.is_empty()


@pytest.mark.parametrize("cell", ['v"1', '"v1', 'v1"', '"v"1"', '""v1'])
def test_row_with_an_unpaired_quote_is_rejected(folder: Path, cell: str) -> None:
    """The quoted cells of other rows are read as usual, those of two lines too."""
    header, *rows = VISITS.splitlines()
    rows = [f'{row},"a, ""b""\nc"' for row in rows[:2]] + [f'{row},"d, e"' for row in rows[2:]]
    rows[2] = rows[2].replace("p2,1,v1", f"p2,1,{cell}")
    (folder / "stop_visits.csv").write_text("\n".join([f"{header},note", *rows]) + "\n")
    reading = read(folder)
    (row,) = reading.rejected.to_dicts()
    assert row["reason"] == "row has a quote without a closing quote"
    assert (row["file"], row["line_number"], row["trip_id_performed"]) == ("stop_visits.csv", 4, "p2")
    assert json.loads(row["row"]) == {"line": rows[2]}
    assert sorted(reading.stop_visits.select("trip_id", "stop_sequence").rows()) == [
        ("s1", 1),
        ("s1", 2),
        ("s2", 2),
    ]


def test_distant_quotes_do_not_merge_the_rows_between(folder: Path) -> None:
    header, *rows = VISITS.splitlines()
    rows[0] = rows[0].replace("jernbanetorget", '"jernbanetorget')
    rows[3] = f'{rows[3]}"'
    (folder / "stop_visits.csv").write_text("\n".join([header, *rows]) + "\n")
    reading = read(folder)
    assert reading.rejected["line_number"].to_list() == [2, 5]
    assert reading.stop_visits.height == 2


@pytest.mark.parametrize(
    ("table", "old", "visits"), [("trips_performed", "Bus Service,1", 2), ("vehicles", "v1,40", 4)]
)
def test_unpaired_quote_affects_only_its_row(folder: Path, table: str, old: str, visits: int) -> None:
    change(folder, table, old, f'{old}"')
    reading = read(folder)
    assert reading.stop_visits.height == visits
    assert set(reading.rejected["reason"]) <= {
        "trip in trips_performed: row has a quote without a closing quote"
    }


@pytest.mark.parametrize(
    ("old", "new", "cells"),
    [("0,0,0,4,Scheduled", "0,0,0,4,Scheduled,more", 13), ("4,0,0,0,4,Scheduled", "4,0,0,4,Scheduled", 11)],
    ids=["too many", "too few"],
)
def test_row_with_a_wrong_number_of_cells_is_rejected(folder, old, new, cells):
    change(folder, "stop_visits", old, new)
    reading = read(folder)
    (row,) = reading.rejected.to_dicts()
    assert (row["file"], row["line_number"]) == ("stop_visits.csv", 4)
    assert row["reason"] == f"row has {cells} cells, the header has 12"
    line = (folder / "stop_visits.csv").read_text().splitlines()[3]
    assert json.loads(row["row"]) == {"line": line}, "nothing of it is lost"
    assert reading.stop_visits.height == 3


def test_visits_of_a_trip_with_missing_cells_are_rejected(folder):
    change(folder, "trips_performed", "p2,v1,s2", "p2,s2")
    assert (
        read(folder).rejected["reason"].to_list()
        == ["trip in trips_performed: row has 8 cells, the header has 9"] * 2
    )


def with_trailing_separators(text: str, number: int, separators: str = ",") -> str:
    """The table with separators at the end of its first rows."""
    header, *rows = text.splitlines()
    return "\n".join([header, *(row + separators * (at < number) for at, row in enumerate(rows))]) + "\n"


@pytest.mark.parametrize(("number", "separators"), [(1, ","), (4, ","), (2, ",, ,")])
def test_rows_with_empty_extra_cells_are_used(folder: Path, number: int, separators: str) -> None:
    expected = read(folder).stop_visits
    for name in ("stop_visits", "trips_performed", "vehicles"):
        path = folder / f"{name}.csv"
        path.write_text(with_trailing_separators(path.read_text(), number, separators))
    reading = read(folder)
    assert reading.stop_visits.equals(expected)
    assert reading.rejected.is_empty()
    name = "repaired, row with more cells than the header, all empty"
    assert reading.counts[name] == number + min(number, 2) + 1, "of visits, trips and the vehicle"


def test_vehicle_with_missing_cells_has_unknown_capacity(folder):
    change(folder, "vehicles", "v1,40,60\n", "v1,60\n")
    assert read(folder).stop_visits["seats"].null_count() == 4


@pytest.mark.parametrize("column", ["boarding_1", "stop_id"])
def test_duplicate_column_is_refused(folder, column):
    header, *rows = VISITS.splitlines()
    (folder / "stop_visits.csv").write_text(
        "\n".join([f"{header},{column}", *(f"{row},2" for row in rows)]) + "\n"
    )
    assert f"stop_visits.csv has the column {column} more than once; keep one of each" in message(folder)


@pytest.mark.parametrize(
    ("table", "column", "old", "new"),
    [
        ("stop_visits", "service_date", "2026-11-20,p", "20.11.2026,p"),
        ("stop_visits", "schedule_departure_time", "2026-11-20T0", "20.11.2026 0"),
    ],
)
def test_column_without_readable_cells_is_refused(folder, table, column, old, new):
    change(folder, table, old, new)
    assert f"{table}.csv cannot be used: none of the 4 cells of column {column} is a" in message(folder)
    assert "(row 2: '20.11.2026" in message(folder)


def test_unfinished_quoted_cell_is_refused(folder):
    header, *rows = VISITS.splitlines()
    rows = [f'{row},"two\nlines"' for row in rows]
    text = "\n".join([f"{header},note", *rows])
    (folder / "stop_visits.csv").write_text(text[: text.rindex("T09")])
    assert "is half-written: its last row has 6 of 13 columns" in message(folder)


@pytest.mark.parametrize("name", ["stop_visits.csv", "stop_visits.parquet"])
def test_error_of_unreadable_file_names_the_remedy(folder, name, monkeypatch):
    """Root may read every file: what the system says to others is put in its place."""
    if name.endswith("parquet"):
        pl.read_csv(folder / "stop_visits.csv").write_parquet(folder / name)
        (folder / "stop_visits.csv").unlink()

    def denied(*_args, **_options):
        raise PermissionError(13, "Permission denied", name)

    monkeypatch.setattr(pl, "scan_parquet" if name.endswith("parquet") else "scan_csv", denied)
    assert message(folder) == (
        f"{name} cannot be read (Permission denied); check that it exists and that this user may read it"
    )


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read every file")
def test_error_names_file_without_read_permission(folder):
    (folder / "stop_visits.csv").chmod(0)
    assert "stop_visits.csv cannot be read (" in message(folder)


def test_error_names_file_that_the_store_refuses(folder, monkeypatch):
    def denied(*_args, **_options):
        raise PermissionDeniedError("Access denied\n\nDebug source: ...")

    monkeypatch.setattr(obstore, "get_range", denied)
    assert "cannot be read (Access denied); check that it exists and that this user may read it" in message(
        folder
    )
