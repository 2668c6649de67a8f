"""Functions that the training jobs share: they read the training sample, save a version and report it."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from datetime import date
from time import monotonic

import polars as pl

from ruter_dagster.contracts.errors import PermanentFailure
from ruter_dagster.contracts.features import TRAINING_SAMPLE
from ruter_dagster.contracts.jobs import MIN_TRAINING_DATES, MODEL_NAME, asset_of
from ruter_dagster.forecasting.boosting import ModelParameters
from ruter_dagster.forecasting.model_rows import CATEGORIES, NUMBERS
from ruter_dagster.forecasting.training import train_on
from ruter_dagster.jobs.context import JobContext
from ruter_dagster.jobs.model_inputs import MODEL_FILE, load_model
from ruter_dagster.jobs.pipes import link
from ruter_dagster.jobs.plots import importance
from ruter_dagster.storage.registry import ModelRecord, model_version

log = logging.getLogger("ruter_dagster.jobs")

_BATCH_DATES = 28
"""Number of dates of the sample that are read at once."""
_LOG_SECONDS = 5.0
"""Shortest time between two log lines of one booster."""


def newest_sample(context: JobContext) -> date:
    """The newest operating date of the training sample. Raises `PermanentFailure` if the sample is empty."""
    dates = context.tables.snapshot(TRAINING_SAMPLE).dates()
    if not dates:
        raise PermanentFailure(
            f"The training sample is empty. Materialise {asset_of(TRAINING_SAMPLE.name)} first"
        )
    return dates[-1]


def train_version(
    dates: Sequence[date],
    parameters: ModelParameters,
    code_version: str,
    context: JobContext,
    evaluated_version: str | None = None,
) -> ModelRecord:
    """The model version of the training sample on those of `dates` that it has. Trains it if it is not saved already.

    Raises `PermanentFailure` if the sample has fewer than 14 of the dates, `BadInput` if it has too few rows.
    """
    sample = context.tables.snapshot(TRAINING_SAMPLE).versions(dates)
    if len(sample) < MIN_TRAINING_DATES:
        raise PermanentFailure(
            f"{asset_of(TRAINING_SAMPLE.name)} has {len(sample)} of the operating dates from {dates[0]} to {dates[-1]}; a training "
            f"needs {MIN_TRAINING_DATES}. Materialise it for the dates that have loads and departure features, then train again"
        )
    context.tables.record(TRAINING_SAMPLE, sample)
    used = {table: used["dates"] for table, used in context.tables.used.items()}
    version = model_version(used, asdict(parameters), code_version)
    if context.models.exists(MODEL_NAME, version):
        record = context.models.load(MODEL_NAME, version)
        record = replace(record, evaluated_version=evaluated_version or record.evaluated_version)
        context.models.save(record, {})
        return record
    record = ModelRecord(
        name=MODEL_NAME,
        version=version,
        training_cutoff=max(sample),
        parameters=asdict(parameters),
        code_version=code_version,
        inputs=context.tables.used,
        features=(*NUMBERS, *CATEGORIES),
        metrics={"rows": sum(context.tables.snapshot(TRAINING_SAMPLE).rows_by_date(sample).values())},
        evaluated_version=evaluated_version,
    )
    model = train_on(_samples(list(sample), context), parameters, TrainingLog())
    context.models.save(record, {MODEL_FILE: model.to_bytes()})
    return record


def _samples(dates: Sequence[date], context: JobContext) -> Iterator[pl.DataFrame]:
    blocks = [dates[start : start + _BATCH_DATES] for start in range(0, len(dates), _BATCH_DATES)]
    for block in context.track(blocks, f"Reading the training sample, {_BATCH_DATES} dates at a time"):
        yield context.tables.read(TRAINING_SAMPLE, block, verdict="ignore")


class TrainingLog:
    """Logs how far a training is, with the elapsed time: the first tree of each booster, and then once in `_LOG_SECONDS`."""

    def __init__(self) -> None:
        self._started = self._logged = monotonic()
        self._booster = ""

    def __call__(self, booster: str, trees: int, total: int) -> None:
        now = monotonic()
        if booster != self._booster or now - self._logged >= _LOG_SECONDS:
            self._booster, self._logged = booster, now
            log.info("Training (%s): %d of %d trees, %.0f s", booster, trees, total, now - self._started)


def report_model(asset: str, record: ModelRecord, context: JobContext) -> None:
    """Reports a version as a materialisation of `asset`, and records it in MLflow."""
    context.models.set_newest(record)
    files = context.models.uri(MODEL_NAME, record.version)
    plot = importance(load_model(context, record.version).importance())
    run_id = context.experiments.record_training(record, files, {"plots/importance.png": plot.png})
    context.report.materialised(
        asset,
        version=record.version,
        model_version=record.version,
        evaluated_version=record.evaluated_version,
        training_cutoff=record.training_cutoff.isoformat(),
        training_dates=len(record.inputs[TRAINING_SAMPLE.name]["dates"]),
        training_rows=int(record.metrics["rows"]),
        mlflow_run=run_id,
        files=link(files),
        importance=plot.markdown(),
        **context.provenance(),
    )
