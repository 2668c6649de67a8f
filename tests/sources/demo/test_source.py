"""The demo source: equal rows for the same date, independent dates, and frames that keep their contracts."""

from __future__ import annotations

from datetime import date, timedelta

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from ruter_dagster.contracts.tables import PLANNED_DEPARTURES, STOP_VISITS, WEATHER_FORECASTS
from ruter_dagster.contracts.validation import polars_schema, validate
from ruter_dagster.sources.demo import demand, fleet, network, random_numbers, timetable
from ruter_dagster.sources.demo.source import DemoSource

DAYS = [
    pytest.param(date(2026, 11, 11), id="weekday"),
    pytest.param(date(2026, 11, 13), id="friday with night service"),
    pytest.param(date(2026, 11, 15), id="sunday"),
    pytest.param(date(2026, 10, 24), id="night before clocks go back"),
    pytest.param(date(2026, 3, 29), id="clocks go forward"),
    pytest.param(date(2026, 12, 24), id="Christmas Eve"),
    pytest.param(date(2024, 2, 29), id="leap day"),
]


def _forget_everything() -> None:
    caches = (
        network.build_network, timetable.build_timetable, demand.build_demand, fleet.build_fleet, random_numbers._normals
    )  # fmt: skip
    for cache in caches:
        cache.cache_clear()


@pytest.mark.parametrize("day", DAYS)
def test_frames_keep_their_contracts(source: DemoSource, day: date) -> None:
    for frame, table in (
        (source.stop_visits(day), STOP_VISITS),
        (source.planned_departures(day), PLANNED_DEPARTURES),
        (source.weather_forecasts(day), WEATHER_FORECASTS),
    ):
        assert dict(frame.schema) == polars_schema(table)
        validate(frame, table, [day])


def test_dates_are_independent_and_repeatable() -> None:
    day = date(2026, 11, 11)
    after_others = DemoSource(20)
    for other in (day - timedelta(1), day + timedelta(1), date(2026, 9, 1)):
        after_others.stop_visits(other)
        after_others.truth(other)
    expected = [after_others.stop_visits(day), after_others.truth(day), after_others.weather_forecasts(day)]
    _forget_everything()
    alone = DemoSource(20)
    for frame, again in zip(
        expected, [alone.stop_visits(day), alone.truth(day), alone.weather_forecasts(day)], strict=True
    ):
        assert_frame_equal(frame, again)


def test_another_seed_gives_another_network() -> None:
    day = date(2026, 11, 11)
    assert not DemoSource(1).stop_visits(day).equals(DemoSource(2).stop_visits(day))


def test_truth_covers_the_plan_and_all_visits(source: DemoSource) -> None:
    day, key = date(2026, 11, 11), ["service_date", "trip_id", "stop_sequence"]
    plan, truth, visits = source.planned_departures(day), source.truth(day), source.stop_visits(day)
    assert_frame_equal(plan.select(key), truth.select(key))
    same = [
        name
        for name in plan.columns
        if name in visits.columns and name not in ("seats", "total_capacity", "block_id")
    ]
    found = visits.select(same).join(plan.select(same), on=same, how="semi")
    assert found.height == visits.height < plan.height


def test_departures_keep_local_time_when_the_clocks_change(source: DemoSource) -> None:
    def clock(day: date) -> set[str]:
        times = source.planned_departures(day)["scheduled_departure_time"].dt.convert_time_zone("Europe/Oslo")
        return set(times.dt.strftime("%H:%M"))

    assert clock(date(2026, 10, 18)) == clock(date(2026, 10, 25)) == clock(date(2026, 11, 1))


def test_journeys_after_midnight_belong_to_the_service_date(source: DemoSource) -> None:
    plan = source.planned_departures(date(2026, 11, 13))
    last = plan["scheduled_departure_time"].dt.convert_time_zone("Europe/Oslo").max()
    assert (last.date(), last.hour) >= (date(2026, 11, 14), 4)  # pyright: ignore


@pytest.mark.parametrize("day", [date(2026, 9, 15), date(2026, 11, 11)])
def test_size_of_the_demo_network(source: DemoSource, day: date) -> None:
    plan = source.planned_departures(day)
    assert 8_000 <= plan.height <= 11_000
    assert 500 <= plan["trip_id"].n_unique() <= 750
    assert set(plan["mode"]) == {"bus", "tram", "metro", "boat"}
    assert plan.group_by("stop_id").agg(pl.col("line_id").n_unique())["line_id"].max() >= 3  # pyright: ignore


def test_size_of_the_ruter_network() -> None:
    source, day = DemoSource(20, "ruter"), date(2026, 11, 11)
    truth = source.truth(day)
    assert 450_000 <= truth.height <= 600_000
    assert 22_000 <= truth["trip_id"].n_unique() <= 30_000
    assert 850_000 <= truth["boardings"].sum() <= 1_200_000
    validate(source.stop_visits(day), STOP_VISITS, [day])


class TestTimetableChange:
    BEFORE, AFTER = date(2026, 10, 2), date(2026, 10, 9)

    def test_journey_ids_are_new_on_the_day_of_the_change(self, source: DemoSource) -> None:
        change = network.TIMETABLE_CHANGE
        before = source.planned_departures(change - timedelta(7))["trip_id"]
        assert set(before) == set(source.planned_departures(change - timedelta(6))["trip_id"])
        assert not set(before) & set(source.planned_departures(change)["trip_id"])

    def test_one_line_is_new_and_some_run_more_or_less_often(self, source: DemoSource) -> None:
        def journeys(day: date) -> dict[str, int]:
            return dict(
                source.planned_departures(day).group_by("line_id").agg(pl.col("trip_id").n_unique()).rows()
            )

        before, after = journeys(self.BEFORE), journeys(self.AFTER)
        assert len(set(after) - set(before)) == 1
        assert any(after[line] > 1.2 * before[line] for line in before)
        assert any(after[line] < 0.85 * before[line] for line in before)

    def test_one_stop_moves(self, source: DemoSource) -> None:
        def stops(day: date, lines: set[str]) -> set[str]:
            return set(source.planned_departures(day).filter(pl.col("line_id").is_in(lines))["stop_id"])

        lines = set(source.planned_departures(self.BEFORE)["line_id"])
        before, after = stops(self.BEFORE, lines), stops(self.AFTER, lines)
        assert len(before - after) == len(after - before) == 2, "both directions' stop points of one stop"


def test_no_vehicle_runs_two_journeys_at_once(source: DemoSource) -> None:
    for day in (date(2026, 9, 18), date(2026, 11, 13)):
        journeys = (
            source.stop_visits(day)
            .group_by("vehicle_id", "trip_id")
            .agg(
                pl.col("scheduled_departure_time").min().alias("start"),
                pl.col("scheduled_departure_time").max().alias("end"),
            )
            .sort("vehicle_id", "start")
        )
        overlaps = pl.col("start") < pl.col("end").shift(1).over("vehicle_id")
        assert journeys.filter(overlaps).is_empty()


def test_working_day_at_ruter_scale_has_a_million_boardings() -> None:
    network = DemoSource(20, "ruter")
    day = date(2026, 11, 18)
    plan, truth = network.planned_departures(day), network.truth(day)
    assert 480_000 < plan.height < 580_000
    assert 24_000 < plan["trip_id"].n_unique() < 29_000
    assert 290 <= plan["line_id"].n_unique() <= 310
    assert 900_000 < truth["boardings"].sum() < 1_200_000
