"""Departure features of operating dates, from the plan and the loads one to eight weeks before."""

from __future__ import annotations

from ruter_dagster.contracts.features import DEPARTURE_FEATURES
from ruter_dagster.contracts.jobs import Features
from ruter_dagster.contracts.tables import PLANNED_DEPARTURES, STOP_LOADS
from ruter_dagster.forecasting.features import LOAD_COLUMNS, departure_features, lag_dates
from ruter_dagster.jobs.context import JobContext


def run(parameters: Features, context: JobContext) -> None:
    plan, dates = context.read_asked(PLANNED_DEPARTURES, parameters)
    lags = sorted({lag for day in dates for lag in lag_dates(day, context.calendar)})
    loads = context.read_history(STOP_LOADS, lags, LOAD_COLUMNS, ordered=False)
    features = departure_features(plan, loads, context.calendar)
    without_history = (features["history_count"] == 0).mean()
    context.write(DEPARTURE_FEATURES, features, dates, share_without_history=without_history)
