"""The runs that forecast past issue dates again, in a state that was cloned from another one. `orchestration/runs.py` executes them.

By default each issue date has the model of its original forecast, so that only the code differs. A training uses no date that the
oldest issue date did not know.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date, timedelta
from itertools import groupby
from typing import Any

from ruter_dagster.contracts import features
from ruter_dagster.contracts.date_windows import HORIZON_DAYS
from ruter_dagster.contracts.jobs import LOAD_MODEL, asset_of
from ruter_dagster.contracts.tables import FORECAST_PERFORMANCE, LOAD_FORECASTS
from ruter_dagster.orchestration.chain import DEPARTURE_FEATURES, LEVELS, RUNS
from ruter_dagster.orchestration.runs import RunRequest

_FORECASTS, _PERFORMANCE = asset_of(LOAD_FORECASTS.name), asset_of(FORECAST_PERFORMANCE.name)


def forecast_runs(models: Mapping[date, str | None]) -> list[RunRequest]:
    """One run for each span of consecutive issue dates with the same model. `models` has the model version of each issue date."""
    spans: list[list[date]] = []
    for version, days in groupby(sorted(models), key=lambda day: models[day]):
        for day in days:
            if spans and models[spans[-1][-1]] == version and day - spans[-1][-1] == timedelta(1):
                spans[-1].append(day)
            else:
                spans.append([day])
    return [
        RunRequest("forecasting", (_FORECASTS,), tuple(days), _model_config(models[days[0]]))
        for days in spans
    ]


def training_runs(
    issue_dates: Sequence[date], stored: Mapping[str, Sequence[date]], training_days: int
) -> list[RunRequest]:
    """The runs that compute features again and train a model for these issue dates. `stored` has the dates of each table.

    The model is trained on the newest `training_days` samples before the first issue date.
    """
    first, last = min(issue_dates), max(issue_dates)
    samples = [day for day in stored.get(features.TRAINING_SAMPLE.name, ()) if day < first][-training_days:]
    start = min(samples, default=first)
    service_dates = _between(
        stored.get(features.DEPARTURE_FEATURES.name, ()), start, last + timedelta(HORIZON_DAYS)
    )
    levels = _between(stored.get(features.LEVELS.name, ()), start - timedelta(HORIZON_DAYS), last)
    config = _step_config(
        LOAD_MODEL, {"cutoff": str(first - timedelta(1)), "days": (first - start).days or 1}
    )
    dated = [
        RunRequest("plan", DEPARTURE_FEATURES, service_dates),
        RunRequest("forecasting", LEVELS, levels),
        RunRequest("sampling", RUNS["sampling"], _between(samples, start, last)),
    ]
    return [*(run for run in dated if run.dates), RunRequest("training", (LOAD_MODEL,), config=config)]


def monitoring_runs(issue_dates: Sequence[date], counted: Sequence[date]) -> list[RunRequest]:
    """The run that measures performance and drift of the new forecasts, on the issue dates that have counts by now."""
    dates = _between(counted, min(issue_dates), max(issue_dates))
    # The clone's performance of old dates is that of the original forecasts, and final.
    config = _step_config(_PERFORMANCE, {"force": True})
    return [RunRequest("monitoring", RUNS["monitoring"], dates, config)] if dates else []


def _between(days: Sequence[date], first: date, last: date) -> tuple[date, ...]:
    return tuple(day for day in days if first <= day <= last)


def _model_config(version: str | None) -> dict[str, Any]:
    return _step_config(_FORECASTS, {"model_version": version}) if version else {}


def _step_config(asset: str, values: Mapping[str, Any]) -> dict[str, Any]:
    return {"ops": {asset.replace("/", "__"): {"config": dict(values)}}}
