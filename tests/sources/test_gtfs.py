"""Planned departures of a GTFS feed: calendars, times, frequencies, modes and faults."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, timedelta
from pathlib import Path

import polars as pl
import pytest

from ruter_dagster.contracts.errors import BadInput
from ruter_dagster.contracts.tables import PLANNED_DEPARTURES
from ruter_dagster.contracts.validation import conform, validate
from ruter_dagster.sources.gtfs import Feed
from tests.sources.gtfs_feed import FEED, FRIDAY, SATURDAY, changed, feed_of, without, write_folder

SPRING, AUTUMN = date(2026, 3, 29), date(2026, 10, 25)
"""Sundays of 23 and of 25 hours."""


def read(folder: Path, feed: Mapping[str, str] = FEED, **modes: str) -> Feed:
    return feed_of(write_folder(folder, feed), **modes)


def clock(frame: pl.DataFrame) -> list[str]:
    """Local times of the departures."""
    local = frame["scheduled_departure_time"].dt.convert_time_zone("Europe/Oslo")
    return local.dt.strftime("%m-%d %H:%M:%S").to_list()


def many_stop_times(text: str) -> dict[str, str]:
    """The feed with 60 more trips, so that one faulty row is a small share; `text` is added to stop_times.txt."""
    trips = "".join(f"m{number},31,weekdays,0,\n" for number in range(60))
    times = "".join(
        f"m{number},10:00:00,10:00:00,jernbanetorget,1\nm{number},10:05:00,10:05:00,stortinget,2\n"
        for number in range(60)
    )
    return FEED | {
        "trips.txt": FEED["trips.txt"] + trips,
        "stop_times.txt": FEED["stop_times.txt"] + times + text,
    }


def test_departures_of_a_weekday_keep_the_contract(tmp_path: Path) -> None:
    plan = conform(read(tmp_path).departures(FRIDAY), PLANNED_DEPARTURES).sort("trip_id", "stop_sequence")
    validate(plan, PLANNED_DEPARTURES, [FRIDAY])
    assert plan.select("trip_id", "stop_sequence", "stop_id", "line_id", "mode", "direction_id").rows() == [
        ("s1", 1, "jernbanetorget", "31", "bus", 0),
        ("s1", 2, "stortinget", "31", "bus", 0),
        ("s1", 3, "nationaltheatret", "31", "bus", 0),
        ("s2", 1, "nationaltheatret", "31", "bus", 1),
        ("s2", 2, "jernbanetorget", "31", "bus", 1),
        ("tram", 1, "stortinget", "17", "tram", 0),
        ("tram", 2, "nationaltheatret", "17", "tram", 0),
    ]
    # A departure, at the last stop the arrival.
    assert clock(plan.head(3)) == ["11-20 08:00:00", "11-20 08:03:00", "11-20 08:05:00"]
    assert plan.row(1, named=True).items() >= {
        "block_id": "b1", "line_name": "31", "stop_name": "Stortinget", "latitude": 59.913, "longitude": 10.741,
        "seats": None,
    }.items()  # fmt: skip


def test_times_after_midnight_belong_to_their_service_date(tmp_path: Path) -> None:
    plan = read(tmp_path).departures(SATURDAY)
    assert plan["service_date"].unique().to_list() == [SATURDAY]
    assert clock(plan) == ["11-22 01:10:00", "11-22 01:20:00"]


def test_exceptions_add_and_remove_services(tmp_path: Path) -> None:
    assert read(tmp_path).departures(date(2026, 12, 3))["trip_id"].unique().to_list() == ["late"]


def test_calendar_dates_are_enough_for_a_calendar(tmp_path: Path) -> None:
    feed = without("calendar.txt", "feed_info.txt")
    dates = FEED["calendar_dates.txt"].replace("weekdays,20261203,2", "weekdays,20261120,1")
    plan = read(tmp_path, feed | {"calendar_dates.txt": dates})
    assert (plan.first, plan.last) == (FRIDAY, date(2026, 12, 3))
    assert set(plan.departures(FRIDAY)["trip_id"]) == {"s1", "s2", "tram"}
    assert plan.departures(SATURDAY).is_empty()


@pytest.mark.parametrize(
    ("day", "expected"),
    [
        (SPRING, ["03-29 03:30:00", "03-29 08:00:00", "03-30 01:10:00"]),
        (AUTUMN, ["10-25 02:30:00", "10-25 08:00:00", "10-26 01:10:00"]),
    ],
)
def test_clock_times_hold_on_days_of_23_and_25_hours(tmp_path: Path, day: date, expected: list[str]) -> None:
    """03:30 of a timetable is half past three hours after "noon minus 12 hours", on such days an hour off midnight."""
    times = "".join(
        f"t,{time},{time},{stop},{number}\n"
        for number, (time, stop) in enumerate(
            (("03:30:00", "jernbanetorget"), ("08:00:00", "stortinget"), ("25:10:00", "nationaltheatret"))
        )
    )
    feed = without("feed_info.txt", "calendar.txt") | {
        "trips.txt": "trip_id,route_id,service_id\nt,31,once\n",
        "stop_times.txt": FEED["stop_times.txt"].splitlines(keepends=True)[0] + times,
        "calendar_dates.txt": f"service_id,date,exception_type\nonce,{day:%Y%m%d},1\n",
    }
    if day == AUTUMN:
        # Noon minus 12 hours is 01:00 summer time: 02:30 of the timetable is 02:30 standard time, after the change.
        feed["stop_times.txt"] = feed["stop_times.txt"].replace("03:30:00", "02:30:00")
    plan = read(tmp_path, feed).departures(day)
    assert clock(plan) == expected
    noon = plan["scheduled_departure_time"].dt.convert_time_zone("Europe/Oslo").dt.hour()[1]
    assert noon == 8


def test_departures_before_midnight_are_left_out(tmp_path: Path) -> None:
    feed = without("feed_info.txt", "calendar.txt") | {
        "trips.txt": "trip_id,route_id,service_id\nt,31,once\n",
        "stop_times.txt": (
            "trip_id,arrival_time,departure_time,stop_id,stop_sequence\n"
            "t,00:50:00,00:50:00,jernbanetorget,1\nt,01:05:00,01:05:00,stortinget,2\n"
        ),
        "calendar_dates.txt": f"service_id,date,exception_type\nonce,{SPRING:%Y%m%d},1\n",
    }
    source = read(tmp_path, feed)
    plan = source.departures(SPRING)
    assert (clock(plan), plan["stop_sequence"].to_list()) == (["03-29 00:05:00"], [2])
    assert source.findings.counts == {
        "departures outside their service day, which ends at the second midnight after its start": 1
    }


@pytest.mark.parametrize("exact", ["0", "1"])
def test_each_run_of_a_frequency_is_a_trip(tmp_path: Path, exact: str) -> None:
    runs = f"trip_id,start_time,end_time,headway_secs,exact_times\ns1,06:00:00,07:00:00,1200,{exact}\n"
    plan = read(tmp_path, FEED | {"frequencies.txt": runs}).departures(FRIDAY)
    frequent = plan.filter(pl.col("trip_id").str.starts_with("s1")).sort("trip_id", "stop_sequence")
    assert frequent["trip_id"].unique().sort().to_list() == ["s1@06:00:00", "s1@06:20:00", "s1@06:40:00"]
    assert clock(frequent)[3:6] == ["11-20 06:20:00", "11-20 06:23:00", "11-20 06:25:00"]
    assert set(plan["trip_id"]) >= {"s2", "tram"}


def test_missing_times_are_interpolated(tmp_path: Path) -> None:
    source = read(tmp_path, changed("stop_times.txt", "s1,08:02:00,08:03:00,stortinget", "s1,,,stortinget"))
    plan = source.departures(FRIDAY).filter(pl.col("trip_id") == "s1")
    assert clock(plan) == ["11-20 08:00:00", "11-20 08:02:30", "11-20 08:05:00"]
    assert source.findings.counts == {"stop times interpolated": 1}


def test_defaults_are_direction_0_and_the_long_name(tmp_path: Path) -> None:
    feed = changed("routes.txt", "31,31,Snarøya", "31,,Snarøya")
    plan = read(tmp_path, feed).departures(FRIDAY)
    assert plan.filter(pl.col("trip_id") == "tram")["direction_id"].unique().to_list() == [0]
    assert plan.filter(pl.col("line_id") == "31")["line_name"][0] == "Snarøya - Grorud"


@pytest.mark.parametrize(
    ("route_type", "mode"),
    [
        ("0", "tram"), ("1", "metro"), ("2", "rail"), ("3", "bus"), ("4", "boat"), ("7", "rail"), ("11", "bus"), ("12", "metro"),
        ("106", "rail"), ("204", "bus"), ("401", "metro"), ("500", "metro"), ("704", "bus"), ("800", "bus"), ("900", "tram"),
        ("1000", "boat"), ("1200", "boat"), ("1400", "rail"),
    ],
)  # fmt: skip
def test_basic_and_extended_route_types_have_modes(tmp_path: Path, route_type: str, mode: str) -> None:
    plan = read(tmp_path, changed("routes.txt", "Grorud,3", f"Grorud,{route_type}")).departures(FRIDAY)
    assert plan.filter(pl.col("line_id") == "31")["mode"].unique().to_list() == [mode]


def test_routes_without_mode_need_one_from_the_operator(tmp_path: Path) -> None:
    feed = changed("routes.txt", "Grorud,3", "Grorud,1300")
    source = read(tmp_path, feed)
    assert source.departures(FRIDAY)["line_id"].unique().to_list() == ["17"]
    assert source.findings.counts == {
        "trips whose route_type has no mode (add it to [route_types] of the operator file)": 3
    }
    plan = read(tmp_path, feed, **{"1300": "boat"}).departures(FRIDAY)
    assert plan.filter(pl.col("line_id") == "31")["mode"].unique().to_list() == ["boat"]


@pytest.mark.parametrize(
    ("rows", "finding", "example"),
    [
        (
            "m1,8:99:00,8:99:00,stortinget,3\nm1,10:20:00,10:20:00,nationaltheatret,4\n",
            "stop times whose time is not HH:MM:SS, taken as missing",
            "stop_times.txt, line 131: trip_id 'm1', arrival_time '8:99:00', departure_time '8:99:00'",
        ),
        (
            "ghost,10:00:00,10:00:00,stortinget,1\n",
            "stop times of a trip_id that trips.txt lacks",
            "stop_times.txt, line 131: trip_id 'ghost', stop_id 'stortinget', stop_sequence '1'",
        ),
        (
            "m1,10:20:00,10:20:00,atlantis,3\n",
            "stop times of a stop_id that stops.txt lacks",
            "stop_times.txt, line 131: trip_id 'm1', stop_id 'atlantis', stop_sequence '3'",
        ),
        (
            "m1,10:20:00,10:20:00,stortinget,third\n",
            "stop times whose stop_sequence is not a whole number",
            "stop_times.txt, line 131: trip_id 'm1', stop_id 'stortinget', stop_sequence 'third'",
        ),
        (
            "m1,10:20:00,10:20:00,stortinget,2\n",
            "stop times repeated",
            "stop_times.txt, line 131: trip_id 'm1', stop_sequence '2'",
        ),
    ],
)
def test_faulty_stop_times_are_left_out_and_counted(
    tmp_path: Path, rows: str, finding: str, example: str
) -> None:
    source = read(tmp_path, many_stop_times(rows))
    plan = source.departures(FRIDAY)
    assert plan.filter(pl.col("trip_id") == "m2").height == 2
    assert source.findings.counts[finding] == 1
    assert source.findings.examples[finding] == example


def test_trips_of_an_unknown_service_are_left_out(tmp_path: Path) -> None:
    feed = many_stop_times("lost,10:00:00,10:00:00,jernbanetorget,1\nlost,10:05:00,10:05:00,stortinget,2\n")
    source = read(tmp_path, feed | {"trips.txt": feed["trips.txt"] + "lost,31,holidays,0,\n"})
    assert "lost" not in source.departures(FRIDAY)["trip_id"]
    assert source.findings.counts == {
        "trips of a service_id that calendar.txt and calendar_dates.txt lack": 1
    }


def test_trips_without_a_first_time_are_left_out(tmp_path: Path) -> None:
    feed = many_stop_times("")
    times = feed["stop_times.txt"].replace("m1,10:00:00,10:00:00", "m1,,")
    source = read(tmp_path, feed | {"stop_times.txt": times})
    assert "m1" not in source.departures(FRIDAY)["trip_id"]
    assert source.findings.examples == {
        "trips without a time at their first or last stop, or with only one stop": "trip_id 'm1'"
    }


@pytest.mark.parametrize(
    ("feed", "message"),
    [
        (without("stop_times.txt"), r"lacks stop_times.txt \(it has agency.txt, calendar.txt"),
        (without("calendar.txt", "calendar_dates.txt"), "has neither calendar.txt nor calendar_dates.txt"),
        (
            changed("stop_times.txt", "s1,08:02:00,08:03:00", "s1,8:99:00,8:99:00"),
            r"stop_times.txt, line 3: trip_id 's1', arrival_time '8:99:00'(.|\n)*export it again",
        ),
        (
            changed("trips.txt", "s2,31,weekdays", "s2,31,holidays"),
            "trips of a service_id that .* lack: 1, e.g. trips.txt, line 3: trip_id 's2', service_id 'holidays'",
        ),
        (
            changed("trips.txt", "s1,31", "x1,31"),
            "stop times of a trip_id that trips.txt lacks: 3, e.g. stop_times.txt, line 2: trip_id 's1'",
        ),
        (
            changed("calendar.txt", "20261231", "2026123"),
            r"calendar.txt, line 2: end_date is '2026123', expected a date \(YYYYMMDD\)",
        ),
        (changed("calendar.txt", "weekdays,1", "weekdays,yes"), "line 2: monday is 'yes', expected 0 or 1"),
        (
            changed("calendar_dates.txt", "20261203,2", "20261203,3"),
            "line 2: exception_type is '3', expected 1 or 2",
        ),
        (changed("trips.txt", "service_id", "service"), "trips.txt lacks the column service_id"),
        (changed("trips.txt", "block_id", "trip_id"), "trips.txt has the column trip_id twice"),
        (changed("agency.txt", "Europe/Oslo", "Oslo"), "agency_timezone is 'Oslo', expected a name such as"),
        (
            changed("agency.txt", "Europe/Oslo", "America/New_York"),
            "has the time zone America/New_York, the operator Europe/Oslo, .*: set time_zone in the operator file",
        ),
    ],
)
def test_unusable_feed_is_refused_with_location_and_remedy(
    tmp_path: Path, feed: dict[str, str], message: str
) -> None:
    with pytest.raises(BadInput, match=message):
        read(tmp_path, feed).departures(FRIDAY)


def test_faulty_frequency_is_refused(tmp_path: Path) -> None:
    runs = "trip_id,start_time,end_time,headway_secs\ns1,06:00:00,07:00:00,0\n"
    with pytest.raises(BadInput, match=r"frequencies.txt, line 2: headway_secs is '0'"):
        read(tmp_path, FEED | {"frequencies.txt": runs}).departures(FRIDAY)


def test_error_names_file_in_latin_1(tmp_path: Path) -> None:
    folder = write_folder(tmp_path)
    (folder / "routes.txt").write_bytes(FEED["routes.txt"].encode("latin-1"))
    with pytest.raises(BadInput, match=r"routes.txt is not UTF-8 \(Latin-1, perhaps\)"):
        feed_of(folder).departures(FRIDAY)


def test_byte_order_marks_quotes_and_spaces_are_accepted(tmp_path: Path) -> None:
    folder = write_folder(
        tmp_path, changed("stops.txt", "stortinget,7502,Stortinget", '"stortinget","7502","Stortinget, øst"')
    )
    for name in ("trips.txt", "routes.txt", "stop_times.txt"):
        text = FEED[name].replace("trip_id,", " trip_id ,", 1).replace("\n", "\r\n") + "\r\n"
        (folder / name).write_bytes(text.encode("utf-8-sig"))
    plan = feed_of(folder).departures(FRIDAY)
    assert plan.height == 7
    assert "Stortinget, øst" in plan["stop_name"]


def test_order_of_stop_times_does_not_matter(tmp_path: Path) -> None:
    header, *rows = FEED["stop_times.txt"].splitlines(keepends=True)
    expected = read(tmp_path / "as written").departures(FRIDAY)
    for name, mixed in (
        ("reversed", rows[::-1]),
        ("apart", rows[::2] + rows[1::2]),
        ("within a trip", [rows[1], rows[0], *rows[2:]]),
    ):
        plan = read(tmp_path / name, FEED | {"stop_times.txt": header + "".join(mixed)}).departures(FRIDAY)
        assert plan.equals(expected), name


def test_dates_outside_the_batch_are_read_later(tmp_path: Path) -> None:
    source = read(tmp_path)
    assert source.departures(FRIDAY, [FRIDAY]).height == 7
    assert source.departures(SATURDAY).height == 2
    assert source.departures(FRIDAY + timedelta(3)).height == 7
