"""Functions that the model jobs share: they read model inputs, load a version and require its release gate."""

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
    """The tables of one operating date that model rows are made from. `loads` has the columns `model_rows.TRUTH`."""

    features: pl.DataFrame
    loads: pl.DataFrame
    levels: pl.DataFrame
    weather: pl.DataFrame

    def rows(self, horizons: Sequence[int] = HORIZONS) -> pl.DataFrame:
        """Model rows with their loads: one row for each departure, with one of `horizons`."""
        return training_rows(self.features, self.loads, self.levels, self.weather, horizons)


def read_inputs(
    context: JobContext, dates: Sequence[date], max_departures: int | None = None, seed: int = 0
) -> Iterator[ModelInputs]:
    """Yields the inputs of one date at a time. Dates that are missing or have no passed verdict are skipped.

    More than `max_departures` departures are sampled evenly with `seed`.
    """
    present = list(context.tables.versions(DEPARTURE_FEATURES, dates, missing="skip", verdict="skip"))
    departures = sum(context.tables.snapshot(DEPARTURE_FEATURES).rows_by_date(present).values())
    share = max_departures / max(1, departures) if max_departures else 1.0
    levels, weather = _Window(LEVELS, context), _Window(WEATHER_FORECASTS, context)
    for day in context.track(present, "Departures read"):
        issued = day_range(day - timedelta(max(HORIZONS)), day)
        year_ago_dates = year_ago_issue_dates([year_ago(day, context.calendar)])
        yield ModelInputs(
            features=sampled(context.tables.read(DEPARTURE_FEATURES, [day]), share, seed),
            loads=context.tables.read(STOP_LOADS, [day], TRUTH, missing="skip", verdict="skip"),
            levels=levels.read([*year_ago_dates, *issued]),
            weather=weather.read(issued),
        )


class _Window:
    """Reads some dates of a table at a time, and keeps the dates of the last read in memory."""

    def __init__(self, table: Table, context: JobContext) -> None:
        self._table, self._context = table, context
        self._frames: dict[date, pl.DataFrame] = {}

    def read(self, dates: Sequence[date]) -> pl.DataFrame:
        self._frames = {
            day: self._frames[day] if day in self._frames else self._read_date(day) for day in dates
        }
        return pl.concat(self._frames.values())

    def _read_date(self, day: date) -> pl.DataFrame:
        return self._context.tables.read(self._table, [day], missing="skip", verdict="skip")


def load_model(context: JobContext, version: str) -> LoadModel:
    record = context.models.load(MODEL_NAME, version)
    return LoadModel.from_bytes(context.models.file(record, MODEL_FILE))


def require_passed(record: ModelRecord, context: JobContext) -> dict[str, float | None]:
    """The scores with which a version passed the release gate. Raises `PermanentFailure` if it did not pass."""
    verdict = json.loads(context.models.files(record).get(EVALUATION_FILE, b"{}"))
    if verdict.get("passed"):
        return verdict["scores"]
    failed = ", ".join(verdict.get("failed", ())) or "it was never evaluated"
    raise PermanentFailure(
        f"Model {record.version} did not pass the release gate ({failed}) and does not become champion; the present "
        f"champion stays. Look at {EVALUATION}, then train again with other parameters or more dates."
    )
