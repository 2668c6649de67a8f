"""Training on the newest dates of the training sample, in backtests and in production."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date, timedelta

import polars as pl

from ruter_dagster.forecasting.boosting import ModelParameters, Progress, ignore_progress
from ruter_dagster.forecasting.model import LoadModel
from ruter_dagster.forecasting.model_rows import with_model_columns
from ruter_dagster.forecasting.model_training import TRAINING_COLUMNS, train
from ruter_dagster.forecasting.shortened_history import with_shortened_copies
from ruter_dagster.forecasting.tiers import has_basis

TRAINING_DAYS = 400
"""Number of newest operating dates that a model is trained on: a year, and five weeks around the same day a year before."""


def training_dates(newest: date, days: int = TRAINING_DAYS) -> list[date]:
    """The operating dates that a training up to `newest` reads, if they exist."""
    return [newest - timedelta(ago) for ago in reversed(range(days))]


def train_on(
    samples: Iterable[pl.DataFrame], parameters: ModelParameters, progress: Progress = ignore_progress
) -> LoadModel:
    """A model of training samples (contract `features.training_sample`), each of some dates.

    `progress` is called after each tree.
    Rows are 32-bit numbers: two million of them take 0.6 GB. Raises `BadInput` if there are too few.
    """
    # Not bound to a name, so that `train` can free it: millions of rows are held once.
    return train(pl.concat(rows_for_training(sample, parameters) for sample in samples), parameters, progress)


def rows_for_training(sample: pl.DataFrame, parameters: ModelParameters) -> pl.DataFrame:
    """`TRAINING_COLUMNS` of a sample's rows and of their copies with a shorter history.

    Rows without an expected load teach only that nothing was known, and are left out.
    """
    known = sample.filter(has_basis())
    both = with_shortened_copies(known, parameters.shortened_share, parameters.seed)
    # The copies come after the rows.
    is_copy = pl.int_range(pl.len()) >= known.height
    lighter = pl.when(is_copy).then(parameters.shortened_weight).otherwise(1.0)
    rows = with_model_columns(both.with_columns(pl.col("weight") * lighter))
    return rows.select(TRAINING_COLUMNS).with_columns(
        pl.col(pl.Float64).exclude("expected", "load").cast(pl.Float32)
    )
