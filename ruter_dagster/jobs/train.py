"""Trains a load model: a candidate, kept with everything that it takes to train it again."""

from __future__ import annotations

from dataclasses import asdict
from datetime import date, timedelta

import polars as pl

from ruter_dagster.contracts.errors import PermanentFailure
from ruter_dagster.contracts.features import DEPARTURE_FEATURES
from ruter_dagster.contracts.jobs import LOAD_MODEL, MODEL_NAME, Train, asset_of
from ruter_dagster.contracts.tables import STOP_LOADS
from ruter_dagster.forecasting.model import TRAINING_COLUMNS, ModelParameters, train
from ruter_dagster.forecasting.rows import CATEGORIES, NUMBERS
from ruter_dagster.jobs.context import JobContext, day_range
from ruter_dagster.jobs.models import MODEL_FILE, load_model, read_inputs
from ruter_dagster.jobs.pictures import importance
from ruter_dagster.jobs.pipes import link
from ruter_dagster.storage.registry import ModelRecord, model_version


def run(parameters: Train, context: JobContext) -> None:
    cutoff = parameters.cutoff or _newest(context) - timedelta(parameters.held_out)
    chosen = _parameters(parameters)
    dates = day_range(cutoff - timedelta(parameters.days - 1), cutoff)
    frames = [
        inputs.rows().select(TRAINING_COLUMNS)
        for inputs in read_inputs(context, dates, chosen.most_rows, chosen.seed)
    ]
    if not frames:
        raise PermanentFailure(
            f"There is nothing to train on from {dates[0]} to {dates[-1]}: materialise {asset_of(DEPARTURE_FEATURES.name)} "
            "and its quality report first"
        )
    used = {table: noted["dates"] for table, noted in context.inputs.items()}
    version = model_version(used, asdict(chosen), parameters.code_version)
    if not context.models.exists(MODEL_NAME, version):
        record = ModelRecord(
            name=MODEL_NAME,
            version=version,
            training_cutoff=cutoff,
            parameters=asdict(chosen),
            code_version=parameters.code_version,
            inputs=context.inputs,
            features=(*NUMBERS, *CATEGORIES),
            metrics={"rows": sum(frame.height for frame in frames)},
        )
        context.models.save(record, {MODEL_FILE: train(_taken(frames), chosen).to_bytes()})
    _tell(version, context)


def _taken(frames: list[pl.DataFrame]) -> pl.DataFrame:
    """The frames as one, held by nobody else."""
    rows = pl.concat(frames)
    frames.clear()
    return rows


def _newest(context: JobContext) -> date:
    dates = context.snapshot(STOP_LOADS).dates()
    if not dates:
        raise PermanentFailure(f"There is nothing to train on: materialise {asset_of(STOP_LOADS.name)} first")
    return dates[-1]


def _parameters(parameters: Train) -> ModelParameters:
    known = asdict(ModelParameters())
    unknown = sorted(set(parameters.parameters) - set(known))
    if unknown:
        raise PermanentFailure(
            f"Model parameters {', '.join(unknown)} are unknown; there are: {', '.join(known)}"
        )
    given = {name: type(known[name])(value) for name, value in parameters.parameters.items()}
    return ModelParameters(**given)


def _tell(version: str, context: JobContext) -> None:
    record = context.models.load(MODEL_NAME, version)
    context.models.note_trained(record)
    run_id = context.experiments.record_training(record, context.models.uri(MODEL_NAME, version))
    context.report.materialised(
        LOAD_MODEL,
        version=version,
        model_version=version,
        training_cutoff=record.training_cutoff.isoformat(),
        training_rows=int(record.metrics["rows"]),
        mlflow_run=run_id,
        files=link(context.models.uri(MODEL_NAME, version)),
        importance=importance(load_model(context, version).importance()),
        **context.provenance(),
    )
