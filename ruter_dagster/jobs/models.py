"""What the jobs of models share: reading training data, loading a version, thresholds. No job of its own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta

import polars as pl

from ruter_dagster.contracts.features import DEPARTURE_FEATURES, LEVELS
from ruter_dagster.contracts.jobs import MODEL_NAME
from ruter_dagster.contracts.tables import STOP_LOADS, WEATHER_FORECASTS
from ruter_dagster.forecasting.model import LoadModel
from ruter_dagster.forecasting.rows import training_rows
from ruter_dagster.jobs.context import JobContext, day_range

HORIZONS = (0, 1, 2, 3)
MODEL_FILE = "model.json.txt"
EVALUATION_FILE = "evaluation.json"


@dataclass(frozen=True)
class ModelInputs:
    """Everything known of some operating dates, each table of contract."""

    features: pl.DataFrame
    loads: pl.DataFrame
    levels: pl.DataFrame
    weather: pl.DataFrame

    def rows(self, horizons: Sequence[int] = HORIZONS) -> pl.DataFrame:
        """Model rows with their truth, each departure as of one of `horizons`."""
        return training_rows(self.features, self.loads, self.levels, self.weather, horizons)


def read_inputs(context: JobContext, dates: Sequence[date]) -> ModelInputs:
    """Features and loads of the dates, levels and weather as of each horizon; dates that are absent or refused are left out."""
    issued = day_range(dates[0] - timedelta(max(HORIZONS)), dates[-1])
    return ModelInputs(
        features=context.read_history(DEPARTURE_FEATURES, dates),
        loads=context.read_history(STOP_LOADS, dates),
        levels=context.read_history(LEVELS, issued),
        weather=context.read_history(WEATHER_FORECASTS, issued),
    )


def load_model(context: JobContext, version: str) -> LoadModel:
    record = context.models.load(MODEL_NAME, version)
    return LoadModel.from_bytes(context.models.file(record, MODEL_FILE))
