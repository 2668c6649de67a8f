"""Trains a load model and saves it with everything that is needed to train it again."""

from __future__ import annotations

from dataclasses import asdict
from datetime import timedelta

from ruter_dagster.contracts.errors import PermanentFailure
from ruter_dagster.contracts.jobs import LOAD_MODEL, MIN_COUNTED_DATES, Train, asset_of
from ruter_dagster.contracts.tables import STOP_LOADS
from ruter_dagster.forecasting.boosting import ModelParameters
from ruter_dagster.forecasting.training import training_dates
from ruter_dagster.jobs.context import JobContext
from ruter_dagster.jobs.training import newest_sample, report_model, train_version


def run(parameters: Train, context: JobContext) -> None:
    _require_dates(context)
    cutoff = parameters.cutoff or newest_sample(context) - timedelta(parameters.held_out)
    record = train_version(
        training_dates(cutoff, parameters.days),
        model_parameters(parameters),
        parameters.code_version,
        context,
    )
    report_model(LOAD_MODEL, record, context)


def _require_dates(context: JobContext) -> None:
    counted = context.tables.snapshot(STOP_LOADS).dates()
    if len(counted) < MIN_COUNTED_DATES:
        raise PermanentFailure(
            f"{asset_of(STOP_LOADS.name)} has {len(counted)} operating dates; a model needs {MIN_COUNTED_DATES}. Until then "
            "no model is trained, and the baseline HA4 forecasts"
        )


def model_parameters(parameters: Train) -> ModelParameters:
    """The training's model parameters. Raises `PermanentFailure` if a name is unknown."""
    known = asdict(ModelParameters())
    unknown = sorted(set(parameters.parameters) - set(known))
    if unknown:
        raise PermanentFailure(
            f"Unknown model parameters: {', '.join(unknown)}. Known ones: {', '.join(known)}"
        )
    values = {name: type(known[name])(value) for name, value in parameters.parameters.items()}
    return ModelParameters(**values)
