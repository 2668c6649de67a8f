"""TIDES tables as raw tables, and the layout of their folder. Bad input: test_tides_bad_input.py."""

from datetime import UTC, date, datetime
from pathlib import Path

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from ruter_dagster.config.settings import Settings
from ruter_dagster.contracts import tables as contract
from ruter_dagster.contracts.validation import validate
from ruter_dagster.forecasting.counts import balance
from ruter_dagster.sources.base import Source
from ruter_dagster.sources.tides import TidesSource
from tests.sources.tides_folder import DAY, EXAMPLE, OSLO, VISITS, change, source, write_tables


@pytest.fixture
def folder(tmp_path) -> Path:
    return write_tables(tmp_path)


# What the tables mean


def test_example_keeps_the_contracts():
    aarhus = TidesSource(EXAMPLE, "Europe/Copenhagen")
    dates = sorted(aarhus.available_dates())
    reading = aarhus.read(dates)
    validate(reading.stop_visits, contract.STOP_VISITS, dates)
    validate(reading.planned_departures, contract.PLANNED_DEPARTURES, dates)
    assert isinstance(aarhus, Source)
    assert (reading.stop_visits.height, dates[0], dates[-1]) == (
        74_290,
        date(2021, 12, 31),
        date(2024, 1, 31),
    )


def test_single_date_equals_the_date_in_a_range():
    aarhus = TidesSource(EXAMPLE, "Europe/Copenhagen")
    days = [date(2023, 9, 1), date(2023, 9, 2)]
    alone = pl.concat(aarhus.stop_visits(day) for day in days)
    assert_frame_equal(alone, aarhus.read(days).stop_visits, check_row_order=False)


def test_counts_of_all_doors_are_added(folder):
    visits = source(folder).stop_visits(DAY)
    assert visits["boardings"].to_list() == [5, 1, 4, 0]
    assert visits["alightings"].to_list() == [0, 3, 0, 4]


def test_total_capacity_is_seats_and_standing_places(folder):
    visits = source(folder).stop_visits(DAY)
    assert set(visits.select("seats", "total_capacity").iter_rows()) == {(40, 100)}


def test_times_become_utc(folder):
    visits = source(folder).stop_visits(DAY)
    assert visits["scheduled_departure_time"][0] == datetime(2026, 11, 20, 7, tzinfo=UTC)


def test_trip_id_is_the_scheduled_id(folder):
    visits = source(folder).stop_visits(DAY)
    assert visits["trip_id"].to_list() == ["s1", "s1", "s2", "s2"]
    assert visits["trip_id_performed"].to_list() == ["p1", "p1", "p2", "p2"]


@pytest.mark.parametrize(
    ("scheduled", "trip_ids"),
    [
        (("s1", ""), {"s1", "p2"}),
        (("s1", "s1"), {"p1", "p2"}),
        (("p2", ""), {"p1", "p2"}),
    ],
    ids=["no plan", "performed twice", "named like another performed trip"],
)
def test_trip_without_unique_schedule_keeps_its_performed_id(folder, scheduled, trip_ids):
    change(folder, "trips_performed", "p1,v1,s1", f"p1,v1,{scheduled[0]}")
    change(folder, "trips_performed", "p2,v1,s2", f"p2,v1,{scheduled[1]}")
    visits = source(folder).stop_visits(DAY)
    validate(visits, contract.STOP_VISITS, {DAY})
    assert set(visits["trip_id"]) == trip_ids


def test_plan_has_no_counts_and_no_unplanned_trips(folder):
    change(folder, "trips_performed", "1,In service,Scheduled", "1,In service,Added")
    reading = source(folder).read([DAY])
    assert set(reading.planned_departures["trip_id"]) == {"s1"}
    assert set(reading.stop_visits["trip_id"]) == {"s1", "s2"}
    assert set(reading.planned_departures.columns) == set(contract.PLANNED_DEPARTURES.column_names)


def test_skipped_stop_is_planned_but_not_visited(folder):
    change(folder, "stop_visits", "4,0,0,Scheduled", "4,0,0,Skipped")
    reading = source(folder).read([DAY])
    assert (reading.planned_departures.height, reading.stop_visits.height) == (4, 3)
    assert reading.counts["left out, stop skipped or missing"] == 1


def test_canceled_trip_is_planned_but_not_visited(folder):
    change(folder, "trips_performed", "1,In service,Scheduled", "1,In service,Canceled")
    reading = source(folder).read([DAY])
    assert (reading.planned_departures.height, reading.stop_visits.height) == (4, 2)
    assert reading.counts["left out, trip canceled"] == 2


def test_trip_not_in_service_is_left_out(folder):
    change(folder, "trips_performed", "1,In service", "1,Deadhead")
    reading = source(folder).read([DAY])
    assert (reading.planned_departures.height, reading.stop_visits.height) == (2, 2)
    assert reading.counts["left out, trip not in service"] == 2


def test_uncounted_visit_stays_in_a_counted_trip(folder):
    change(folder, "stop_visits", "4,0,0,0,4,Scheduled", "4,0,,,,Scheduled")
    reading = source(folder).read([DAY])
    assert reading.stop_visits.height == 4
    assert reading.counts["kept without counts, trip counted at other stops"] == 1


def test_uncounted_trip_is_left_out(folder):
    change(folder, "stop_visits", "4,0,0,0,4,Scheduled", "4,0,,,,Scheduled")
    change(folder, "stop_visits", "0,0,4,0,0,Scheduled", ",,,,,Scheduled")
    reading = source(folder).read([DAY])
    assert reading.stop_visits.height == 2
    assert reading.counts["left out, not counted"] == 2


def test_visits_without_load_are_left_out_of_loads_only_trips(folder):
    change(folder, "stop_visits", "4,0,0,0,4,Scheduled", ",,,,,Scheduled")
    change(folder, "stop_visits", "0,0,4,0,0,Scheduled", ",,,,0,Scheduled")
    assert source(folder).read([DAY]).stop_visits["stop_sequence"].to_list() == [1, 2, 2]


def test_visit_without_counts_lowers_the_trip_weight(folder):
    change(folder, "stop_visits", "4,0,0,0,4,Scheduled", "NA,NA,,,,Scheduled")
    change(folder, "stop_visits", "0,0,4,0,0,Scheduled", "1,0,1,0,0,Scheduled")
    loads = balance(source(folder).stop_visits(DAY), OSLO)
    assert loads["weight"].to_list() == pytest.approx([5 / 9, 5 / 9, 0.5, 0.5])


def test_trips_of_a_block_have_its_id(folder):
    change(folder, "trips_performed", "route_id,", "block_id,route_id,")
    change(folder, "trips_performed", ",31,", ",b7,31,")
    assert set(source(folder).stop_visits(DAY)["block_id"]) == {"b7"}


def test_null_direction_becomes_0_and_is_counted(folder):
    change(folder, "trips_performed", "Bus Service,1,", "Bus Service,,")
    reading = source(folder).read([DAY])
    assert set(reading.stop_visits["direction_id"]) == {0}
    assert reading.counts["kept, direction assumed to be 0"] == 2


def test_operator_may_set_the_mode_of_a_route_type(folder):
    change(folder, "trips_performed", "Bus Service", "Aerial lift")
    (reason,) = source(folder).read([DAY]).rejected["reason"].unique()
    assert reason == (
        "route_type Aerial lift is none of bus, tram, metro, boat, rail; add its mode to [route_types] of the operator file"
    )
    visits = TidesSource(folder, OSLO, {"Aerial lift": "rail"}).stop_visits(DAY)
    assert set(visits["mode"]) == {"rail"}


def test_settings_name_the_tables():
    tides = TidesSource.of(Settings(source="tides", tides_path=str(EXAMPLE)))
    assert tides.stop_visits(date(2023, 9, 1)).height == 100


def test_tides_has_no_weather(folder):
    weather = source(folder).weather_forecasts(DAY)
    assert weather.is_empty()
    assert weather.columns == list(contract.WEATHER_FORECASTS.column_names)


# Layout of the folder


@pytest.mark.parametrize("path", ["{day}.csv", "service_date={day}/part-0.csv"])
def test_table_may_have_one_file_per_date(folder, path):
    expected = source(folder).stop_visits(DAY)
    for day, rows in ((DAY, VISITS), (date(2026, 11, 21), VISITS.replace("2026-11-20", "2026-11-21"))):
        file = folder / "stop_visits" / path.format(day=day)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(rows, encoding="utf-8")
    (folder / "stop_visits.csv").unlink()
    assert_frame_equal(source(folder).stop_visits(DAY), expected)
    assert source(folder).available_dates() == {DAY, date(2026, 11, 21)}


def test_parquet_and_csv_give_the_same_rows(folder):
    expected = source(folder).stop_visits(DAY)
    for name in ("stop_visits", "trips_performed"):
        table = pl.read_csv(folder / f"{name}.csv", try_parse_dates=True, null_values="NA")
        table.write_parquet(folder / f"{name}.parquet")
        (folder / f"{name}.csv").unlink()
    assert_frame_equal(source(folder).stop_visits(DAY), expected)


def test_date_may_be_only_in_the_hive_partition(folder):
    expected = source(folder).stop_visits(DAY)
    target = folder / "stop_visits" / f"service_date={DAY}" / "0.parquet"
    target.parent.mkdir(parents=True)
    pl.read_csv(folder / "stop_visits.csv", null_values="NA").drop("service_date").write_parquet(target)
    (folder / "stop_visits.csv").unlink()
    assert_frame_equal(source(folder).stop_visits(DAY), expected)


def test_file_url_is_read_like_a_folder(folder):
    by_address = TidesSource(folder.as_uri(), OSLO)
    assert_frame_equal(by_address.stop_visits(DAY), source(folder).stop_visits(DAY))


@pytest.mark.parametrize(
    "path", ["_temporary/0/part-0.csv", "._x.parquet", "_delta_log/0.parquet", ".x/0.csv"]
)
def test_files_of_other_programs_are_skipped(folder, path):
    expected = source(folder).stop_visits(DAY)
    target = folder / "stop_visits" / f"{DAY}.csv"
    target.parent.mkdir()
    (folder / "stop_visits.csv").rename(target)
    other = folder / "stop_visits" / path
    other.parent.mkdir(parents=True, exist_ok=True)
    other.write_bytes(b"no table")
    assert_frame_equal(source(folder).stop_visits(DAY), expected)


def test_float_ids_of_pandas_become_whole_numbers(folder):
    """One missing id makes its column floats: on this day route_id is 31.0, on others 31."""
    trips = pl.read_csv(folder / "trips_performed.csv", infer_schema=False).with_columns(
        pl.Series("route_id", [31.0, None])
    )
    (folder / "trips_performed.csv").unlink()
    trips.write_parquet(folder / "trips_performed.parquet")
    assert set(source(folder).stop_visits(DAY)["line_id"]) == {"31"}


def test_float_ids_in_csv_become_whole_numbers(folder):
    change(folder, "trips_performed", ",31,", ",31.0,")
    assert set(source(folder).stop_visits(DAY)["line_id"]) == {"31"}


def test_id_that_looks_like_a_number_is_kept(folder):
    change(folder, "trips_performed", "p1,v1,s1,31,", "p1,v1,s1,31.0,")
    assert set(source(folder).stop_visits(DAY)["line_id"]) == {"31", "31.0"}


def test_timestamps_of_pandas_become_dates(folder):
    expected = source(folder).stop_visits(DAY)
    visits = pl.read_csv(folder / "stop_visits.csv", null_values="NA", try_parse_dates=True)
    (folder / "stop_visits.csv").unlink()
    visits.cast({"service_date": pl.Datetime("ns")}).write_parquet(folder / "stop_visits.parquet")
    assert_frame_equal(source(folder).stop_visits(DAY), expected)


def test_changed_file_is_read_again(folder):
    tides = source(folder)
    tides.stop_visits(DAY)
    change(folder, "stop_visits", "4,0,0,0,4,Scheduled", "14,0,0,0,14,Scheduled")
    assert 14 in tides.stop_visits(DAY)["departure_load"].to_list()


@pytest.mark.parametrize(
    "rewrite",
    [
        lambda text: b"\xef\xbb\xbf" + text.encode(),
        lambda text: text.replace(",", ";").encode(),
        lambda text: text.replace(",", "\t").encode(),
        lambda text: text.replace("\n", "\r\n").encode(),
        lambda text: text.rstrip("\n").encode(),
        lambda text: text.replace("T08:00:00+01:00", "T07:00:00Z").encode(),
        lambda text: text.replace("+01:00", "+01").replace("T", " ").encode(),
        lambda text: text.replace("+01:00", "").encode(),
        lambda text: (text + "\n\n \n").encode(),
        lambda text: (
            text.replace("Scheduled\n", 'Scheduled,"two\nlines"\n')
            .replace("relationship\n", "relationship,note\n")
            .rstrip("\n")
        ).encode(),
        lambda text: text.replace(",4,0,0,0,4,", ",4.0,0,0,0,4.0,").encode(),
    ],
    ids=[
        "byte order mark",
        "semicolons",
        "tabs",
        "Windows line ends",
        "no last line end",
        "Z",
        "Postgres",
        "no offset",
        "blank lines",
        "quoted line end in the last row",
        "12.0",
    ],
)
def test_csv_variants_are_accepted(folder, rewrite):
    expected = source(folder).stop_visits(DAY)
    (folder / "stop_visits.csv").write_bytes(rewrite(VISITS))
    assert_frame_equal(source(folder).stop_visits(DAY), expected)
