"""Aarhus line 1A with a new service in its timetable, and the scores of its first week."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from datetime import date, timedelta
from pathlib import Path

import polars as pl

from ruter_dagster.config.operator import load_operator
from ruter_dagster.forecasting.backtest import Backtest, Frames, backtest
from ruter_dagster.forecasting.calendar import OperatingCalendar
from ruter_dagster.forecasting.counts import balance
from ruter_dagster.forecasting.evaluation import scores
from ruter_dagster.sources.tides import TidesSource

AARHUS = Path(__file__).parents[2] / "examples" / "aarhus_1a"
NEW_FROM = date(2023, 9, 4)
FIRST_WEEK = (NEW_FROM, NEW_FROM + timedelta(6))
Change = Callable[[pl.DataFrame], pl.DataFrame]
"""Changes loads and plan alike."""


def aarhus() -> tuple[pl.DataFrame, pl.DataFrame, OperatingCalendar]:
    """All loads and the whole plan of the example, and its calendar."""
    operator = load_operator(AARHUS)
    source = TidesSource(AARHUS, operator.time_zone, operator.route_types)
    tables = source.read(source.available_dates())
    calendar = OperatingCalendar(operator.country, operator.time_zone, operator.school_holiday_dates())
    return balance(tables.stop_visits, operator.time_zone), tables.planned_departures, calendar


def renamed_line(frame: pl.DataFrame) -> pl.DataFrame:
    """Line 1A is called 1B from `NEW_FROM` on."""
    new = pl.col("service_date") >= NEW_FROM
    return frame.with_columns(pl.when(new).then(pl.lit("1B")).otherwise("line_id").alias("line_id"))


def added_hours(hours: Collection[int], frame: pl.DataFrame, time_zone: str) -> pl.DataFrame:
    """The line did not run in these slot hours before `NEW_FROM`."""
    from ruter_dagster.forecasting.slots import slot_hour

    hour = slot_hour("scheduled_departure_time", "service_date", time_zone)
    return frame.filter((pl.col("service_date") >= NEW_FROM) | ~hour.is_in(list(hours)))


def new_stop(stop_id: str, frame: pl.DataFrame) -> pl.DataFrame:
    """The line did not serve this stop before `NEW_FROM`."""
    return frame.filter((pl.col("service_date") >= NEW_FROM) | (pl.col("stop_id") != stop_id))


def renamed_stop(stop_id: str, frame: pl.DataFrame) -> pl.DataFrame:
    """The stop has another id from `NEW_FROM` on."""
    new = (pl.col("service_date") >= NEW_FROM) & (pl.col("stop_id") == stop_id)
    return frame.with_columns(pl.when(new).then(pl.lit(f"{stop_id}_2")).otherwise("stop_id").alias("stop_id"))


def forecasts(
    loads: pl.DataFrame,
    plan: pl.DataFrame,
    calendar: OperatingCalendar,
    period: tuple[date, date] = FIRST_WEEK,
    history_start: date = date(2021, 12, 31),
) -> pl.DataFrame:
    """Forecasts of `period` two days ahead, trained on all dates from `history_start` on."""
    trial = Backtest(*period, horizon=2, history_start=history_start)
    folds = backtest(trial, of_dates(loads), of_dates(plan), calendar)
    return pl.concat([fold.forecasts for fold in folds])


def of_dates(frame: pl.DataFrame) -> Frames:
    def read(days: Sequence[date]) -> pl.DataFrame:
        return frame.filter(pl.col("service_date").is_in(list(days)))

    return read


def score(rows: pl.DataFrame) -> tuple[float, float, float]:
    """WAPE, bias and P10-P90 coverage, 0 to 1."""
    totals = scores(rows).row(0, named=True)
    return totals["wape"], totals["bias"], totals["coverage"]
