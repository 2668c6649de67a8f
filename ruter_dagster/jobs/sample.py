"""Draws the training sample of operating dates: departures with features, levels, weather and loads."""

from __future__ import annotations

import polars as pl

from ruter_dagster.contracts.features import DEPARTURE_FEATURES, TRAINING_SAMPLE
from ruter_dagster.contracts.jobs import Sample
from ruter_dagster.contracts.tables import STOP_LOADS
from ruter_dagster.contracts.validation import empty_frame
from ruter_dagster.forecasting.training_sample import training_sample
from ruter_dagster.jobs.context import JobContext
from ruter_dagster.jobs.model_inputs import read_inputs


def run(parameters: Sample, context: JobContext) -> None:
    missing = parameters.missing
    dates = context.tables.versions(STOP_LOADS, parameters.dates, missing=missing)
    dates = list(context.tables.versions(DEPARTURE_FEATURES, dates, missing=missing, verdict="ignore"))
    samples = [
        training_sample(
            inputs.features, inputs.loads, inputs.levels, inputs.weather, parameters.rows, parameters.seed
        )
        for inputs in read_inputs(context, dates)
    ]
    sample = pl.concat([empty_frame(TRAINING_SAMPLE), *samples])
    context.write(
        TRAINING_SAMPLE,
        sample,
        dates,
        departures=float(sample["sample_weight"].sum()),
        share_without_history=(sample["history_count"] == 0).mean(),
    )
