"""Forecasts every planned departure from issue date D to D+3, with the newest usable champion, a pinned model or a baseline."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from datetime import date, timedelta
from itertools import chain
from typing import Any

import polars as pl

from ruter_dagster.contracts.dates import day_range
from ruter_dagster.contracts.errors import NoDataForDates
from ruter_dagster.contracts.features import DEPARTURE_FEATURES, LEVELS
from ruter_dagster.contracts.jobs import MODEL_NAME, Forecast
from ruter_dagster.contracts.tables import LOAD_FORECASTS, WEATHER_FORECASTS
from ruter_dagster.forecasting.crowding import most_crowded
from ruter_dagster.forecasting.forecast import forecast
from ruter_dagster.forecasting.model import LoadModel
from ruter_dagster.forecasting.model_rows import HORIZONS, year_ago_issue_dates
from ruter_dagster.forecasting.occupancy import OccupancyThresholds
from ruter_dagster.forecasting.year_ago import year_ago
from ruter_dagster.jobs.context import JobContext
from ruter_dagster.jobs.model_inputs import load_model
from ruter_dagster.jobs.pipes import days_value, json_value, table

log = logging.getLogger("ruter_dagster.jobs")
MOST_CROWDED = 10
"""Number of departures in the metadata table `most_crowded`."""


def run(parameters: Forecast, context: JobContext) -> None:
    # An issue date without loads of the day before has no levels. A range leaves it out.
    issue_dates = list(
        context.tables.versions(LEVELS, parameters.dates, missing=parameters.missing, verdict="ignore")
    )
    planned = {day: days for day in issue_dates if (days := _planned_dates(day, parameters, context))}
    if not planned:
        raise NoDataForDates(
            f"No departure is planned from {issue_dates[0]} to {issue_dates[-1]} or on the three days after. If there is "
            "service on these dates, materialise features/departure_features first"
        )
    versions = {day: _model_version(parameters, day, context) for day in planned}
    used = sorted({version for version in versions.values() if version})
    models = {version: load_model(context, version) for version in used}
    frames = [
        frame
        for day, version in context.track(list(versions.items()), "Forecasting")
        for frame in _forecasts(day, planned[day], version, models.get(version or ""), context)
    ]
    forecasts = pl.concat(frames)
    context.write(
        LOAD_FORECASTS,
        forecasts,
        list(planned),
        dates_absent=days_value(set(parameters.dates) - set(planned)),
        dates_without_plan=days_value(
            {day for issued in planned for day in _horizon(issued)} - {*chain(*planned.values())}
        ),
        model_version=used[-1] if used else "baseline HA4: no champion",
        model_versions=json_value({day.isoformat(): version for day, version in versions.items()}),
        sources=table(forecasts["source"].value_counts(sort=True).to_dicts()),
        occupancy_levels=table(forecasts["occupancy_level"].value_counts(sort=True).to_dicts()),
        most_crowded=table(_most_crowded(forecasts, context.operator.time_zone)),
    )


def _most_crowded(forecasts: pl.DataFrame, time_zone: str) -> list[dict[str, Any]]:
    """The most crowded departures, for a table in the UI. Times are local, `HH:MM`."""
    local = pl.col("scheduled_departure_time").dt.convert_time_zone(time_zone).dt.strftime("%H:%M")
    shown = (
        "line_id",
        "direction_id",
        "stop_id",
        "mean",
        "p10",
        "p90",
        "prob_above_seats",
        "occupancy_level",
    )
    rows = most_crowded(forecasts, MOST_CROWDED)
    return rows.select(pl.col("operating_date").cast(pl.String), local.alias("time"), *shown).to_dicts()


def _horizon(issue_date: date) -> list[date]:
    return day_range(issue_date, issue_date + timedelta(max(HORIZONS)))


def _planned_dates(issue_date: date, parameters: Forecast, context: JobContext) -> list[date]:
    """The service dates from D to D+3 that have planned departures.

    Raises `NoDataForDates` if a single issue date has none, and `NoPassingVerdict` if the verdict of a date is missing or failed.
    """
    days = _horizon(issue_date)
    try:
        planned = context.tables.versions(DEPARTURE_FEATURES, days, missing="error_if_all")
    except NoDataForDates:
        if not parameters.of_range:
            raise
        return []
    if missing := sorted(set(days) - set(planned)):
        log.warning(
            "Issue date %s: no departure is planned on %s. There is no service, or features/departure_features is not materialised",
            issue_date,
            ", ".join(map(str, missing)),
        )
    return sorted(planned)


def _model_version(parameters: Forecast, issue_date: date, context: JobContext) -> str | None:
    if parameters.model_version:
        return parameters.model_version
    return context.models.newest_champion(MODEL_NAME, issue_date - timedelta(1))


def _forecasts(
    issue_date: date, days: Sequence[date], version: str | None, model: LoadModel | None, context: JobContext
) -> Iterator[pl.DataFrame]:
    """Yields the forecasts of one service date at a time, because a model's rows need much memory."""
    year_ago_dates = year_ago_issue_dates(year_ago(day, context.calendar) for day in days)
    year_ago_levels = context.tables.read(LEVELS, year_ago_dates, missing="skip", verdict="skip")
    levels = pl.concat([context.tables.read(LEVELS, [issue_date]), year_ago_levels])
    weather = context.tables.read(WEATHER_FORECASTS, [issue_date])
    thresholds = OccupancyThresholds(**context.operator.occupancy.model_dump())
    for day in days:
        features = context.tables.read(DEPARTURE_FEATURES, [day])
        yield forecast(features, levels, weather, model, issue_date, thresholds, version)
