"""Reasons of forecasts: each code alone, and together on the demo network's own events and holidays."""

from datetime import date, timedelta

import polars as pl
import pytest

from ruter_dagster.config.operator import operator_of
from ruter_dagster.config.settings import Settings
from ruter_dagster.contracts.tables import REASONS, STOP_LOADS
from ruter_dagster.forecasting.counts import balance
from ruter_dagster.forecasting.features import departure_features
from ruter_dagster.forecasting.reasons import add_codes, reasons
from ruter_dagster.jobs.operator_rules import calendar_of, has_default_seats
from ruter_dagster.sources.demo.source import DemoSource

EVENT_FRIDAY, CHRISTMAS_DAY = date(2026, 11, 13), date(2026, 12, 25)
ORDINARY_THURSDAY = date(2026, 11, 12)
ORDINARY = {
    "mean": 20.0, "ha8": 20.0, "public_holiday": False, "minor_holiday": False, "bridge_day": False,
    "school_holiday": False, "events": 0, "seats": 40, "usual_seats": 40.0, "history_count": 8, "temperature": 5.0,
    "precipitation": 0.0, "wind_speed": 3.0, "expected_tier": "departure", "mode": "bus", "line_id": "31",
}  # fmt: skip


def reasons_of(model_failed=False, default_seats=None, **changes):
    row = pl.DataFrame([ORDINARY | changes], schema_overrides={"seats": pl.Int32, "events": pl.Int32})
    return row.select(reasons(default_seats, model_failed)).item()


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, ""),
        ({"mean": 26.0}, ""),
        ({"mean": 14.0, "public_holiday": True}, "holiday"),
        ({"mean": 14.0, "school_holiday": True}, "holiday"),
        ({"mean": 14.0, "bridge_day": True}, "holiday"),
        ({"mean": 14.0, "minor_holiday": True}, "holiday"),
        ({"mean": 16.0, "public_holiday": True}, ""),
        ({"mean": 0.5, "ha8": 4.0, "public_holiday": True}, ""),
        ({"mean": 14.0, "ha8": None, "public_holiday": True}, ""),
        ({"mean": 26.0, "precipitation": 1.0}, "weather"),
        ({"mean": 26.0, "temperature": None, "precipitation": None, "wind_speed": None}, ""),
        ({"precipitation": 5.0}, ""),
        ({"events": 2}, "event"),
        ({"seats": 28}, "smallerVehicle"),
        ({"seats": 29}, ""),
        ({"seats": 58}, "largerVehicle"),
        ({"seats": 57}, ""),
        ({"seats": None}, ""),
        ({"usual_seats": None}, ""),
        ({"seats": 0, "usual_seats": 0.0}, ""),
        ({"seats": 20, "history_count": 2}, "littleHistory"),
        ({"expected_tier": "line_hour", "history_count": 0}, "newJourney"),
        (
            {"mean": 40.0, "school_holiday": True, "wind_speed": 12.0, "events": 1, "seats": 10},
            "holiday weather event smallerVehicle",
        ),
    ],
)
def test_code_is_given_where_its_condition_holds(changes, expected):
    assert reasons_of(**changes) == expected


def test_failed_model_is_the_last_reason_of_every_row():
    assert reasons_of(model_failed=True) == "modelFailed"
    assert reasons_of(model_failed=True, events=1) == "event modelFailed"


def test_default_seats_are_no_smaller_vehicle():
    operator = operator_of(Settings(source="demo"))  # pyright: ignore[reportCallIssue]
    capacities = {"modes": {"bus": {"seats": 20, "total": 50}}, "lines": {"31": {"seats": 25, "total": 60}}}
    with_defaults = operator.model_copy(
        update={"capacities": type(operator.capacities).model_validate(capacities)}
    )
    default = has_default_seats(with_defaults)
    assert reasons_of(default_seats=default, seats=25) == ""
    assert reasons_of(default_seats=default, seats=20) == "smallerVehicle"
    assert reasons_of(default_seats=default, seats=20, line_id="32") == ""
    assert reasons_of(default_seats=has_default_seats(operator), seats=20) == "smallerVehicle"


def test_code_is_added_once_and_in_order():
    texts = pl.DataFrame({"reasons": ["", None, "event littleHistory", "smallerVehicle"]})
    added = texts.select(add_codes(pl.col("reasons"), {"smallerVehicle": pl.lit(True)}))["reasons"].to_list()
    assert added == [
        "smallerVehicle",
        "smallerVehicle",
        "event smallerVehicle littleHistory",
        "smallerVehicle",
    ]


def test_code_is_removed_and_others_stay():
    texts = pl.DataFrame({"reasons": ["smallerVehicle", "event largerVehicle littleHistory"]})
    conditions = {"smallerVehicle": pl.lit(False), "largerVehicle": pl.lit(False)}
    assert texts.select(add_codes(pl.col("reasons"), conditions))["reasons"].to_list() == [
        "",
        "event littleHistory",
    ]


@pytest.fixture(scope="module")
def demo() -> pl.DataFrame:
    """Features of an ordinary Thursday, a Friday with a concert and Christmas Day, with their weather and a mean.

    The mean is the usual load of comparable days: of Sundays on Christmas Day.
    """
    settings = Settings(source="demo")  # pyright: ignore[reportCallIssue]
    operator, source = operator_of(settings), DemoSource(settings.demo_seed)
    days = [ORDINARY_THURSDAY, EVENT_FRIDAY, CHRISTMAS_DAY]
    lags = {day - timedelta(7 * week) for day in days for week in range(1, 5)}
    lags |= {date(2026, 12, 6), date(2026, 12, 13), date(2026, 12, 20)}
    loads = pl.concat([balance(source.stop_visits(day), operator.time_zone) for day in sorted(lags)])
    features = departure_features(
        pl.concat(map(source.planned_departures, days)),
        loads.select(STOP_LOADS.column_names),
        calendar_of(operator),
    )
    weather = pl.concat(map(source.weather_forecasts, days)).filter(
        pl.col("issue_date") == pl.col("service_date")
    )
    rows = features.join(
        weather.drop("issue_date"), on=("service_date", "slot_hour"), how="left", maintain_order="left"
    )
    return rows.with_columns(pl.col("usual").fill_null(0.0).alias("mean")).with_columns(reasons())


def share(rows, code):
    return rows["reasons"].str.split(" ").list.contains(code).mean()


def test_ordinary_day_has_hardly_any_reason(demo):
    ordinary = demo.filter(service_date=ORDINARY_THURSDAY)
    assert ordinary.height > 9_000
    assert (ordinary["reasons"] != "").mean() < 0.02


def test_departures_of_an_event_have_its_code(demo):
    friday = demo.filter(service_date=EVENT_FRIDAY)
    arrivals = pl.col("slot_hour").is_between(18, 19) | pl.col("slot_hour").is_between(22, 23)
    affected = arrivals & pl.col("line_id").is_in(["RUT:Line:11", "RUT:Line:21", "RUT:Line:2"])
    assert share(friday.filter(affected), "event") == 1
    assert share(friday.filter(~affected), "event") == 0


def test_christmas_day_has_the_code_of_holidays(demo):
    christmas = demo.filter(service_date=CHRISTMAS_DAY)
    busy = christmas.filter((pl.col("ha8") - pl.col("mean")).abs() >= 5)
    assert share(busy, "holiday") > 0.9
    assert share(christmas.filter((pl.col("ha8") - pl.col("mean")).abs() < 5), "holiday") == 0


def test_codes_are_those_of_the_contract(demo):
    codes = set(demo["reasons"].str.split(" ").explode()) - {""}
    assert codes <= set(REASONS)
