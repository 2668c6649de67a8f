"""What the jobs of models share: reading training data, loading a version, thresholds. No job of its own."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date, timedelta

import polars as pl

from ruter_dagster.contracts.dates import day_range
from ruter_dagster.contracts.errors import PermanentFailure
from ruter_dagster.contracts.features import DEPARTURE_FEATURES, LEVELS
from ruter_dagster.contracts.jobs import EVALUATION, MODEL_NAME
from ruter_dagster.contracts.tables import STOP_LOADS, WEATHER_FORECASTS, Table
from ruter_dagster.forecasting.model import LoadModel
from ruter_dagster.forecasting.model_rows import HORIZONS, TRUTH, sampled, training_rows, year_ago_issue_dates
from ruter_dagster.forecasting.year_ago import year_ago
from ruter_dagster.jobs.context import JobContext
from ruter_dagster.storage.registry import ModelRecord

MODEL_FILE = "model.json.txt"
EVALUATION_FILE = "evaluation.json"


@dataclass(frozen=True)
class ModelInputs:
    """Everything known of an operating date, each table of contract (loads: `rows.TRUTH`)."""

    features: pl.DataFrame
    loads: pl.DataFrame
    levels: pl.DataFrame
    weather: pl.DataFrame

    def rows(self, horizons: Sequence[int] = HORIZONS) -> pl.DataFrame:
        """Model rows with their truth, each departure as of one of `horizons`."""
        return training_rows(self.features, self.loads, self.levels, self.weather, horizons)


def read_inputs(
    context: JobContext, dates: Sequence[date], most: int | None = None, seed: int = 0
) -> Iterator[ModelInputs]:
    """Of each date its features and loads, levels and weather as of each horizon; dates that are absent or refused are left out.

    Of more than `most` departures an even sample is kept, which `seed` draws: memory holds a date at a time, at any size.
    """
    known = list(context.tables.versions(DEPARTURE_FEATURES, dates, missing="skip", verdict="skip"))
    departures = sum(context.tables.snapshot(DEPARTURE_FEATURES).rows_by_date(known).values())
    share = most / max(1, departures) if most else 1.0
    levels, weather = _Window(LEVELS, context), _Window(WEATHER_FORECASTS, context)
    for day in context.track(known, "Departures read"):
        issued = day_range(day - timedelta(max(HORIZONS)), day)
        known_then = year_ago_issue_dates([year_ago(day, context.calendar)])
        yield ModelInputs(
            features=sampled(context.tables.read(DEPARTURE_FEATURES, [day]), share, seed),
            loads=context.tables.read(STOP_LOADS, [day], TRUTH, missing="skip", verdict="skip"),
            levels=levels.read([*known_then, *issued]),
            weather=weather.read(issued),
        )


class _Window:
    """Some issue dates of a table at a time: those that were asked for last are not read again."""

    def __init__(self, table: Table, context: JobContext) -> None:
        self._table, self._context = table, context
        self._held: dict[date, pl.DataFrame] = {}

    def read(self, dates: Sequence[date]) -> pl.DataFrame:
        self._held = {day: self._held[day] if day in self._held else self._read_date(day) for day in dates}
        return pl.concat(self._held.values())

    def _read_date(self, day: date) -> pl.DataFrame:
        return self._context.tables.read(self._table, [day], missing="skip", verdict="skip")


def load_model(context: JobContext, version: str) -> LoadModel:
    record = context.models.load(MODEL_NAME, version)
    return LoadModel.from_bytes(context.models.file(record, MODEL_FILE))


def require_passed(record: ModelRecord, context: JobContext) -> dict[str, float | None]:
    """The scores with which a version passed the release gate; raises PermanentFailure where it did not."""
    verdict = json.loads(context.models.files(record).get(EVALUATION_FILE, b"{}"))
    if verdict.get("passed"):
        return verdict["scores"]
    failed = ", ".join(verdict.get("failed", ())) or "it was never evaluated"
    raise PermanentFailure(
        f"Model {record.version} did not pass the release gate ({failed}) and does not become champion; the former "
        f"champion stands. Look at {EVALUATION}, then train again with other parameters or more dates."
    )
