"""Forecasts the departures of issue dates with a model that is not the champion, to compare both on the same truth."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from datetime import date, timedelta

import polars as pl

from ruter_dagster.contracts.dates import day_range
from ruter_dagster.contracts.errors import PermanentFailure
from ruter_dagster.contracts.features import DEPARTURE_FEATURES, LEVELS
from ruter_dagster.contracts.jobs import MODEL_NAME, NEWEST, ForecastChallenger
from ruter_dagster.contracts.tables import CHALLENGER_FORECASTS
from ruter_dagster.contracts.validation import empty_frame
from ruter_dagster.forecasting.model_rows import HORIZONS
from ruter_dagster.jobs.context import JobContext
from ruter_dagster.jobs.forecast import forecasts_of
from ruter_dagster.jobs.model_inputs import load_model
from ruter_dagster.jobs.pipes import json_value

log = logging.getLogger("ruter_dagster.jobs")


def run(parameters: ForecastChallenger, context: JobContext) -> None:
    # An issue date without loads of the day before has no levels. A range leaves it out.
    issue_dates = list(
        context.tables.versions(LEVELS, parameters.dates, missing=parameters.missing, verdict="ignore")
    )
    challenged, reasons = _challenged_dates(issue_dates, parameters, context)
    frames = [empty_frame(CHALLENGER_FORECASTS)]
    for day, version in context.track(list(challenged.items()), "Forecasting"):
        days = context.tables.versions(
            DEPARTURE_FEATURES, day_range(day, day + timedelta(max(HORIZONS))), missing="skip"
        )
        frames += forecasts_of(day, sorted(days), context, load_model(context, version), version)
    context.write(
        CHALLENGER_FORECASTS,
        pl.concat(frames),
        issue_dates,
        model_versions=json_value({str(day): version for day, version in challenged.items()}),
        dates_without_challenger=json_value({str(day): reason for day, reason in reasons.items()}),
    )


def _challenged_dates(
    issue_dates: list[date], parameters: ForecastChallenger, context: JobContext
) -> tuple[Mapping[date, str], Mapping[date, str]]:
    """The challenger's version for each issue date that it can forecast, and for the others the reason why not."""
    try:
        record = context.models.load(MODEL_NAME, parameters.model_version)
    except PermanentFailure:
        # Before the first training there is no newest model. A named version that does not exist is an error.
        if parameters.model_version != NEWEST:
            raise
        return {}, dict.fromkeys(issue_dates, "no model was trained yet")
    versions, reasons = {}, {}
    for day in issue_dates:
        if record.training_cutoff >= day:
            reasons[day] = f"model {record.version} was trained on loads up to {record.training_cutoff}"
        elif record.version == context.models.newest_champion(MODEL_NAME, day - timedelta(1)):
            reasons[day] = f"model {record.version} is the champion"
        else:
            versions[day] = record.version
    for day, reason in reasons.items():
        log.info("Issue date %s has no challenger: %s", day, reason)
    return versions, reasons
