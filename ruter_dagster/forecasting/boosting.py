"""LightGBM for the load model: parameters, feature matrices, datasets and boosters. Combining the boosters belongs in model.py."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ruter_dagster.contracts.errors import BadInput
from ruter_dagster.forecasting.model_rows import CATEGORIES, NUMBERS, SMOOTHING_LOAD
from ruter_dagster.forecasting.prediction_intervals import QUANTILES, Numbers, to_root

if TYPE_CHECKING:
    import lightgbm

Matrix = NDArray[np.float32]
Progress = Callable[[str, int, int], None]
"""Called after each tree, with the name of its booster, the booster's trees so far, and the number it will have."""
ROOT = "root"
LOSSES: dict[str, dict[str, Any]] = {
    "poisson": {"objective": "poisson"},
    "tweedie": {"objective": "tweedie", "tweedie_variance_power": 1.3},
    ROOT: {"objective": "l2"},
}
"""The three models of the mean: two learn its logarithm, one its square root. The forecast is their average."""
SPREAD_NUMBERS = (
    "usual_deviation", "expected", "slot_hour", "weekday", "public_holiday", "public_holidays_nearby", "school_holiday",
    "school_holiday_last_week", "school_holiday_weeks", "events", "journey_position", "departures_in_slot", "history_count",
    "horizon_days", "tier",
)  # fmt: skip
"""The features of the spread, beside the mean itself and the mode."""
_SPREAD_LEARNING_RATE = 0.2
_ROWS_PER_THREAD = 50_000
_ROWS_PER_BLOCK = 1024
"""Rows that are copied at once from columns. Their features fit into a core's cache."""


@dataclass(frozen=True)
class ModelParameters:
    """How a model is trained. docs/decisions/load-model.md explains the defaults."""

    trees: int = 64
    """Trees of each of the three models of the mean."""
    leaves: int = 31
    learning_rate: float = 0.1
    fewest_rows_in_leaf: int = 60
    share_of_features: float = 0.6
    share_of_rows: float = 0.7
    l2: float = 5.0
    bins: int = 63
    spread_trees: int = 30
    spread_leaves: int = 7
    shortened_share: float = 0.4
    """Copies with an artificially shortened history, as a share of the rows (shortened_history.py)."""
    shortened_weight: float = 0.2
    """Weight of such a copy. An original row has weight 1, so that established departures lead."""
    coverage: float = 0.8
    seed: int = 1
    threads: int = 2


def feature_matrix(rows: pl.DataFrame, categories: dict[str, list[str]]) -> Matrix:
    """Features as numbers, shape (rows, features). A category is its index in `categories`, NaN if unknown.

    Raises `BadInput` if a feature is missing.
    """
    if missing := [name for name in (*NUMBERS, *CATEGORIES) if name not in rows.columns]:
        raise BadInput(
            f"Model rows lack the columns {', '.join(missing)}; make the rows with forecasting.model_rows.model_rows"
        )
    codes = (rows[name].cast(pl.Enum(categories[name]), strict=False).to_physical() for name in CATEGORIES)
    # Filled column by column, because casting a frame of several chunks takes twice as long (goal: forecasting).
    matrix = np.empty((len(NUMBERS) + len(CATEGORIES), rows.height), np.float32)
    for index, values in enumerate((*(rows[name] for name in NUMBERS), *codes)):
        matrix[index] = values.cast(pl.Float32).to_numpy()
    return matrix.T


def in_row_order(matrix: Matrix) -> Matrix:
    """The matrix with the features of a row beside each other in memory, as LightGBM reads them.

    From a matrix in column order, each booster would gather every row again (goal: forecasting).
    """
    rows = np.empty(matrix.shape, matrix.dtype)
    for start in range(0, len(rows), _ROWS_PER_BLOCK):
        rows[start : start + _ROWS_PER_BLOCK] = matrix[start : start + _ROWS_PER_BLOCK]
    return rows


def spread_features(matrix: Matrix | Numbers, mean: Numbers) -> Numbers:
    """The root of the mean, and the features that describe how steady a departure is; the mode comes last."""
    columns = [(*NUMBERS, *CATEGORIES).index(name) for name in (*SPREAD_NUMBERS, *CATEGORIES)]
    features = np.empty((len(matrix), 1 + len(columns)))
    features[:, 0] = to_root(mean)
    for number, column in enumerate(columns, 1):
        features[:, number] = matrix[:, column]
    return features


def log_expected_load(rows: pl.DataFrame) -> Numbers:
    return np.log(rows["expected"].to_numpy() + SMOOTHING_LOAD)


def root_of_log(log_load: Numbers) -> Numbers:
    """The square root of a load whose logarithm is given."""
    return np.exp(log_load / 2)


def ignore_progress(_booster: str, _trees: int, _total: int) -> None: ...


def train_means(
    rows: pl.DataFrame,
    matrix: Matrix | Numbers,
    parameters: ModelParameters,
    losses: Sequence[str],
    step: str,
    progress: Progress,
) -> dict[str, lightgbm.Booster]:
    """Trees that correct the expected load, one model per loss. The features are binned once for all.

    `step` is the step of the training, for `progress`.
    """
    load, log_load = rows["load"].to_numpy(), log_expected_load(rows)
    data = _dataset(matrix, load, rows["weight"].to_numpy(), parameters)
    options = {"num_leaves": parameters.leaves, "learning_rate": parameters.learning_rate}
    means = {}
    for index, name in enumerate(losses):
        data.set_label(to_root(load) if name == ROOT else load)
        data.set_init_score(root_of_log(log_load) if name == ROOT else log_load)
        seed = parameters.seed + index
        loss_options = {**options, **LOSSES[name], "seed": seed}
        means[name] = _boost(data, parameters, parameters.trees, loss_options, f"{step}, {name}", progress)
    return means


def train_quantiles(
    features: Numbers,
    residual: Numbers,
    weight: Numbers,
    parameters: ModelParameters,
    progress: Progress,
) -> tuple[lightgbm.Booster, ...]:
    """One booster per level of `QUANTILES`, of residuals on the scale of roots."""
    options = {
        "objective": "quantile",
        "num_leaves": parameters.spread_leaves,
        "learning_rate": _SPREAD_LEARNING_RATE,
    }
    data = _dataset(features, residual, weight, parameters)
    return tuple(
        _boost(
            data,
            parameters,
            parameters.spread_trees,
            {**options, "alpha": level},
            f"spread, P{round(100 * level)}",
            progress,
        )
        for level in QUANTILES
    )


def predict_raw(booster: lightgbm.Booster, matrix: Matrix | Numbers, threads: int = 0) -> Numbers:
    """The sum of the trees for each row, without the initial score. With 0 threads, LightGBM uses all cores."""
    # LightGBM reads rows. From a matrix in column order, each booster would gather every row again (goal: forecasting).
    return np.asarray(booster.predict(np.ascontiguousarray(matrix), raw_score=True, num_threads=threads))


def predict_spread(boosters: Sequence[lightgbm.Booster], features: Numbers, threads: int = 0) -> Numbers:
    """Quantiles of the residual on the scale of roots, ascending, shape (rows, 3). `threads`: as for `predict_raw`."""
    predicted = [np.asarray(booster.predict(features, num_threads=threads)) for booster in boosters]
    return np.sort(np.column_stack(predicted), axis=1)


def _dataset(
    matrix: Matrix | Numbers, target: Numbers, weight: Numbers, parameters: ModelParameters
) -> lightgbm.Dataset:
    """The rows as LightGBM's bins. The last column is a category."""
    import lightgbm

    last = matrix.shape[1] - 1
    options = _common_options(parameters, len(target))
    return lightgbm.Dataset(
        matrix, target, weight=weight, categorical_feature=[last], params=options
    ).construct()


def _common_options(parameters: ModelParameters, rows: int) -> dict[str, Any]:
    return {
        "min_data_in_leaf": parameters.fewest_rows_in_leaf,
        "feature_fraction": parameters.share_of_features,
        "bagging_fraction": parameters.share_of_rows,
        "bagging_freq": 1,
        "lambda_l2": parameters.l2,
        "max_bin": parameters.bins,
        "seed": parameters.seed,
        # On few rows, threads wait for each other longer than they work. The trees are the same.
        "num_threads": min(parameters.threads, 1 + rows // _ROWS_PER_THREAD),
        "deterministic": True,
        "force_row_wise": True,
        "verbose": -1,
    }


def _boost(
    data: lightgbm.Dataset,
    parameters: ModelParameters,
    trees: int,
    options: dict[str, Any],
    name: str,
    progress: Progress,
) -> lightgbm.Booster:
    import lightgbm

    return lightgbm.train(
        {**_common_options(parameters, data.num_data()), **options},
        data,
        num_boost_round=trees,
        callbacks=[lambda state: progress(name, state.iteration + 1, trees)],
    )
