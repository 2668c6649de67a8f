"""Forecasts every planned departure of issue dates D to D+3, with the newest fit champion, a pinned model, or a baseline."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, timedelta

import polars as pl

from ruter_dagster.contracts.features import DEPARTURE_FEATURES, LEVELS
from ruter_dagster.contracts.jobs import MODEL_NAME, Forecast
from ruter_dagster.contracts.tables import LOAD_FORECASTS, WEATHER_FORECASTS
from ruter_dagster.forecasting.forecast import forecast
from ruter_dagster.forecasting.model import LoadModel
from ruter_dagster.forecasting.occupancy import OccupancyThresholds
from ruter_dagster.forecasting.rows import HORIZONS, year_ago_issue_dates
from ruter_dagster.forecasting.year_ago import year_ago
from ruter_dagster.jobs.context import JobContext, day_range
from ruter_dagster.jobs.models import load_model
from ruter_dagster.jobs.pipes import json_value, table


def run(parameters: Forecast, context: JobContext) -> None:
    versions = {day: _version(parameters, day, context) for day in parameters.dates}
    used = sorted({version for version in versions.values() if version})
    models = {version: load_model(context, version) for version in used}
    frames = [
        frame
        for day, version in context.track(list(versions.items()), "Forecasting")
        for frame in _forecasts(day, version, models.get(version or ""), context)
    ]
    forecasts = pl.concat(frames)
    context.write(
        LOAD_FORECASTS,
        forecasts,
        parameters.dates,
        model_version=used[-1] if used else "baseline HA4: no champion stands",
        model_versions=json_value({day.isoformat(): version for day, version in versions.items()}),
        sources=table(forecasts["source"].value_counts(sort=True).to_dicts()),
        occupancy_levels=table(forecasts["occupancy_level"].value_counts(sort=True).to_dicts()),
    )


def _version(parameters: Forecast, issue_date: date, context: JobContext) -> str | None:
    if parameters.model_version:
        return parameters.model_version
    return context.models.newest_champion(MODEL_NAME, issue_date - timedelta(1))


def _forecasts(
    issue_date: date, version: str | None, model: LoadModel | None, context: JobContext
) -> Iterator[pl.DataFrame]:
    """The forecasts of each service date from D to D+3, one at a time: a model's rows are wide."""
    days = day_range(issue_date, issue_date + timedelta(max(HORIZONS)))
    context.dates_passed(DEPARTURE_FEATURES, days, of_range=False)
    known_then = year_ago_issue_dates(year_ago(day, context.calendar) for day in days)
    levels = pl.concat([context.read(LEVELS, [issue_date]), context.read_history(LEVELS, known_then)])
    weather = context.read(WEATHER_FORECASTS, [issue_date])
    thresholds = OccupancyThresholds(**context.operator.occupancy.model_dump())
    for day in days:
        features = context.read(DEPARTURE_FEATURES, [day])
        yield forecast(features, levels, weather, model, issue_date, thresholds, version)
