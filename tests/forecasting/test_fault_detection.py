"""An injected fault of the demo network raises the right alert on its first date and resolves once; quiet dates raise none.

The chain is real from the source to the incidents, except for the forecasts: a full model chain takes too long. Their mean is
the expected load of the simulation without the fault, which a very good model would forecast.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from datetime import UTC, date, datetime, time, timedelta
from functools import lru_cache

import polars as pl
import pytest

from ruter_dagster.config.demo_faults import DemoFault, FaultKind
from ruter_dagster.config.operator import load_operator
from ruter_dagster.contracts.date_windows import DRIFT_LOAD_DAYS
from ruter_dagster.contracts.dates import day_range
from ruter_dagster.contracts.tables import FORECAST_PERFORMANCE, STOP_LOADS
from ruter_dagster.contracts.validation import empty_frame
from ruter_dagster.forecasting.counts import balance
from ruter_dagster.forecasting.drift import measure_drift
from ruter_dagster.forecasting.drift_sums import DriftSums
from ruter_dagster.forecasting.sensor_health import SensorSums
from ruter_dagster.jobs.operator_rules import calendar_of, drift_metrics_of
from ruter_dagster.notifications.drift_problems import drift_problems
from ruter_dagster.notifications.incidents import Incidents, Notice, update
from ruter_dagster.sources.demo.fleet import build_fleet
from ruter_dagster.sources.demo.source import DemoSource

pytestmark = pytest.mark.extended

OPERATOR = load_operator("demo")
CALENDAR, METRICS = calendar_of(OPERATOR), drift_metrics_of(OPERATOR)
QUIET_DAYS = 60
AUTUMN, SPRING = (20, date(2026, 11, 1)), (21, date(2027, 3, 15))
"""Seeds and first dates of 60 quiet dates: events and Christmas; Easter, and 1 and 17 May shortly after it."""
FIRST, LAST = date(2026, 11, 12), date(2026, 11, 18)
"""The dates of each fault: a week, because a vehicle or line may hardly run at the weekend."""
DEAD_DOORS = {
    "metro, nine doors": "RUT:Vehicle:10008",
    "tram, six doors": "RUT:Vehicle:10016",
    "tram, four doors": "RUT:Vehicle:10023",
    "bus, four doors": "RUT:Vehicle:10031",
    "bus, three doors": "RUT:Vehicle:10037",
    "boat, two doors": "RUT:Vehicle:10054",
}
"""The first vehicle of each mode and number of doors of seed 20."""
FURTHER_METRICS = {DEAD_DOORS["boat, two doors"]: {"vehicle_imbalance", "skill_against_ha4"}}
"""Metrics that the fault moves as well: half of the boardings are a third of a boat's counts, and its mode has few boats."""
DISPERSION = {"bus": 0.04, "tram": 0.04, "metro": 0.03, "boat": 0.10}
KEY = ["trip_id", "stop_sequence"]


@lru_cache(maxsize=64)
def truth(seed: int, day: date) -> pl.DataFrame:
    return DemoSource(seed).truth(day).select(*KEY, "mean_load", "load")


def ha4(seed: int, day: date) -> pl.DataFrame:
    weeks = pl.concat([truth(seed, day - timedelta(7 * number)) for number in range(1, 5)])
    return weeks.group_by(KEY).agg(ha4=pl.col("load").mean())


def performance(seed: int, loads: pl.DataFrame, day: date) -> pl.DataFrame:
    mean = pl.col("mean_load")
    deviation = (mean + pl.col("mode").replace_strict(DISPERSION) * mean**2).sqrt()
    return (
        loads.drop_nulls("load")
        .join(truth(seed, day).drop("load"), on=KEY)
        .join(ha4(seed, day), on=KEY, how="left")
        .select(
            *KEY,
            "mode",
            "load",
            "ha4",
            pl.col("service_date").alias("operating_date"),
            source=pl.lit("model"),
            mean=mean,
            p10=(mean - 1.2 * deviation).clip(0),
            p90=mean + 1.3 * deviation,
        )
    )


def sums_of(seed: int, day: date, faults: tuple[DemoFault, ...] = ()) -> DriftSums:
    source = DemoSource(seed, "demo", faults)
    visits = source.stop_visits(day)
    loads = balance(visits, OPERATOR.time_zone)
    sensors = SensorSums.of(loads, source.planned_departures(day), OPERATOR.time_zone)
    return DriftSums.of([day], performance(seed, loads, day), loads, visits, sensors)


def measure(days: list[date], sums: dict[date, DriftSums]) -> pl.DataFrame:
    needed = [sums[day] for day in day_range(days[0] - timedelta(DRIFT_LOAD_DAYS), days[-1])]
    return measure_drift(days, DriftSums.joined(needed), METRICS, CALENDAR.kind_of_loads)


def notices_of(measured: pl.DataFrame) -> list[Notice]:
    """The notices if each date is measured in the morning after it. The subject of an incident is a metric."""
    incidents, notices = Incidents(), []
    for (day,), rows in measured.group_by("operating_date", maintain_order=True):
        active, over = drift_problems(rows.to_dicts())
        now = datetime.combine(day + timedelta(1), time(5), tzinfo=UTC)
        incidents, sent = update(incidents, active, over, now)
        notices += sent
    return notices


@pytest.fixture(scope="module")
def quiet_sums() -> Callable[[int, date], dict[date, DriftSums]]:
    @lru_cache(maxsize=4)
    def of(seed: int, first: date) -> dict[date, DriftSums]:
        days = day_range(first - timedelta(DRIFT_LOAD_DAYS), first + timedelta(QUIET_DAYS - 1))
        return {day: sums_of(seed, day) for day in days}

    return of


@pytest.mark.parametrize(("seed", "first"), [AUTUMN, SPRING])
def test_sixty_quiet_dates_raise_no_alert(seed: int, first: date, quiet_sums: Callable) -> None:
    days = day_range(first, first + timedelta(QUIET_DAYS - 1))
    measured = measure(days, quiet_sums(seed, first))
    assert measured["operating_date"].n_unique() == QUIET_DAYS
    assert notices_of(measured) == []
    judged = measured.drop_nulls("value").group_by("metric").agg(pl.col("operating_date").n_unique())
    dates = dict(judged.iter_rows())
    assert len(dates) == len(METRICS)
    assert min(dates.values()) >= 40, "most dates are judged by every metric"


@pytest.mark.parametrize(
    ("fault", "metric", "subject", "detail"),
    [
        ("timetable_change", "timetable_change", None, "RUT:Line:20"),
        *(("dead_door", "door_imbalance", vehicle, vehicle) for vehicle in DEAD_DOORS.values()),
        ("counter_failure", "silent_vehicles", None, "RUT:Vehicle:10031"),
        ("half_the_passengers", "passenger_level", None, ""),
        ("silent_line", "silent_lines", None, "RUT:Line:20"),
    ],
)
def test_fault_raises_the_right_alert_once(
    fault: FaultKind, metric: str, subject: str | None, detail: str, quiet_sums: Callable
) -> None:
    seed, first = AUTUMN
    faults = (DemoFault(fault, FIRST, LAST, subject),)
    faulty = {day: sums_of(seed, day, faults) for day in day_range(FIRST, LAST)}
    days = day_range(FIRST - timedelta(5), LAST + timedelta(21))
    notices = notices_of(measure(days, quiet_sums(seed, first) | faulty))

    raised, resolved = (notice for notice in notices if notice.problem.subject == metric)
    assert (raised.action, resolved.action) == ("raised", "resolved")
    assert raised.at.date() == FIRST + timedelta(1), "in the morning after the first date of the fault"
    assert detail in " ".join(raised.problem.affected)
    assert resolved.at.date() > LAST
    actions = Counter((notice.problem.subject, notice.action) for notice in notices)
    assert set(actions.values()) == {1}, "no other metric warns twice about the same fault"
    subjects = {subject for subject, action in actions if action == "raised"}
    assert subjects == {subject for subject, action in actions if action == "resolved"}
    if fault != "half_the_passengers":
        assert subjects <= {metric, "counted_share"} | FURTHER_METRICS.get(detail, set())


def test_most_dead_doors_warn_on_their_first_date() -> None:
    """Each vehicle of two seeds has a dead sensor on each of four weeks' dates; each date is judged on its own."""
    found = pl.concat(
        dead_doors_found(seed, day) for seed in (20, 21) for day in day_range(FIRST, FIRST + timedelta(27))
    )
    up_to_nine = found.filter(pl.col("doors") <= 9)
    weekdays, weekends = up_to_nine.filter(~pl.col("weekend")), up_to_nine.filter("weekend")
    by_doors = weekdays.group_by("doors").agg(pl.col("found").mean())
    assert sorted(by_doors["doors"]) == [2, 3, 4, 6, 9]
    assert by_doors.filter(pl.col("found") < 0.95).is_empty()
    assert weekends.filter("found").height >= 0.8 * weekends.height


def dead_doors_found(seed: int, day: date) -> pl.DataFrame:
    """The vehicles that run on a date on which each of them has a dead sensor: doors, weekend, and whether `door_imbalance` warns."""
    fleet = build_fleet(seed, "demo")
    faults = tuple(DemoFault("dead_door", day, day, vehicle) for vehicle in fleet.vehicle_ids)
    visits = DemoSource(seed, "demo", faults).stop_visits(day)
    sums = DriftSums.of([day], empty_frame(FORECAST_PERFORMANCE), empty_frame(STOP_LOADS), visits)
    [threshold] = [metric.warn for metric in METRICS if metric.name == "door_imbalance"]
    fleet_doors = pl.DataFrame({"vehicle_id": fleet.vehicle_ids, "doors": fleet.doors})
    return (
        visits.select("vehicle_id")
        .unique()
        .join(fleet_doors, on="vehicle_id")
        .join(sums.vehicles, on="vehicle_id", how="left")
        .select(
            "doors", weekend=pl.lit(day.weekday() >= 5), found=(pl.col("door_imbalance") > threshold).fill_null(False)
        )
    )  # fmt: skip
