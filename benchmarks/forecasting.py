"""Forecasting compared with LightGBM's predict alone: `python -m benchmarks.forecasting --state FOLDER`.

The folder is that of `benchmarks.season`. Measured on the newest issue date: reading, the forecast as in the job, and the
boosters' `predict` alone on finished matrices.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

import numpy as np

from benchmarks.state import parsed_settings
from ruter_dagster.contracts.container import Container
from ruter_dagster.contracts.features import DEPARTURE_FEATURES, LEVELS
from ruter_dagster.contracts.jobs import MODEL_NAME, Forecast
from ruter_dagster.contracts.tables import LOAD_FORECASTS, WEATHER_FORECASTS
from ruter_dagster.forecasting.boosting import feature_matrix, spread_features
from ruter_dagster.forecasting.forecast import forecast
from ruter_dagster.forecasting.model_rows import model_rows
from ruter_dagster.forecasting.occupancy import OccupancyThresholds
from ruter_dagster.jobs.context import JobContext
from ruter_dagster.jobs.model_inputs import load_model
from ruter_dagster.jobs.pipes import Reporter

SECONDS: dict[str, float] = {}


def main() -> None:
    settings = parsed_settings(__doc__)
    context = JobContext(settings, Forecast(dates=()), Container(settings.source_dir), Reporter(None))
    store = context.store
    issue_date = store.dates(LOAD_FORECASTS)[-1]
    version = context.models.newest_champion(MODEL_NAME, issue_date - timedelta(1))
    if version is None:
        raise SystemExit(f"There is no champion in {settings.source_dir}; run benchmarks.season first")
    model, forecast_rows = load_model(context, version), 0
    levels, weather = store.read(LEVELS, [issue_date]), store.read(WEATHER_FORECASTS, [issue_date])
    for ahead in range(4):
        with timed("read features"):
            features = store.read(DEPARTURE_FEATURES, [issue_date + timedelta(ahead)])
        with timed("forecast"):
            forecasts = forecast(features, levels, weather, model, issue_date, OccupancyThresholds(), version)
        rows = model_rows(features, levels, weather, issue_date)
        matrix = np.ascontiguousarray(feature_matrix(rows, model.categories))
        spread = spread_features(matrix, forecasts["mean"].to_numpy())
        with timed("LightGBM's predict alone"):
            for booster in model.means.values():
                booster.predict(matrix, raw_score=True)
            for booster in model.spread:
                booster.predict(spread)
        forecast_rows += forecasts.height
    predict_seconds = SECONDS["LightGBM's predict alone"]
    print(f"{forecast_rows:,} forecasts of {issue_date}")
    for name, seconds in SECONDS.items():
        print(f"{seconds:8.1f} s  {seconds / predict_seconds:5.2f}  {name}")


@contextmanager
def timed(name: str) -> Iterator[None]:
    started = time.perf_counter()
    yield
    SECONDS[name] = SECONDS.get(name, 0.0) + time.perf_counter() - started


if __name__ == "__main__":
    main()
