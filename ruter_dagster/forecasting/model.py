"""The load model: LightGBM for the mean (Poisson) and for the spread around it. Rows come from rows.py.

Not here: what the features mean (contracts/features.py, rows.py), how a model is judged (evaluation.py) or kept.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ruter_dagster.contracts.errors import BadInput
from ruter_dagster.forecasting.readiness import trust, trust_in_tiers
from ruter_dagster.forecasting.rows import CATEGORIES, NUMBERS, STEADYING_LOAD
from ruter_dagster.forecasting.spread import (
    QUANTILES,
    Numbers,
    chance_above,
    fitting_factor,
    quantiles_of,
    to_root,
    widened,
)
from ruter_dagster.forecasting.tiers import with_ignorance

if TYPE_CHECKING:
    import lightgbm

FORMAT = 2
Matrix = NDArray[np.float32]
SPREAD_NUMBERS = (
    "usual_deviation", "expected", "slot_hour", "weekday", "public_holiday", "school_holiday", "events",
    "journey_position", "departures_in_slot", "history_count", "horizon_days", "tier",
)  # fmt: skip
"""The features of the spread, beside the mean itself and the mode."""
TRAINING_COLUMNS = tuple(
    dict.fromkeys(
        ("service_date", "trip_id", "stop_sequence", "load", "weight", "sample_weight", *NUMBERS, *CATEGORIES)
    )
)
"""The columns that `train` reads of its rows."""
_FEWEST_ROWS = 200
_ROWS_A_THREAD = 50_000


@dataclass(frozen=True)
class ModelParameters:
    """How a model is trained; docs/decisions/load-model.md says how the defaults were chosen."""

    trees: int = 120
    leaves: int = 31
    learning_rate: float = 0.08
    fewest_rows_in_leaf: int = 60
    share_of_features: float = 0.6
    share_of_rows: float = 0.7
    l2: float = 5.0
    bins: int = 63
    spread_trees: int = 80
    spread_leaves: int = 7
    shortened_share: float = 0.4
    """Copies with an artificially shortened history that are added to the rows, as a share of them (shortened.py)."""
    held_out_share: float = 0.2
    """Newest share of the service dates on which the spread is learned and calibrated."""
    coverage: float = 0.8
    seed: int = 1
    threads: int = 2


@dataclass(frozen=True)
class LoadModel:
    """A trained model. `spread_factor` calibrates P10 to P90; `categories` are the known values, by their code;
    `trust` is the share of its correction that it makes (readiness.py)."""

    parameters: ModelParameters
    mean: lightgbm.Booster
    spread: tuple[lightgbm.Booster, ...]
    spread_factor: float
    categories: dict[str, list[str]] = field(default_factory=dict)
    trust: float = 1.0

    def predict(self, rows: pl.DataFrame) -> pl.DataFrame:
        """`mean`, `p10`, `p50`, `p90` (passengers) and `prob_above_seats` (null where seats are unknown), a row a row.

        `rows` are model rows. Raises `BadInput` where they lack a feature.
        """
        matrix = feature_matrix(rows, self.categories)
        mean = _mean(self.mean, matrix, rows, self.trust)
        spread = widened(_spread(self.spread, spread_features(matrix, mean)), self.spread_factor)
        return with_ignorance(forecast_columns(mean, spread, rows["seats"]), rows)

    def importance(self) -> dict[str, float]:
        """Share of the mean's gain that each feature earns, greatest first."""
        gains = self.mean.feature_importance("gain")
        shares = dict(zip((*NUMBERS, *CATEGORIES), (gains / max(gains.sum(), 1e-9)).tolist(), strict=True))
        return dict(sorted(shares.items(), key=lambda item: -item[1]))

    def to_bytes(self) -> bytes:
        """The model as UTF-8 JSON with LightGBM's text inside: the same on any machine."""
        content = {
            "format": FORMAT,
            "parameters": asdict(self.parameters),
            "features": [*NUMBERS, *CATEGORIES],
            "categories": self.categories,
            "spread_factor": self.spread_factor,
            "trust": self.trust,
            "mean": self.mean.model_to_string(),
            "spread": [booster.model_to_string() for booster in self.spread],
        }
        return json.dumps(content, sort_keys=True).encode()

    @staticmethod
    def from_bytes(content: bytes) -> LoadModel:
        """Reads `to_bytes` back. Raises `BadInput` where the bytes are no model, or one of other features."""
        import lightgbm

        try:
            parts = json.loads(content)
            if parts["format"] != FORMAT or parts["features"] != [*NUMBERS, *CATEGORIES]:
                raise BadInput("The load model was made by other code: its features differ; train a new one")
            return LoadModel(
                ModelParameters(**parts["parameters"]),
                lightgbm.Booster(model_str=parts["mean"]),
                tuple(lightgbm.Booster(model_str=text) for text in parts["spread"]),
                float(parts["spread_factor"]),
                parts["categories"],
                float(parts["trust"]),
            )
        except (ValueError, KeyError, TypeError, lightgbm.basic.LightGBMError) as error:
            raise BadInput(
                f"These bytes are no load model ({error}); fetch the version again or train a new one"
            ) from error


def train(rows: pl.DataFrame, parameters: ModelParameters | None = None) -> LoadModel:
    """A model of training rows: model rows with `load`, `weight` and `sample_weight` (see sample.py).

    The spread is learned where the mean is honest: on the newest dates, around a mean that has not seen them; half of
    their rows teach it, the others calibrate its width. The mean that is kept has seen every row.

    Raises `BadInput` where fewer than 200 rows are given.
    """
    chosen = parameters or ModelParameters()
    # Bound again, so that what the caller let go of is free: millions of rows are held once.
    rows = rows.select(TRAINING_COLUMNS).filter(pl.col("weight") > 0)
    rows = rows.sort("service_date", "trip_id", "stop_sequence")
    if rows.height < _FEWEST_ROWS:
        raise BadInput(
            f"{rows.height} training rows with a weight are too few for a load model (at least {_FEWEST_ROWS}); "
            "train on more operating dates"
        )
    categories = {name: rows[name].unique().sort().to_list() for name in CATEGORIES}
    matrix = feature_matrix(rows, categories)
    weight = pl.col("weight") * pl.col("sample_weight")
    rows = rows.select(
        "service_date", "load", "expected", "tier", weight=weight / pl.col("sample_weight").mean()
    )
    part = trust(rows["service_date"].n_unique())
    spread, factor = _train_spread(rows, matrix, chosen, part)
    return LoadModel(chosen, _train_mean(rows, matrix, chosen), spread, factor, categories, part)


def forecast_columns(mean: Numbers, spread: Numbers, seats: pl.Series) -> pl.DataFrame:
    """The frame that `LoadModel.predict` describes, of a mean and its spread on the scale of roots."""
    quantiles = quantiles_of(mean, spread)
    chance = chance_above(seats.cast(pl.Float64).to_numpy(), mean, spread)
    columns = {f"p{round(100 * level)}": quantiles[:, index] for index, level in enumerate(QUANTILES)}
    return pl.DataFrame({"mean": mean, **columns, "prob_above_seats": chance}).with_columns(
        pl.col("prob_above_seats").fill_nan(None)
    )


def feature_matrix(rows: pl.DataFrame, categories: dict[str, list[str]]) -> Matrix:
    """Features as numbers, shape (rows, features); a category is its place in `categories`, NaN where unknown."""
    if missing := [name for name in (*NUMBERS, *CATEGORIES) if name not in rows.columns]:
        raise BadInput(f"Model rows lack {', '.join(missing)}; make them with forecasting.rows.model_rows")
    codes = (rows[name].cast(pl.Enum(categories[name]), strict=False).to_physical() for name in CATEGORIES)
    # Filled a column at a time: to cast and gather them all at once takes twice as long, for frames of several chunks.
    matrix = np.empty((len(NUMBERS) + len(CATEGORIES), rows.height), np.float32)
    for place, values in enumerate((*(rows[name] for name in NUMBERS), *codes)):
        matrix[place] = values.cast(pl.Float32).to_numpy()
    return matrix.T


def _train_mean(
    rows: pl.DataFrame, matrix: Matrix | Numbers, parameters: ModelParameters
) -> lightgbm.Booster:
    """Poisson trees that correct the expected load, on the scale of logarithms."""
    return _boost(
        matrix,
        rows["load"].to_numpy(),
        rows["weight"].to_numpy(),
        parameters,
        parameters.trees,
        {"objective": "poisson", "num_leaves": parameters.leaves, "learning_rate": parameters.learning_rate},
        start=_log_expected(rows),
    )


def _train_spread(
    rows: pl.DataFrame, matrix: Matrix | Numbers, parameters: ModelParameters, part: float
) -> tuple[tuple[lightgbm.Booster, ...], float]:
    """The quantile models and the factor that gives them their coverage, both from the newest service dates."""
    dates = rows["service_date"].unique().sort().to_list()
    held_out_dates = dates[-max(2, round(parameters.held_out_share * len(dates))) :]
    newer = rows["service_date"].is_in(held_out_dates).to_numpy()
    older = ~newer if newer.sum() < len(newer) else newer
    honest = _train_mean(rows.filter(older), matrix[older], parameters)
    held_out = rows.filter(newer)
    mean = _mean(honest, matrix[newer], held_out, part)
    # By whole dates: what makes one day fuller than expected is shared by its rows, and must not be learned as known.
    teach = held_out["service_date"].is_in(held_out_dates[::2]).to_numpy()
    load, features = held_out["load"].to_numpy(), spread_features(matrix[newer], mean)
    boosters = _teach_spread(
        features[teach],
        (to_root(load) - to_root(mean))[teach],
        held_out["weight"].to_numpy()[teach],
        parameters,
    )
    check = ~teach
    spread = _spread(boosters, features[check])
    return boosters, fitting_factor(load[check], mean[check], spread, parameters.coverage)


def _teach_spread(
    features: Numbers, residual: Numbers, weight: Numbers, parameters: ModelParameters
) -> tuple[lightgbm.Booster, ...]:
    options = {"objective": "quantile", "num_leaves": parameters.spread_leaves, "learning_rate": 0.1}
    return tuple(
        _boost(features, residual, weight, parameters, parameters.spread_trees, {**options, "alpha": level})
        for level in QUANTILES
    )


def _boost(
    matrix: Matrix | Numbers,
    target: Numbers,
    weight: Numbers,
    parameters: ModelParameters,
    trees: int,
    options: dict[str, Any],
    start: Numbers | None = None,
) -> lightgbm.Booster:
    import lightgbm

    data = lightgbm.Dataset(
        matrix, target, weight=weight, init_score=start, categorical_feature=[matrix.shape[1] - 1]
    )
    common = {
        "min_data_in_leaf": parameters.fewest_rows_in_leaf,
        "feature_fraction": parameters.share_of_features,
        "bagging_fraction": parameters.share_of_rows,
        "bagging_freq": 1,
        "lambda_l2": parameters.l2,
        "max_bin": parameters.bins,
        "seed": parameters.seed,
        # On few rows threads wait for each other longer than they work. The trees are the same.
        "num_threads": min(parameters.threads, 1 + len(target) // _ROWS_A_THREAD),
        "deterministic": True,
        "force_row_wise": True,
        "verbose": -1,
    }
    return lightgbm.train({**common, **options}, data, num_boost_round=trees)


def _mean(booster: lightgbm.Booster, matrix: Matrix | Numbers, rows: pl.DataFrame, part: float) -> Numbers:
    """The expected load times that part of the trees' correction, on the scale of logarithms."""
    part_of_row = part * trust_in_tiers(rows["tier"].to_numpy())
    return np.exp(part_of_row * np.asarray(booster.predict(matrix, raw_score=True)) + _log_expected(rows))


def _spread(boosters: Sequence[lightgbm.Booster], features: Numbers) -> Numbers:
    return np.sort(np.column_stack([np.asarray(booster.predict(features)) for booster in boosters]), axis=1)


def spread_features(matrix: Matrix | Numbers, mean: Numbers) -> Numbers:
    """The root of the mean, and those features that say how steady a departure is rather than what day it is; mode last."""
    chosen = [(*NUMBERS, *CATEGORIES).index(name) for name in (*SPREAD_NUMBERS, *CATEGORIES)]
    return np.column_stack([to_root(mean), matrix[:, chosen].astype(np.float64)])


def _log_expected(rows: pl.DataFrame) -> Numbers:
    return np.log(rows["expected"].to_numpy() + STEADYING_LOAD)
