"""The TIDES source planned by GTFS: future dates, dates outside the feeds, capacities, and counts under planned ids."""

from __future__ import annotations

from datetime import date, timedelta
from pathlib import Path

import polars as pl
import pytest

from ruter_dagster.config.gtfs_location import gtfs_location, plans_ahead
from ruter_dagster.config.operator import operator_of
from ruter_dagster.config.settings import load_settings
from ruter_dagster.contracts.tables import PLANNED_DEPARTURES, STOP_VISITS
from ruter_dagster.contracts.validation import validate
from ruter_dagster.quality.rejects import shares_of
from ruter_dagster.sources.base import DateAbsent, RangeSource, Source
from ruter_dagster.sources.configured_source import open_source
from ruter_dagster.sources.gtfs_source import GtfsPlannedSource, with_capacities
from ruter_dagster.sources.matching import BY_ID, BY_PATTERN, UNMATCHED
from ruter_dagster.sources.tides import TidesSource
from tests.sources.gtfs_feed import FEED, changed, write_folder, write_zip
from tests.sources.tides_folder import DAY, change, write_tables

MONDAY = DAY + timedelta(3)
BEFORE = date(2026, 11, 13)
"""A Friday before the feed is valid."""


def planned_by(folder: Path, feed: dict[str, str] = FEED) -> GtfsPlannedSource:
    """The tables of `tides_folder` with a feed beside them."""
    write_folder(write_tables(folder) / "gtfs", feed)
    return of(folder)


def of(folder: Path) -> GtfsPlannedSource:
    settings = load_settings(_env_file=None, source="tides", tides_path=str(folder), operator="ruter")
    source = open_source(settings, operator_of(settings))
    assert isinstance(source, GtfsPlannedSource)
    return source


def trips_of(source: Source, day: date) -> list[str]:
    return source.stop_visits(day)["trip_id"].unique().sort().to_list()


def test_gtfs_planned_source_is_a_source(tmp_path: Path) -> None:
    source = planned_by(tmp_path)
    assert isinstance(source, Source)
    assert isinstance(source, RangeSource)
    assert source.available_dates() == {DAY}
    assert source.weather_forecasts(DAY).is_empty()


def test_dates_without_counts_are_planned(tmp_path: Path) -> None:
    source = planned_by(tmp_path)
    reading = source.read_table(PLANNED_DEPARTURES, [DAY, MONDAY])
    validate(reading.rows, PLANNED_DEPARTURES, [DAY, MONDAY])
    assert reading.rows.group_by("service_date").len().sort("service_date").rows() == [(DAY, 7), (MONDAY, 7)]
    [feed] = reading.feeds
    assert (feed.name, feed.version, feed.dates) == (f"{tmp_path}/gtfs", "autumn-1", (DAY, MONDAY))


def test_dates_before_every_feed_are_planned_by_counts(tmp_path: Path) -> None:
    planned_by(tmp_path)
    for table in ("stop_visits", "trips_performed"):
        change(tmp_path, table, str(DAY), str(BEFORE))
    plan = of(tmp_path).planned_departures(BEFORE)
    assert plan.equals(TidesSource(tmp_path, "Europe/Oslo").planned_departures(BEFORE))
    assert (plan.height, plan["seats"].unique().to_list()) == (4, [40])


def test_date_without_feed_and_counts_is_absent(tmp_path: Path) -> None:
    source = planned_by(tmp_path)
    with pytest.raises(
        DateAbsent, match=r"No GTFS feed is valid on 2026-12-14.*2026-11-16 to 2026-12-13. Add a newer"
    ):
        source.planned_departures(date(2026, 12, 14))
    reading = source.read_table(PLANNED_DEPARTURES, [date(2026, 12, 11), date(2026, 12, 14)])
    assert reading.absent == (date(2026, 12, 14),)
    assert [source.plans(day) for day in (BEFORE, DAY, MONDAY, date(2026, 12, 14))] == [
        False,
        True,
        True,
        False,
    ]


def test_date_without_journeys_is_absent(tmp_path: Path) -> None:
    source = planned_by(tmp_path, changed("calendar_dates.txt", "weekends,20261203,1\n", ""))
    with pytest.raises(DateAbsent, match=r"\(version autumn-1\) has no journey on 2026-12-03"):
        source.planned_departures(date(2026, 12, 3))


def test_counts_are_matched_by_the_scheduled_trip(tmp_path: Path) -> None:
    reading = planned_by(tmp_path).read_table(STOP_VISITS, [DAY])
    validate(reading.rows, STOP_VISITS, [DAY])
    rows = reading.rows.sort("trip_id", "stop_sequence")
    # s1 skips Stortinget, which the plan numbers 2. p2 calls at the stops of s2 in the other order.
    assert rows.select("trip_id", "stop_sequence", "stop_id").rows() == [
        ("p2", 3, "nationaltheatret"), ("s1", 1, "jernbanetorget"), ("s1", 3, "nationaltheatret"),
        ("s2", 2, "jernbanetorget"),
    ]  # fmt: skip
    assert [reading.counts[name] for name in (BY_ID, BY_PATTERN, UNMATCHED)] == [2, 0, 0]


@pytest.fixture
def reversed_second_trip(tmp_path: Path) -> Path:
    """p2 calls at its stops in the order of s2, at 09:00."""
    planned_by(tmp_path)
    change(tmp_path, "stop_visits", "p2,1,v1,jernbanetorget", "p2,1,v1,x")
    change(tmp_path, "stop_visits", "p2,2,v1,nationaltheatret", "p2,2,v1,jernbanetorget")
    change(tmp_path, "stop_visits", "p2,1,v1,x", "p2,1,v1,nationaltheatret")
    return tmp_path


def test_counts_without_a_scheduled_trip_are_matched_by_pattern(reversed_second_trip: Path) -> None:
    change(reversed_second_trip, "trips_performed", "v1,s2,31", "v1,,31")
    reading = of(reversed_second_trip).read_table(STOP_VISITS, [DAY])
    assert set(reading.rows["trip_id"]) == {"s1", "s2"}
    assert [reading.counts[name] for name in (BY_ID, BY_PATTERN, UNMATCHED)] == [1, 1, 0]


@pytest.mark.parametrize("relationship", ["Added", "Unscheduled"])
def test_added_trips_keep_their_counts_under_their_own_id(
    reversed_second_trip: Path, relationship: str
) -> None:
    change(reversed_second_trip, "trips_performed", "v1,s2,31,Bus Service,1,In service,Scheduled", f"v1,,31,Bus Service,1,In service,{relationship}")  # fmt: skip
    source = of(reversed_second_trip)
    assert trips_of(source, DAY) == ["p2", "s1"]
    assert "p2" not in source.planned_departures(DAY)["trip_id"]


def test_cancelled_trips_stay_planned(tmp_path: Path) -> None:
    planned_by(tmp_path)
    change(tmp_path, "trips_performed", "1,In service,Scheduled", "1,In service,Canceled")
    source = of(tmp_path)
    assert trips_of(source, DAY) == ["s1"]
    assert "s2" in source.planned_departures(DAY)["trip_id"]


def test_added_journey_gets_no_keys_of_a_cancelled_one(tmp_path: Path) -> None:
    """s2 is cancelled; p3, added later, calls at its stops and time. The plan keeps s2, and no visit has a key of it."""
    planned_by(tmp_path)
    change(tmp_path, "trips_performed", "1,In service,Scheduled", "1,In service,Canceled")
    with (tmp_path / "stop_visits.csv").open("a") as visits, (tmp_path / "trips_performed.csv").open("a") as trips:  # fmt: skip
        for sequence, stop in enumerate(("nationaltheatret", "jernbanetorget"), 1):
            visits.write(f"{DAY},p3,{sequence},v1,{stop},{DAY}T09:0{sequence}:00+01:00,1,0,0,0,1,Scheduled\n")
        trips.write(f"{DAY},p3,v1,,31,Bus Service,1,In service,Added\n")
    source = of(tmp_path)
    plan, visits = source.planned_departures(DAY), source.stop_visits(DAY)
    assert trips_of(source, DAY) == ["p3", "s1"]
    key = ["trip_id", "stop_sequence"]
    own = visits.join(plan, on=key, how="inner", suffix="_planned")
    assert set(own["trip_id"]) == {"s1"}
    assert own["stop_id"].equals(own["stop_id_planned"], check_names=False)
    assert plan.filter(pl.col("trip_id") == "s2").height > 0


def test_trips_that_the_feed_lacks_keep_their_counts(tmp_path: Path) -> None:
    planned_by(tmp_path)
    change(tmp_path, "trips_performed", "v1,s2,31", "v1,s99,31")
    change(tmp_path, "stop_visits", "T09:", "T13:")
    reading = of(tmp_path).read_table(STOP_VISITS, [DAY])
    assert set(reading.rows["trip_id"]) == {"s1", "p2"}
    assert reading.counts[UNMATCHED] == 1


def test_lines_and_stops_get_the_ids_of_the_feed(tmp_path: Path) -> None:
    feed = {name: text.replace("s1,31,", "s1,R:31,").replace("31,31,", "R:31,31,").replace(",31,week", ",R:31,week") for name, text in FEED.items()}  # fmt: skip
    planned_by(tmp_path, feed)
    for code, stop in (("7501", "jernbanetorget"), ("7503", "nationaltheatret")):
        change(tmp_path, "stop_visits", stop, code)
    source = of(tmp_path)
    visits, plan = source.stop_visits(DAY), source.planned_departures(DAY)
    assert set(visits["line_id"]) == {"R:31"}
    assert set(visits["stop_id"]) <= set(plan["stop_id"])


def test_rejected_rows_are_counted_under_the_planned_line(tmp_path: Path) -> None:
    """Three trips with a count below 0 of a line that the plan calls R:31: 3 of its 28 rows, and not 3 of 3."""
    feed = {name: text.replace("31,31,", "R:31,31,").replace(",31,week", ",R:31,week") for name, text in FEED.items()}  # fmt: skip
    planned_by(tmp_path, feed)
    with (tmp_path / "stop_visits.csv").open("a") as visits, (tmp_path / "trips_performed.csv").open("a") as trips:  # fmt: skip
        for trip in range(24):
            count = -1 if trip < 3 else 1
            visits.write(
                f"{DAY},x{trip},1,v1,jernbanetorget,{DAY}T12:{trip:02}:00+01:00,{count},0,0,0,5,Scheduled\n"
            )
            trips.write(f"{DAY},x{trip},v1,,31,Bus Service,0,In service,Scheduled\n")
    reading = of(tmp_path).read_table(STOP_VISITS, [DAY])
    assert set(reading.rejected["line_id"]) == {"R:31"}
    shares = shares_of(reading.rows, reading.rejected, "line_id")
    assert shares.select("scope", "rows", "rejected").rows() == [("its rows of line_id R:31", 28, 3)]


def test_capacities_are_those_of_the_line_four_days_before(tmp_path: Path) -> None:
    source = planned_by(tmp_path)
    assert source.planned_departures(DAY + timedelta(3))["seats"].null_count() == 7
    known = source.planned_departures(DAY + timedelta(4))
    # The tram has no counts, and no other tram has.
    assert known.filter(pl.col("line_id") == "31").select("seats", "total_capacity").unique().rows() == [
        (40, 100)
    ]
    assert known.filter(pl.col("line_id") == "17")["seats"].null_count() == 2


def test_vehicle_ids_of_visits_are_used(tmp_path: Path) -> None:
    planned_by(tmp_path)
    for trip in ("p1", "p2"):
        change(tmp_path, "trips_performed", f"{trip},v1", f"{trip},")
    plan = of(tmp_path).planned_departures(DAY + timedelta(4))
    assert plan.filter(pl.col("line_id") == "31")["seats"].unique().to_list() == [40]


@pytest.mark.parametrize(
    "rows", ["v1,40,60\nv1,41,60", "v1,99999,60", "v1,40,3000000000"], ids=["different rows", "seats", "standing"]
)  # fmt: skip
def test_impossible_capacities_are_not_planned(tmp_path: Path, rows: str) -> None:
    planned_by(tmp_path)
    change(tmp_path, "vehicles", "v1,40,60", rows)
    source = of(tmp_path)
    plan = source.planned_departures(DAY + timedelta(4))
    validate(plan, PLANNED_DEPARTURES, [DAY + timedelta(4)])
    unknown = "total_capacity" if rows.endswith("000") else "seats"
    for frame in (source.stop_visits(DAY), plan.filter(pl.col("line_id") == "31")):
        assert frame[unknown].null_count() == frame.height


def test_trip_with_different_rows_gives_no_capacity(tmp_path: Path) -> None:
    """Its visits are rejected, because the vehicle is unknown."""
    planned_by(tmp_path)
    change(tmp_path, "vehicles", "v1,40,60", "v1,40,60\nv2,80,120")
    for trip in ("p1", "p2"):
        scheduled = trip.replace("p", "s")
        with (tmp_path / "trips_performed.csv").open("a") as file:
            file.write(f"{DAY},{trip},v2,{scheduled},31,Bus Service,0,In service,Scheduled\n")
    plan = of(tmp_path).planned_departures(DAY + timedelta(4))
    assert plan.filter(pl.col("line_id") == "31")["seats"].null_count() == 5


def test_most_frequent_capacity_of_line_or_mode_is_used() -> None:
    trips = pl.DataFrame(
        [("1", "bus", 30, 70), ("1", "bus", 40, 90), ("1", "bus", 40, 90), ("2", "bus", 50, 120), ("2", "bus", 20, 60),
         ("4", "tram", None, None)],
        schema=["line_id", "mode", "seats", "total_capacity"], orient="row",
    )  # fmt: skip
    plan = pl.DataFrame(
        {"line_id": ["1", "2", "3", "4"], "mode": ["bus", "bus", "bus", "tram"]}
    ).with_columns(seats=pl.lit(None, pl.Int32), total_capacity=pl.lit(None, pl.Int32))
    # A tie takes the smaller vehicle.
    assert with_capacities(plan, trips).select("seats", "total_capacity").rows() == [
        (40, 90), (20, 60), (40, 90), (None, None),
    ]  # fmt: skip


def test_feed_beside_the_tables_is_the_default(tmp_path: Path) -> None:
    def settings(**more: str):
        return load_settings(
            _env_file=None, source="tides", tides_path=f"{tmp_path}/", operator="ruter", **more
        )

    assert gtfs_location(settings()) is None
    assert not plans_ahead(settings())
    write_zip(tmp_path / "gtfs.zip")
    assert gtfs_location(settings()) == f"{tmp_path}/gtfs.zip"
    assert plans_ahead(settings())
    assert gtfs_location(settings(gtfs_path="elsewhere, at Grünerløkka")) == "elsewhere, at Grünerløkka"
    assert plans_ahead(load_settings(_env_file=None))
