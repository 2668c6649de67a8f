"""Training of the load model from rows with known loads. The model itself belongs in model.py, LightGBM in boosting.py."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from ruter_dagster.contracts.errors import BadInput
from ruter_dagster.forecasting.boosting import (
    LOSSES,
    ROOT,
    Matrix,
    ModelParameters,
    Progress,
    feature_matrix,
    ignore_progress,
    predict_raw,
    predict_spread,
    spread_features,
    train_means,
    train_quantiles,
)
from ruter_dagster.forecasting.model import (
    HA4_RATIO,
    LoadModel,
    correction_share,
    log_base_load,
    squared_root,
)
from ruter_dagster.forecasting.model_rows import CATEGORIES, NUMBERS
from ruter_dagster.forecasting.prediction_intervals import (
    Numbers,
    Tail,
    fitting_factor,
    from_root,
    measured_tail,
    to_root,
    widened,
)
from ruter_dagster.forecasting.readiness import trust_by_dates

if TYPE_CHECKING:
    import lightgbm

TRAINING_COLUMNS = tuple(
    dict.fromkeys(
        ("service_date", "trip_id", "stop_sequence", "load", "weight", "sample_weight", *NUMBERS, *CATEGORIES)
    )
)
"""The columns that `train` reads."""
_MIN_ROWS = 200
_MIN_DATES_TO_PROVE_TRUST = 28
_TRIED_SHARES = np.linspace(0.0, 1.0, 11)
_BLOCK_DATES = 14
_PARTS = 2
_RESIDUAL_RATIO = 0.96
"""Residuals of a model of all dates, over residuals of a model of half of the dates."""
_MAX_LINE_ROWS = 200_000
"""At most this many training rows fit the line from squared roots to loads."""


def train(
    rows: pl.DataFrame, parameters: ModelParameters | None = None, progress: Progress = ignore_progress
) -> LoadModel:
    """Trains a model on model rows with `load`, `weight` and `sample_weight` (training_sample.py).

    The spread is learned around means that have not seen the date: two Poisson models each learn every other fortnight and
    forecast the others. Every other date trains the spread; the rest calibrate its width and its tail. The mean that is
    kept has seen every row.

    Raises `BadInput` if there are fewer than 200 rows or 2 dates.
    """
    parameters = parameters or ModelParameters()
    # `rows` is rebound so that the caller's frame can be freed: memory must hold millions of rows only once (goal: training, 4 GiB).
    rows = rows.select(TRAINING_COLUMNS).filter(pl.col("weight") > 0)
    # A row and its copies with a shortened history share their key. Sorted, the order of the dates does not matter.
    rows = rows.sort("service_date", "trip_id", "stop_sequence", maintain_order=True)
    _require_enough(rows)
    categories = {name: rows[name].unique().sort().to_list() for name in CATEGORIES}
    matrix = feature_matrix(rows, categories)
    weight = pl.col("weight") * pl.col("sample_weight")
    rows = rows.select(
        "service_date", "load", "expected", "tier", HA4_RATIO, weight=weight / pl.col("sample_weight").mean()
    )
    trust = _model_trust(rows, matrix, parameters, progress)
    spread, factor, tail = _train_spread(rows, matrix, parameters, trust, progress)
    means = train_means(rows, matrix, parameters, tuple(LOSSES), "mean", progress)
    root_line = _fit_root_line(rows, matrix, means[ROOT], trust)
    return LoadModel(parameters, means, root_line, spread, factor, tail, categories, trust)


def _require_enough(rows: pl.DataFrame) -> None:
    dates = rows["service_date"].n_unique()
    if rows.height < _MIN_ROWS or dates < 2:
        raise BadInput(
            f"{rows.height} training rows of {dates} operating dates are too few for a load model (at least {_MIN_ROWS} rows "
            "with a weight, of 2 dates); train on more operating dates"
        )


def _train_spread(
    rows: pl.DataFrame,
    matrix: Matrix | Numbers,
    parameters: ModelParameters,
    trust: float,
    progress: Progress,
) -> tuple[tuple[lightgbm.Booster, ...], float, Tail]:
    """The quantile models, the factor that gives them their coverage, and the tail, all around held-out means."""
    dates = rows["service_date"].unique().sort().to_list()
    mean = _held_out_mean(rows, matrix, dates, parameters, trust, progress)
    # Split by whole dates, because rows of one date share its deviations, which a model must not learn as known.
    trained = rows["service_date"].is_in(dates[::2]).to_numpy()
    weight, features = rows["weight"].to_numpy(), spread_features(matrix, mean)
    residual = _RESIDUAL_RATIO * (to_root(rows["load"].to_numpy()) - to_root(mean))
    load = from_root(to_root(mean) + residual)
    boosters = train_quantiles(features[trained], residual[trained], weight[trained], parameters, progress)
    rest = ~trained
    load, mean, weight, spread = (
        load[rest],
        mean[rest],
        weight[rest],
        predict_spread(boosters, features[rest]),
    )
    factor = fitting_factor(load, mean, spread, parameters.coverage, weight)
    return boosters, factor, measured_tail(load, mean, widened(spread, factor), weight)


def _held_out_mean(
    rows: pl.DataFrame,
    matrix: Matrix | Numbers,
    dates: Sequence[date],
    parameters: ModelParameters,
    trust: float,
    progress: Progress,
) -> Numbers:
    """The Poisson mean of every row, by trees that have not seen its date. Each part of the dates is held out in turn."""
    mean, log_base, share = np.empty(rows.height), log_base_load(rows, trust), correction_share(rows, trust)
    block = max(1, min(_BLOCK_DATES, len(dates) // 2))
    blocks = [dates[start : start + block] for start in range(0, len(dates), block)]
    parts = min(_PARTS, len(blocks))
    for first in range(parts):
        held_out_dates = [day for block in blocks[first::parts] for day in block]
        held_out = rows["service_date"].is_in(held_out_dates).to_numpy()
        step = f"held-out mean {first + 1} of {parts}"
        booster = _train_poisson(rows.filter(~held_out), matrix[~held_out], parameters, step, progress)
        raw = predict_raw(booster, matrix[held_out])
        mean[held_out] = np.exp(share[held_out] * raw + log_base[held_out])
    return mean


def _train_poisson(
    rows: pl.DataFrame, matrix: Matrix | Numbers, parameters: ModelParameters, step: str, progress: Progress
) -> lightgbm.Booster:
    return train_means(rows, matrix, parameters, ["poisson"], step, progress)["poisson"]


def _model_trust(
    rows: pl.DataFrame, matrix: Matrix | Numbers, parameters: ModelParameters, progress: Progress
) -> float:
    """The share of the trees' correction that the model makes: by the number of dates, or more if held-out weeks prove it.

    With few dates, trees of the older half forecast the third quarter, and trees of the older three quarters the last one.
    The week that needed the smallest share decides, so that a passing change is not taken for a rule.
    """
    dates = rows["service_date"].unique().sort().to_list()
    by_dates = trust_by_dates(len(dates))
    if by_dates >= 1 or len(dates) < _MIN_DATES_TO_PROVE_TRUST:
        return by_dates
    half, quarter = len(dates) // 2, 3 * len(dates) // 4
    spans = (dates[half:quarter], dates[quarter:])
    proven = min(share for span in spans for share in _best_shares(rows, matrix, span, parameters, progress))
    return max(by_dates, proven)


def _best_shares(
    rows: pl.DataFrame,
    matrix: Matrix | Numbers,
    span: Sequence[date],
    parameters: ModelParameters,
    progress: Progress,
) -> list[float]:
    """For each week of the span, the share of the correction with the smallest error. The trees know all dates before it."""
    before = (rows["service_date"] < span[0]).to_numpy()
    within = rows["service_date"].is_in(list(span)).to_numpy()
    step = f"trust, from {span[0]}"
    booster = _train_poisson(rows.filter(before), matrix[before], parameters, step, progress)
    in_span, load = rows.filter(within), rows.filter(within)["load"].to_numpy()
    weeks = ((in_span["service_date"] - span[0]).dt.total_days() // 7).to_numpy()
    raw = predict_raw(booster, matrix[within])
    errors = np.stack(
        [np.abs(np.exp(share * raw + log_base_load(in_span, share)) - load) for share in _TRIED_SHARES],
        axis=1,
    )
    errors *= in_span["weight"].to_numpy()[:, None]
    return [float(_TRIED_SHARES[errors[weeks == week].sum(axis=0).argmin()]) for week in np.unique(weeks)]


def _fit_root_line(
    rows: pl.DataFrame, matrix: Matrix | Numbers, booster: lightgbm.Booster, trust: float
) -> tuple[float, float]:
    """Constant and factor that make a mean load from a predicted root's square.

    The mean of squares exceeds the square of the mean root by the variance, which grows with the load. Least squares on
    at most `_MAX_LINE_ROWS` training rows; fuller rows count less, as they spread more.
    """
    step = slice(None, None, -(-rows.height // _MAX_LINE_ROWS))
    fitted = rows[step]
    raw = predict_raw(booster, matrix[step])
    square = squared_root(correction_share(fitted, trust) * raw, log_base_load(fitted, trust))
    scale = np.sqrt(fitted["weight"].to_numpy() / (1 + square))
    design = np.column_stack([np.ones_like(square), square]) * scale[:, None]
    constant, factor = np.linalg.lstsq(design, fitted["load"].to_numpy() * scale)[0]
    return float(constant), float(factor)
