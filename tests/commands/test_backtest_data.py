"""Dates that the chain would block or refuse are left out with a reason. Other dates are unchanged."""

from __future__ import annotations

from datetime import date, timedelta
from pathlib import Path

import polars as pl
import pytest

from ruter_dagster.commands.backtest import run_backtest
from ruter_dagster.commands.backtest_data import UsableDates, read_usable_dates
from ruter_dagster.config.operator import RejectLimits, load_operator
from ruter_dagster.config.settings import Settings
from ruter_dagster.contracts.errors import PermanentFailure
from ruter_dagster.sources.configured_source import open_source
from tests.sources.gtfs_feed import FEED, changed, write_folder
from tests.sources.tides_folder import DAY, TRIPS, VEHICLES, VISITS

SUNDAY = DAY + timedelta(2)
"""`WEEKDAYS` plans nothing on it."""
WEEKDAYS = changed("calendar.txt", "0,0,0,0,0,1,1", "0,0,0,0,0,1,0")
DAYS = [DAY, SUNDAY, *(DAY + timedelta(offset) for offset in (3, 4, 5))]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for table, rows in (("stop_visits", VISITS), ("trips_performed", TRIPS)):
        (tmp_path / table).mkdir()
        for day in DAYS:
            (tmp_path / table / f"{day}.csv").write_text(rows.replace(str(DAY), str(day)))
    (tmp_path / "vehicles.csv").write_text(VEHICLES)
    return tmp_path


def tides(folder: Path) -> Settings:
    return Settings(source="tides", tides_path=str(folder), operator="ruter", _env_file=None)  # pyright: ignore[reportCallIssue]


def read(folder: Path, dates: list[date] = DAYS) -> UsableDates:
    source = open_source(tides(folder), load_operator("ruter"))
    return read_usable_dates(source, dates, RejectLimits())  # pyright: ignore[reportCallIssue]


def spoil(folder: Path, day: date, old: str, new: str) -> None:
    path = folder / "stop_visits" / f"{day}.csv"
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new))


def with_three_trips_at(folder: Path, day: date, stop: str) -> None:
    with (folder / "stop_visits" / f"{day}.csv").open("a") as file:
        file.writelines(
            f"{day},x{n},1,v1,{stop},{day}T12:00:00+01:00,1,0,0,0,5,Scheduled\n" for n in range(3)
        )
    with (folder / "trips_performed" / f"{day}.csv").open("a") as file:
        file.writelines(f"{day},x{n},v1,sx{n},31,Bus Service,0,In service,Scheduled\n" for n in range(3))


def test_usable_dates_are_read_unchanged(folder: Path) -> None:
    usable = read(folder)
    assert (usable.dates, usable.left_out) == (DAYS, {})
    assert usable.plan.height == 4 * len(DAYS)


def test_blocked_unreadable_and_absent_dates_are_left_out(folder: Path) -> None:
    spoil(folder, DAYS[2], f"{DAYS[2]},p", f"{DAYS[2]},q")
    spoil(folder, DAYS[3], "trip_stop_sequence", "sequence")
    absent = DAYS[-1] + timedelta(1)

    usable = read(folder, [*DAYS, absent])

    assert usable.dates == [DAYS[0], DAYS[1], DAYS[4]]
    assert list(usable.left_out) == [DAYS[2], DAYS[3], absent]
    assert "is blocked: 100.0% of its rows were rejected" in usable.left_out[DAYS[2]]
    assert "lacks the column trip_stop_sequence" in usable.left_out[DAYS[3]]
    assert usable.left_out[absent] == f"raw.stop_visits: the source has no rows of {absent}"
    assert set(usable.plan["service_date"]) == set(usable.dates)


def test_date_that_fails_a_blocking_check_is_left_out(folder: Path) -> None:
    write_folder(folder / "gtfs", FEED)
    with_three_trips_at(folder, DAYS[2], "atlantis")

    usable = read(folder, DAYS[2:])

    assert usable.dates == DAYS[3:]
    assert usable.left_out == {
        DAYS[2]: f"raw.stop_visits: service_date {DAYS[2]} does not pass few_visits_at_unknown_stops"
    }


def test_date_without_planned_departures_is_left_out(folder: Path) -> None:
    write_folder(folder / "gtfs", WEEKDAYS)
    usable = read(folder, DAYS[:3])
    assert usable.dates == [DAYS[0], DAYS[2]]
    assert list(usable.left_out) == [SUNDAY]
    assert "has no journey on 2026-11-22" in read(folder, [SUNDAY]).left_out[SUNDAY]


def test_backtest_of_unusable_dates_names_the_reason(folder: Path, tmp_path: Path) -> None:
    for day in DAYS[2:]:
        spoil(folder, day, "trip_stop_sequence", "sequence")
    with pytest.raises(PermanentFailure) as failure:
        run_backtest(tides(folder), DAYS[2], DAYS[-1], 1, tmp_path / "out.parquet", None)
    assert str(failure.value).endswith(
        f"has no visits from {DAYS[2]} to {DAYS[-1]}: nothing to compare with. 3 dates are left out, e.g. "
        f"stop_visits/{DAYS[2]}.csv lacks the column trip_stop_sequence of TIDES' stop_visits; it has "
        + VISITS.splitlines()[0].replace("trip_stop_sequence", "sequence").replace(",", ", ")
        + ". Rename sequence to trip_stop_sequence if it holds the same values"
    )


def test_no_dates_give_empty_frames(folder: Path) -> None:
    usable = read(folder, [])
    assert (usable.dates, usable.left_out) == ([], {})
    assert isinstance(usable.plan, pl.DataFrame)
