"""Bad input in TIDES tables: the message names the file, the place and the remedy, and nothing is read."""

from datetime import date
from pathlib import Path

import polars as pl
import pytest

from ruter_dagster.contracts.errors import BadInput
from ruter_dagster.sources.base import DateAbsent
from tests.sources.tides_folder import DAY, EXAMPLE, VEHICLES, VISITS, change, message, source, write_tables


@pytest.fixture
def folder(tmp_path) -> Path:
    return write_tables(tmp_path)


def test_a_folder_that_is_not_there(tmp_path):
    with pytest.raises(BadInput, match="does not exist or is no folder; check its path"):
        source(tmp_path / "nowhere").available_dates()


def test_a_missing_table(folder):
    (folder / "trips_performed.csv").unlink()
    assert "TIDES table trips_performed is missing in" in message(folder)
    assert "expected trips_performed.csv, trips_performed.parquet or a folder trips_performed/" in message(
        folder
    )


def test_a_table_that_is_there_twice(folder):
    (folder / "vehicles.parquet").write_bytes(b"")
    assert "vehicles is there more than once" in message(folder)


def test_a_missing_column(folder):
    change(folder, "trips_performed", "route_type", "type_of_route")
    assert "trips_performed.csv lacks the column route_type" in message(folder)


@pytest.mark.parametrize(
    ("table", "old", "new", "expected"),
    [
        ("stop_visits", "3,2,0,0,5", "three,2,0,0,5", "column boarding_1 is not a whole number (1 rows, e.g. row 2: 'three')"),
        ("stop_visits", "3,2,0,0,5", "3,2,0,0,5.5", "column departure_load is not a whole number (1 rows, e.g. row 2: '5.5')"),
        ("stop_visits", "2026-11-20,p1,1", "20.11.2026,p1,1", "column service_date is not a date (YYYY-MM-DD) (1 rows, e.g. row 2: '20.11.2026')"),
        ("stop_visits", "T08:05:00+01:00", "T08:05:00", "column schedule_departure_time is not a time with its offset from UTC"),
        ("stop_visits", "3,2,0,0,5", "3,-2,0,0,1", "column boarding_2 is below 0 (1 rows, e.g. row 2: '-2')"),
        ("stop_visits", "p2,1,v1,jernbanetorget", "p2,1,v1,", "column stop_id has no value (1 rows, e.g. row 4: nothing)"),
        ("stop_visits", "5,Scheduled", "5,Planned", "column schedule_relationship is unknown to TIDES, which allows: Scheduled, Skipped"),
        ("trips_performed", "Bus Service,0", "Buss,0", "column route_type is unknown to TIDES, which allows: Bus, Trolleybus"),
        ("vehicles", "40", "forty", "column capacity_seated is not a whole number"),
    ],
    ids=["text in a number", "half a passenger", "date", "no offset", "negative", "empty", "relationship", "mode", "seats"],
)  # fmt: skip
def test_a_wrong_cell(folder, table, old, new, expected):
    change(folder, table, old, new)
    assert f"{table}.csv cannot be used; correct it at its source" in message(folder)
    assert expected in message(folder)


def test_a_wrong_cell_of_another_date_does_not_hold_up_this_one(folder):
    path = folder / "stop_visits.csv"
    path.write_text(
        VISITS + "2026-11-21,p1,1,v1,x,2026-11-21T08:00:00+01:00,many,0,0,0,1,Scheduled\n", encoding="utf-8"
    )
    assert source(folder).stop_visits(DAY).height == 4
    assert "row 6: 'many'" in message(folder, date(2026, 11, 21))


def test_an_empty_day(folder):
    with pytest.raises(DateAbsent) as failure:
        source(folder).stop_visits(date(2026, 11, 22))
    assert "no counted visit on 2026-11-22; it has 1 dates from 2026-11-20 to 2026-11-20" in str(
        failure.value
    )


def test_a_table_without_rows(folder):
    (folder / "stop_visits.csv").write_text(VISITS.splitlines()[0] + "\n", encoding="utf-8")
    assert "it has no date at all" in message(folder)


def test_an_absent_date_of_a_range_has_no_rows(folder):
    reading = source(folder).read([DAY, date(2026, 11, 22)])
    assert reading.stop_visits["service_date"].unique().to_list() == [DAY]


def test_duplicate_stop_visits(folder):
    path = folder / "stop_visits.csv"
    path.write_text(VISITS + VISITS.splitlines()[1] + "\n", encoding="utf-8")
    assert "key (service_date, trip_id, stop_sequence) is unique" in message(folder)
    assert "trip_id=s1 stop_sequence=1" in message(folder)


def test_a_load_over_twice_the_capacity(folder):
    change(folder, "stop_visits", "3,2,0,0,5", "3,2,0,0,201")
    assert "load_within_twice_the_capacity" in message(folder)
    assert "departure_load=201" in message(folder)


def test_a_visit_of_an_unknown_trip(folder):
    change(folder, "trips_performed", "2026-11-20,p2", "2026-11-20,p3")
    assert "has visits of trips that trips_performed lacks; add the trips (2 rows, e.g." in message(folder)
    assert "trip_id_performed=p2" in message(folder)


def test_a_visit_of_an_unknown_vehicle(folder):
    change(folder, "vehicles", "v1", "v9")
    assert "has visits of vehicles that vehicles lacks; add the vehicles" in message(folder)
    assert "vehicle_id=v1" in message(folder)


@pytest.mark.parametrize(
    ("table", "key"), [("trips_performed", "service_date, trip_id_performed"), ("vehicles", "vehicle_id")]
)
def test_two_rows_of_one_trip_or_vehicle(folder, table, key):
    path = folder / f"{table}.csv"
    content = path.read_text(encoding="utf-8")
    path.write_text(content + content.splitlines()[1] + "\n", encoding="utf-8")
    assert f"has several rows of one {key}; keep one of each" in message(folder)


def test_a_trip_without_a_line(folder):
    change(folder, "trips_performed", "s1,31", "s1,")
    assert "has visits of trips without route_id" in message(folder)


def test_a_row_of_another_date_in_a_dates_file(folder):
    (folder / "stop_visits").mkdir()
    rows = VISITS.replace("2026-11-20,p2,1", "2026-11-21,p2,1")
    (folder / "stop_visits" / "2026-11-20.csv").write_text(rows, encoding="utf-8")
    (folder / "stop_visits.csv").unlink()
    assert "stop_visits/2026-11-20.csv" in message(folder)
    assert "service_date is outside the file's own date, 2026-11-20" in message(folder)


def test_a_visit_scheduled_outside_its_service_date(folder):
    change(folder, "stop_visits", "2026-11-20T09:05", "2026-11-22T09:05")
    assert "has visits scheduled outside their service date" in message(folder)


def test_a_journey_past_midnight_belongs_to_its_service_date(folder):
    change(folder, "stop_visits", "2026-11-20T09:05", "2026-11-21T01:05")
    assert source(folder).stop_visits(DAY).height == 4


def test_a_half_written_csv(folder):
    (folder / "stop_visits.csv").write_text(VISITS[:-12], encoding="utf-8")
    assert "stop_visits.csv is half-written: its last row has 11 of 12 columns; copy it again" in message(
        folder
    )


def test_a_half_written_parquet(folder):
    whole = (EXAMPLE / "stop_visits.parquet").read_bytes()
    (folder / "stop_visits.csv").unlink()
    (folder / "stop_visits.parquet").write_bytes(whole[: len(whole) // 2])
    assert "stop_visits.parquet is no whole Parquet file, half-written perhaps" in message(folder)


def test_a_parquet_time_without_a_zone(folder):
    table = pl.read_csv(folder / "stop_visits.csv", try_parse_dates=True, null_values="NA")
    naive = table.with_columns(pl.col("schedule_departure_time").dt.replace_time_zone(None))
    naive.write_parquet(folder / "stop_visits.parquet")
    (folder / "stop_visits.csv").unlink()
    assert "column schedule_departure_time is not a time with its offset from UTC" in message(folder)


def test_an_empty_file(folder):
    (folder / "vehicles.csv").write_bytes(b"")
    assert "vehicles.csv is empty: not even a header" in message(folder)


@pytest.mark.parametrize("place", ["vehicle_id", "v1,40"], ids=["header", "row"])
def test_latin_1(folder, place):
    content = VEHICLES.replace(place, "ø" + place)
    (folder / "vehicles.csv").write_bytes(content.encode("latin-1"))
    assert "vehicles.csv is not UTF-8 (Latin-1, perhaps); save it as UTF-8" in message(folder)


def test_a_row_with_too_many_cells(folder):
    change(folder, "stop_visits", "4,Scheduled", "4,Scheduled,more")
    assert "stop_visits.csv cannot be read as CSV" in message(folder)
