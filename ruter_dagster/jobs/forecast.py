"""Forecasts every planned departure from issue date D to D+3, with the newest usable champion, a pinned model or a baseline.

If the champion is damaged or fails, the baseline replaces it, so that an issue date always has forecasts. If it cannot be reached,
the job fails and is retried.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from itertools import chain
from typing import Any

import polars as pl

from ruter_dagster.contracts.dates import day_range
from ruter_dagster.contracts.errors import BadInput, NoDataForDates, PermanentFailure
from ruter_dagster.contracts.features import DEPARTURE_FEATURES, LEVELS
from ruter_dagster.contracts.jobs import MODEL_NAME, Forecast
from ruter_dagster.contracts.tables import LOAD_FORECASTS, PLANNED_DEPARTURES, WEATHER_FORECASTS
from ruter_dagster.forecasting.capacity import PLAN_COLUMNS, update_capacities
from ruter_dagster.forecasting.crowding import most_crowded
from ruter_dagster.forecasting.forecast import ModelFailed, forecast
from ruter_dagster.forecasting.model import LoadModel
from ruter_dagster.forecasting.model_rows import HORIZONS, year_ago_issue_dates
from ruter_dagster.forecasting.year_ago import year_ago
from ruter_dagster.jobs.capacity import apply_capacities
from ruter_dagster.jobs.context import JobContext
from ruter_dagster.jobs.model_inputs import load_model
from ruter_dagster.jobs.operator_rules import has_default_seats, thresholds_of
from ruter_dagster.jobs.pipes import days_value, json_value, table
from ruter_dagster.storage.artifacts import ArtifactMissing

log = logging.getLogger("ruter_dagster.jobs")
MOST_CROWDED = 10
"""Number of departures in the metadata table `most_crowded`."""
DAMAGE = (ArtifactMissing, BadInput, ValueError, KeyError, TypeError)
"""Errors of a model whose files are missing or damaged. Its record is JSON, so that a damaged one raises the last three."""


def run(parameters: Forecast, context: JobContext) -> None:
    if parameters.capacities_only:
        apply_capacities(parameters, context)
        return
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
    models = _Models(parameters, context)
    results = {
        day: _forecast_issue_date(day, planned[day], models, context)
        for day in context.track(list(planned), "Forecasting")
    }
    forecasts = pl.concat(frame for result in results.values() for frame in result.frames)
    context.write(
        LOAD_FORECASTS,
        forecasts,
        list(planned),
        dates_absent=days_value(set(parameters.dates) - set(planned)),
        dates_without_plan=days_value(
            {day for issued in planned for day in _horizon(issued)} - {*chain(*planned.values())}
        ),
        **_model_metadata(results),
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


class _Models:
    """The models of the job, each read once."""

    def __init__(self, parameters: Forecast, context: JobContext) -> None:
        self._pinned, self._registry, self._context = parameters.model_version, context.models, context
        self._models: dict[str, LoadModel] = {}

    def of_issue_date(self, issue_date: date) -> tuple[str | None, LoadModel | None]:
        """The pinned version, else the newest champion that knows no date from `issue_date` on; None if there is no champion.

        Raises `ModelFailed` if a champion's files are missing or damaged, and the cause itself if a pinned version's are. Errors
        of the network or of access rights are raised as they are: the step is retried, because the champion may be sound.
        """
        if self._pinned:
            return self._pinned, self._load(self._pinned)
        version = self._registry.newest_champion(MODEL_NAME, issue_date - timedelta(1))
        try:
            return version, self._load(version) if version else None
        except DAMAGE as error:
            raise ModelFailed(f"the champion cannot be read: {error}") from error

    def require_fallback(self, failure: ModelFailed) -> None:
        """Raises `PermanentFailure` if the run asked for one version, because a baseline is not what it asked for."""
        if self._pinned:
            raise PermanentFailure(
                f"Model {self._pinned} failed: {failure}. Nothing was written. Name another version in model_version, or leave "
                "it out to use the champion"
            ) from failure

    def _load(self, version: str) -> LoadModel:
        if version not in self._models:
            self._models[version] = load_model(self._context, version)
        return self._models[version]


@dataclass(frozen=True)
class _ForecastResult:
    """The forecasts of an issue date, one frame per service date, and the model that made them.

    `failure`: why the baseline replaces the model; None if it does not.
    """

    frames: list[pl.DataFrame]
    model_version: str | None = None
    failure: str | None = None


def _forecast_issue_date(
    issue_date: date, days: Sequence[date], models: _Models, context: JobContext
) -> _ForecastResult:
    """The forecasts by the model. If the model fails, all rows of the issue date are the baseline, marked as `fallback`."""
    try:
        version, model = models.of_issue_date(issue_date)
        return _ForecastResult(list(forecasts_of(issue_date, days, context, model, version)), version)
    except ModelFailed as error:
        models.require_fallback(error)
        log.error(
            "Issue date %s: the load model failed: %s. The baseline HA4 replaces it, and every forecast is marked as fallback. "
            "Train a new model (materialise models/load_model to models/champion), or set model_version to a version that "
            "works, then materialise forecasts/load_forecasts of this date again",
            issue_date,
            error,
            exc_info=error,
        )
        frames = list(forecasts_of(issue_date, days, context, model_failed=True))
        return _ForecastResult(frames, failure=str(error))


def _model_metadata(results: Mapping[date, _ForecastResult]) -> dict[str, Any]:
    """The models of the issue dates, and `degraded` with its reason if a model failed."""
    versions = {day: result.model_version for day, result in results.items()}
    failures = {day: result.failure for day, result in results.items() if result.failure}
    used = sorted({version for version in versions.values() if version})
    without = "fallback HA4: the model failed" if failures else "baseline HA4: no champion"
    metadata: dict[str, Any] = {
        "model_version": used[-1] if used else without,
        "model_versions": json_value({day.isoformat(): version for day, version in versions.items()}),
    }
    if failures:
        first = min(failures)
        metadata |= {
            "degraded": True,
            "degraded_reason": f"Issue date {first}: the load model failed: {failures[first]}",
            "degraded_dates": days_value(failures),
        }
    return metadata


def forecasts_of(
    issue_date: date,
    days: Sequence[date],
    context: JobContext,
    model: LoadModel | None = None,
    version: str | None = None,
    *,
    model_failed: bool = False,
) -> Iterator[pl.DataFrame]:
    """Yields the forecasts of one service date at a time, because a model's rows need much memory.

    Seats and places are those of the present plan, because a vehicle may have changed after the features were computed.
    """
    year_ago_dates = year_ago_issue_dates(year_ago(day, context.calendar) for day in days)
    year_ago_levels = context.tables.read(LEVELS, year_ago_dates, missing="skip", verdict="skip")
    levels = pl.concat([context.tables.read(LEVELS, [issue_date]), year_ago_levels])
    weather = context.tables.read(WEATHER_FORECASTS, [issue_date])
    thresholds, default_seats = thresholds_of(context.operator), has_default_seats(context.operator)
    for day in days:
        features = context.tables.read(DEPARTURE_FEATURES, [day])
        plan = context.tables.read(
            PLANNED_DEPARTURES, [day], PLAN_COLUMNS, missing="skip", verdict="skip", ordered=False
        )
        yield forecast(
            update_capacities(features, plan),
            levels,
            weather,
            model,
            issue_date,
            thresholds,
            version,
            has_default_seats=default_seats,
            model_failed=model_failed,
        )
