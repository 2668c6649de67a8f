"""Simulated passengers are consistent along each journey, and follow the calendar, weather and events."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, timedelta

import numpy as np
import polars as pl
import pytest

from ruter_dagster.sources.demo.calendar import day_of
from ruter_dagster.sources.demo.network import build_network
from ruter_dagster.sources.demo.simulation import LEFT_BEHIND_ABOVE
from ruter_dagster.sources.demo.source import DemoSource
from ruter_dagster.sources.demo.variation import demand_factors, line_levels, weather_factors
from ruter_dagster.sources.demo.weather import weather_of

Rides = Callable[[date, date], pl.DataFrame]
MONDAY = date(2026, 11, 9)


def test_load_is_boardings_minus_alightings(source: DemoSource) -> None:
    truth = source.truth(MONDAY).sort("trip_id", "stop_sequence")
    on_board = (pl.col("boardings") - pl.col("alightings")).cum_sum().over("trip_id")
    assert truth.filter(pl.col("load") != on_board).is_empty()
    assert truth.filter(pl.col("alightings") > pl.col("load").shift(1).over("trip_id")).is_empty()


def test_journeys_start_and_end_empty(source: DemoSource) -> None:
    trips = source.truth(MONDAY).sort("stop_sequence").group_by("trip_id").agg(
        pl.col("alightings").first(), pl.col("boardings").last(), pl.col("load", "mean_load").last()
    )  # fmt: skip
    assert trips.select(pl.col("alightings", "boardings", "load").sum()).row(0) == (0, 0, 0)
    assert trips["mean_load"].max() == pytest.approx(0, abs=1e-9)


def test_full_vehicle_leaves_passengers_behind(rides: Rides, source: DemoSource) -> None:
    truth = pl.concat([source.truth(MONDAY + timedelta(days)) for days in range(5)])
    share = truth["load"] / truth["total_capacity"]
    assert 1 < share.max() <= LEFT_BEHIND_ABOVE  # pyright: ignore


def test_true_mean_is_unbiased_and_load_overdispersed(rides: Rides) -> None:
    f = rides(date(2026, 8, 24), date(2026, 9, 20))
    assert f["mean_load"].sum() / f["load"].sum() == pytest.approx(1, abs=0.01)
    busy = f.filter(pl.col("mean_load") > 20)
    assert ((busy["load"] - busy["mean_load"]) ** 2 / busy["mean_load"]).mean() > 1.3  # pyright: ignore


def _passengers(frame: pl.DataFrame) -> float:
    return float(frame["boardings"].sum()) / frame["service_date"].n_unique()


def test_working_days_saturdays_sundays(rides: Rides) -> None:
    f = rides(date(2026, 11, 2), date(2026, 11, 22)).with_columns(weekday=pl.col("service_date").dt.weekday())
    working, saturday, sunday = (
        _passengers(f.filter(condition))
        for condition in (pl.col("weekday") <= 5, pl.col("weekday") == 6, pl.col("weekday") == 7)
    )
    assert working > 1.3 * saturday > 1.3 * 1.3 * sunday


def test_peaks_are_fuller_than_the_daytime_between(rides: Rides) -> None:
    f = rides(MONDAY, MONDAY + timedelta(4))
    per_hour = f.group_by("hour").agg(pl.col("boardings").sum())
    by_hour = dict(per_hour.rows())
    assert by_hour[7] > 1.5 * by_hour[11] and by_hour[16] > 1.5 * by_hour[11] > 1.5 * by_hour[22]


@pytest.mark.parametrize(
    ("special", "usual", "most", "least"),
    [
        (date(2026, 5, 1), date(2026, 4, 24), 0.45, 0.10),
        (date(2026, 12, 25), date(2026, 12, 11), 0.35, 0.05),
        (date(2026, 9, 30), date(2026, 9, 23), 0.92, 0.60),
        (date(2026, 7, 15), date(2026, 6, 10), 0.75, 0.45),
        (date(2026, 5, 15), date(2026, 5, 8), 0.92, 0.55),
    ],
    ids=["public holiday", "Christmas Day", "autumn holiday", "July", "bridge day"],
)
def test_holidays_have_fewer_passengers(
    rides: Rides, special: date, usual: date, most: float, least: float
) -> None:
    assert least < _passengers(rides(special, special)) / _passengers(rides(usual, usual)) < most


def test_pupils_travel_only_on_school_days(rides: Rides) -> None:
    def morning(day: date) -> float:
        f = rides(day, day).filter(
            (pl.col("hour") == 8) & pl.col("line_id").is_in(["RUT:Line:60", "RUT:Line:22"])
        )
        return float(f["mean_load"].sum())

    assert morning(date(2026, 9, 30)) < 0.8 * morning(date(2026, 9, 23))


def test_rain_moves_passengers_from_boats_and_weekends_to_buses() -> None:
    days = [date(2026, 9, 1) + timedelta(days) for days in range(80)]
    rain = {day: weather_of(20, day).precipitation[16] for day in days}
    assert 0.05 < np.mean([mm > 0.1 for mm in rain.values()]) < 0.4
    working = [day for day in days if day_of(day).type == "weekday"]
    wet, dry = max(working, key=rain.__getitem__), min(working, key=rain.__getitem__)

    def factor(day: date, mode: str) -> float:
        return float(weather_factors(20, day_of(day), mode)[16])

    assert factor(wet, "bus") > 1.05 * factor(dry, "bus")
    assert factor(wet, "boat") < 0.9 * factor(dry, "boat")
    wet_sunday = max((day for day in days if day.weekday() == 6), key=rain.__getitem__)
    assert factor(wet_sunday, "bus") < 1


def test_event_adds_passengers_on_its_lines_and_hours(source: DemoSource) -> None:
    network = build_network(20, "demo")
    day = next(day for day in map(day_of, (MONDAY + timedelta(n) for n in range(-60, 9))) if day.events)
    event, factors = day.events[0], demand_factors(network, day)
    quiet = demand_factors(network, type(day)(day.date, day.type, None, None, False, ()))
    line = list(network.line_ids).index(event.lines[0])
    assert factors[line, event.from_hour] > 1.5 * quiet[line, event.from_hour]
    assert factors[line, event.from_hour - 2] == quiet[line, event.from_hour - 2]


@pytest.mark.parametrize("scale", ["demo", "ruter"])
def test_events_name_existing_lines(scale: str) -> None:
    lines = set(build_network(20, scale).line_ids)  # pyright: ignore
    days = (day_of(date(2026, 1, 1) + timedelta(days)) for days in range(365))
    named = {line for day in days for event in day.events for line in event.lines}
    assert named and named <= lines


def test_demand_grows_over_the_years() -> None:
    network = build_network(20, "ruter")
    levels = [
        line_levels(network, date(year, 3, 3) + timedelta(n)).mean()
        for year in (2024, 2026)
        for n in range(20)
    ]
    assert np.mean(levels[20:]) > 1.03 * np.mean(levels[:20])


def test_levels_correlate_only_between_near_days() -> None:
    network = build_network(20, "ruter")
    first, next_day, later = (
        np.log(line_levels(network, day)) for day in (date(2026, 2, 3), date(2026, 2, 4), date(2026, 8, 3))
    )
    assert np.corrcoef(first, next_day)[0, 1] > 0.8
    assert np.corrcoef(first, later)[0, 1] < 0.5
