"""The load model: LightGBM for the mean (three models) and for the spread around it.

Training belongs in model_training.py, the meaning of features in contracts/features.py, and scores in evaluation.py.
"""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from ruter_dagster.contracts.errors import BadInput
from ruter_dagster.forecasting.boosting import (
    LOSSES,
    ROOT,
    Matrix,
    ModelParameters,
    feature_matrix,
    in_row_order,
    log_expected_load,
    predict_raw,
    predict_spread,
    root_of_log,
    spread_features,
)
from ruter_dagster.forecasting.model_rows import CATEGORIES, NUMBERS
from ruter_dagster.forecasting.prediction_intervals import (
    NORMAL_TAIL,
    QUANTILES,
    Numbers,
    Tail,
    probability_above,
    quantiles_of,
    widened,
)
from ruter_dagster.forecasting.readiness import trust_by_tier
from ruter_dagster.forecasting.tiers import with_unknown_loads

if TYPE_CHECKING:
    import lightgbm

FORMAT = 3
HA4_RATIO = "ha4_to_expected"
_ROWS_PER_BLOCK = 65_536
"""Rows that are forecast at once, 20 MB of features."""
_HA4_SHARE = 0.5
"""How far an untrusted model leans from the expected load towards HA4, on the scale of logarithms."""


@dataclass(frozen=True)
class LoadModel:
    """A trained model.

    Attributes:
        means: one booster per loss of `LOSSES`.
        root_line: constant and factor that make a mean load from a squared root.
        spread: one booster per level of `QUANTILES`.
        spread_factor: widens P10 to P90 to their coverage.
        tail: the probability of loads above the seats.
        categories: the known values of each category, in the order of their codes.
        trust: share of its correction that the model makes, 0 to 1 (readiness.py).
    """

    parameters: ModelParameters
    means: dict[str, lightgbm.Booster]
    root_line: tuple[float, float]
    spread: tuple[lightgbm.Booster, ...]
    spread_factor: float
    tail: Tail = NORMAL_TAIL
    categories: dict[str, list[str]] = field(default_factory=dict)
    trust: float = 1.0

    def predict(self, rows: pl.DataFrame) -> pl.DataFrame:
        """`mean`, `p10`, `p50`, `p90` (passengers) and `prob_above_seats` (null if seats are unknown), row by row.

        `rows` are model rows; the forecast of no rows has no rows. Raises `BadInput` if a feature is missing.
        """
        # Matrices of millions of rows are slow to allocate; those of a block reuse memory. Each core forecasts blocks of its
        # own, so that no core waits while another fills a matrix (goal: forecasting).
        cores = pl.thread_pool_size()
        size = min(_ROWS_PER_BLOCK, 1 + rows.height // cores)
        with ThreadPoolExecutor(cores) as executor:
            # `iter_slices` of no rows has no slice.
            slices = rows.iter_slices(size) if rows.height else [rows]
            blocks = list(executor.map(self._mean_and_spread, slices))
        mean, spread = (np.concatenate(parts) for parts in zip(*blocks, strict=True))
        return with_unknown_loads(forecast_columns(mean, spread, rows["seats"], self.tail), rows)

    def _mean_and_spread(self, rows: pl.DataFrame) -> tuple[Numbers, Numbers]:
        matrix = in_row_order(feature_matrix(rows, self.categories))
        mean = self.mean_of(matrix, rows)
        spread = predict_spread(self.spread, spread_features(matrix, mean), threads=1)
        return mean, widened(spread, self.spread_factor)

    def mean_of(self, matrix: Matrix, rows: pl.DataFrame) -> Numbers:
        """The mean load of rows with this feature matrix: the average of the three models."""
        log_base, share = log_base_load(rows, self.trust), correction_share(rows, self.trust)
        total = np.zeros(rows.height)
        for name, booster in self.means.items():
            correction = share * predict_raw(booster, matrix, threads=1)
            if name == ROOT:
                total += _load_of_square(squared_root(correction, log_base), self.root_line)
            else:
                total += np.exp(correction + log_base)
        return total / len(self.means)

    def importance(self) -> dict[str, float]:
        """Each feature's share of the gain, averaged over the models of the mean, greatest first."""
        gains = [booster.feature_importance("gain") for booster in self.means.values()]
        average = np.mean([gain / max(gain.sum(), 1e-9) for gain in gains], axis=0)
        shares = dict(zip((*NUMBERS, *CATEGORIES), average.tolist(), strict=True))
        return dict(sorted(shares.items(), key=lambda item: -item[1]))

    def to_bytes(self) -> bytes:
        """The model as UTF-8 JSON that contains LightGBM's text: the same on any machine."""
        content = {
            "format": FORMAT,
            "parameters": asdict(self.parameters),
            "features": [*NUMBERS, *CATEGORIES],
            "categories": self.categories,
            "spread_factor": self.spread_factor,
            "trust": self.trust,
            "tail": asdict(self.tail),
            "root_line": self.root_line,
            "means": {name: booster.model_to_string() for name, booster in self.means.items()},
            "spread": [booster.model_to_string() for booster in self.spread],
        }
        return json.dumps(content, sort_keys=True).encode()

    @staticmethod
    def from_bytes(content: bytes) -> LoadModel:
        """Reads a model from `to_bytes`. Raises `BadInput` if it is not a model, or has other features."""
        import lightgbm

        try:
            parts = json.loads(content)
            if parts["format"] != FORMAT or parts["features"] != [*NUMBERS, *CATEGORIES]:
                raise BadInput(
                    "The load model is from another version of the code, with other features; train a new one"
                )
            return _model_of(parts)
        except (ValueError, KeyError, TypeError, lightgbm.basic.LightGBMError) as error:
            raise BadInput(
                f"These bytes are not a load model ({error}); fetch the version again or train a new one"
            ) from error


def _model_of(parts: dict[str, Any]) -> LoadModel:
    import lightgbm

    return LoadModel(
        parameters=ModelParameters(**parts["parameters"]),
        means={name: lightgbm.Booster(model_str=parts["means"][name]) for name in LOSSES},
        root_line=(float(parts["root_line"][0]), float(parts["root_line"][1])),
        spread=tuple(lightgbm.Booster(model_str=text) for text in parts["spread"]),
        spread_factor=float(parts["spread_factor"]),
        tail=Tail(**{name: tuple(values) for name, values in parts["tail"].items()}),
        categories=parts["categories"],
        trust=float(parts["trust"]),
    )


def forecast_columns(
    mean: Numbers, spread: Numbers, seats: pl.Series, tail: Tail = NORMAL_TAIL
) -> pl.DataFrame:
    """The columns of `LoadModel.predict`, from a mean and its spread on the scale of roots."""
    quantiles = quantiles_of(mean, spread)
    probability = probability_above(seats.cast(pl.Float64).to_numpy(), mean, spread, tail)
    columns = {f"p{round(100 * level)}": quantiles[:, index] for index, level in enumerate(QUANTILES)}
    return pl.DataFrame({"mean": mean, **columns, "prob_above_seats": probability}).with_columns(
        pl.col("prob_above_seats").fill_nan(None)
    )


def log_base_load(rows: pl.DataFrame, trust: float) -> Numbers:
    """The logarithm of the load that the trees correct: the expected load, closer to HA4 the less the trees are trusted."""
    ha4_ratio = rows[HA4_RATIO].fill_null(0.0).cast(pl.Float64).to_numpy()
    return log_expected_load(rows) + (1 - trust) * _HA4_SHARE * ha4_ratio


def correction_share(rows: pl.DataFrame, trust: float) -> Numbers:
    """The share of the trees' correction that each row gets, by the model's trust and the row's tier."""
    return trust_by_tier(rows["tier"].to_numpy(), trust)


def squared_root(correction: Numbers, log_base: Numbers) -> Numbers:
    """The square of the base load's root after its correction."""
    return np.maximum(correction + root_of_log(log_base), 0.0) ** 2


def _load_of_square(square: Numbers, line: tuple[float, float]) -> Numbers:
    return np.maximum(line[0] + line[1] * square, 0.0)
