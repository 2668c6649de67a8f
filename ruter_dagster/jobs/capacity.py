"""Applies the capacities of the present plan to stored forecasts, without a new run of the model."""

from __future__ import annotations

import logging
from datetime import date, timedelta

import polars as pl

from ruter_dagster.contracts.dates import day_range
from ruter_dagster.contracts.features import DEPARTURE_FEATURES
from ruter_dagster.contracts.jobs import Forecast
from ruter_dagster.contracts.tables import LOAD_FORECASTS, PLANNED_DEPARTURES
from ruter_dagster.forecasting.capacity import (
    PLAN_COLUMNS,
    USUAL_COLUMNS,
    changed_departures,
    set_capacities,
)
from ruter_dagster.forecasting.model_rows import HORIZONS
from ruter_dagster.forecasting.prediction_intervals import Tail
from ruter_dagster.forecasting.reasons import model_failed
from ruter_dagster.jobs.context import JobContext
from ruter_dagster.jobs.model_inputs import load_model
from ruter_dagster.jobs.operator_rules import has_default_seats, thresholds_of

log = logging.getLogger("ruter_dagster.jobs")


def apply_capacities(parameters: Forecast, context: JobContext) -> None:
    """Writes the forecasts of the issue dates with the planned seats and places. Publishing them sends the changed journeys.

    Raises `NoDataForDates` or `PermanentFailure` if an issue date has no forecasts, or if a model cannot be read.
    """
    issue_dates = list(
        context.tables.versions(
            LOAD_FORECASTS, parameters.dates, missing=parameters.missing, verdict="ignore"
        )
    )
    frames, changed, tails = [], {}, dict[str, Tail]()
    for day in issue_dates:
        forecasts = context.tables.read(LOAD_FORECASTS, [day], verdict="ignore")
        service_dates = day_range(day, day + timedelta(max(HORIZONS)))
        plan = context.tables.read(PLANNED_DEPARTURES, service_dates, PLAN_COLUMNS, missing="skip")
        changed[day] = changed_departures(forecasts, plan)
        log.info(
            "Issue date %s: %d of %d departures have another capacity", day, changed[day], forecasts.height
        )
        tails |= _tails(forecasts, tails, context)
        frames.append(_set_capacities(forecasts, plan, service_dates, tails, context))
    result = pl.concat(frames)
    degraded = {"degraded": True, "degraded_reason": "The load model failed"} if model_failed(result) else {}
    context.write(
        LOAD_FORECASTS,
        result,
        issue_dates,
        numbers={day: {"changed_capacities": float(number)} for day, number in changed.items()},
        model_version=next(iter(tails), "baseline HA4: no champion"),
        **degraded,
    )


def _set_capacities(
    forecasts: pl.DataFrame,
    plan: pl.DataFrame,
    service_dates: list[date],
    tails: dict[str, Tail],
    context: JobContext,
) -> pl.DataFrame:
    usual = context.tables.read(
        DEPARTURE_FEATURES, service_dates, USUAL_COLUMNS, missing="skip", verdict="ignore"
    )
    return set_capacities(
        forecasts,
        plan,
        usual,
        thresholds_of(context.operator),
        tails,
        has_default_seats(context.operator),
    )


def _tails(forecasts: pl.DataFrame, known: dict[str, Tail], context: JobContext) -> dict[str, Tail]:
    """The tails of the models of the forecasts that are not known yet."""
    versions = forecasts["model_version"].drop_nulls().unique().sort()
    return {version: load_model(context, version).tail for version in versions if version not in known}
