"""The load model: LightGBM for the mean (three models of it) and for the spread around it. Rows come from rows.py.

Not here: what the features mean (contracts/features.py, rows.py), how a model is judged (evaluation.py) or kept.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from datetime import date
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ruter_dagster.contracts.errors import BadInput
from ruter_dagster.forecasting.model_rows import CATEGORIES, NUMBERS, STEADYING_LOAD
from ruter_dagster.forecasting.prediction_intervals import (
    NORMAL_TAIL,
    QUANTILES,
    Numbers,
    Tail,
    chance_above,
    fitting_factor,
    from_root,
    measured_tail,
    quantiles_of,
    to_root,
    widened,
)
from ruter_dagster.forecasting.readiness import trust, trust_in_tiers
from ruter_dagster.forecasting.tiers import with_ignorance

if TYPE_CHECKING:
    import lightgbm

FORMAT = 3
_HA4 = "ha4_to_expected"
_FEWEST_DATES_TO_PROVE = 28
_PARTS_TRIED = np.linspace(0.0, 1.0, 11)
LOSSES: dict[str, dict[str, Any]] = {
    "poisson": {"objective": "poisson"},
    "tweedie": {"objective": "tweedie", "tweedie_variance_power": 1.3},
    "root": {"objective": "l2"},
}
"""The models of the mean: two learn its logarithm, one its root. Their average is the forecast."""
_ROOT = "root"
Matrix = NDArray[np.float32]
SPREAD_NUMBERS = (
    "usual_deviation", "expected", "slot_hour", "weekday", "public_holiday", "public_holidays_nearby", "school_holiday",
    "school_holiday_last_week", "school_holiday_weeks", "events", "journey_position", "departures_in_slot", "history_count",
    "horizon_days", "tier",
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
_BLOCK_DATES = 14
_PARTS = 2
_KEPT_OVER_HALF = 0.96
"""How far loads fall from the mean of a model of all dates, over how far they fall from that of half of the dates."""
_LINE_ROWS = 200_000
"""Training rows that the line from roots to loads is fitted to at most."""


@dataclass(frozen=True)
class ModelParameters:
    """How a model is trained; docs/decisions/load-model.md says how the defaults were chosen."""

    trees: int = 64
    """Of each of the three models of the mean."""
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
    """Copies with an artificially shortened history that are added to the rows, as a share of them (shortened.py)."""
    shortened_weight: float = 0.2
    """Weight of such a copy, of which a row of its own has 1: so that established departures lead."""
    coverage: float = 0.8
    seed: int = 1
    threads: int = 2


@dataclass(frozen=True)
class LoadModel:
    """A trained model.

    `means` are boosters by the names of `LOSSES`; `root_line` makes a mean of a root: constant and factor of its square.
    `spread_factor` calibrates P10 to P90, `tail` the chance above the seats; `categories` are the known values, by their code;
    `trust` is the share of its correction that it makes (readiness.py).
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
        """`mean`, `p10`, `p50`, `p90` (passengers) and `prob_above_seats` (null where seats are unknown), one row for each row.

        `rows` are model rows. Raises `BadInput` where they lack a feature.
        """
        # By rows, as LightGBM reads it: by columns, each booster would gather every row anew.
        matrix = np.ascontiguousarray(feature_matrix(rows, self.categories))
        mean = self.mean_of(matrix, rows)
        spread = widened(_spread(self.spread, spread_features(matrix, mean)), self.spread_factor)
        return with_ignorance(forecast_columns(mean, spread, rows["seats"], self.tail), rows)

    def mean_of(self, matrix: Matrix, rows: pl.DataFrame) -> Numbers:
        """The mean load of rows whose feature matrix is given: the average of what the models of it say."""
        guess, part = _log_guess(rows, self.trust), _part(rows, self.trust)
        total = np.zeros(rows.height)
        for name, booster in self.means.items():
            correction = part * np.asarray(booster.predict(matrix, raw_score=True))
            if name == _ROOT:
                total += _of_squares(_squared(correction, guess), self.root_line)
            else:
                total += np.exp(correction + guess)
        return total / len(self.means)

    def importance(self) -> dict[str, float]:
        """Share of the mean's gain that each feature earns, the average of the models of it, greatest first."""
        gains = [booster.feature_importance("gain") for booster in self.means.values()]
        average = np.mean([gain / max(gain.sum(), 1e-9) for gain in gains], axis=0)
        shares = dict(zip((*NUMBERS, *CATEGORIES), average.tolist(), strict=True))
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
            "tail": asdict(self.tail),
            "root_line": self.root_line,
            "means": {name: booster.model_to_string() for name, booster in self.means.items()},
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
                {name: lightgbm.Booster(model_str=parts["means"][name]) for name in LOSSES},
                (float(parts["root_line"][0]), float(parts["root_line"][1])),
                tuple(lightgbm.Booster(model_str=text) for text in parts["spread"]),
                float(parts["spread_factor"]),
                Tail(**{name: tuple(values) for name, values in parts["tail"].items()}),
                parts["categories"],
                float(parts["trust"]),
            )
        except (ValueError, KeyError, TypeError, lightgbm.basic.LightGBMError) as error:
            raise BadInput(
                f"These bytes are no load model ({error}); fetch the version again or train a new one"
            ) from error


def train(rows: pl.DataFrame, parameters: ModelParameters | None = None) -> LoadModel:
    """A model of training rows: model rows with `load`, `weight` and `sample_weight` (see sample.py).

    The spread is learned around means that have not seen the date: two Poisson models, each of every other fortnight, forecast
    the fortnights of the other one. Every other date teaches the spread, the rest calibrate its width and its tail. The mean
    that is kept has seen every row.

    Raises `BadInput` where fewer than 200 rows are given.
    """
    chosen = parameters or ModelParameters()
    # Bound again, so that what the caller let go of is free: millions of rows are held once.
    rows = rows.select(TRAINING_COLUMNS).filter(pl.col("weight") > 0)
    # A row and its copies with a shortened history share their key: in order, whatever dates came together.
    rows = rows.sort("service_date", "trip_id", "stop_sequence", maintain_order=True)
    dates = rows["service_date"].n_unique()
    if rows.height < _FEWEST_ROWS or dates < 2:
        raise BadInput(
            f"{rows.height} training rows of {dates} operating dates are too few for a load model (at least {_FEWEST_ROWS} rows "
            "with a weight, of 2 dates); train on more operating dates"
        )
    categories = {name: rows[name].unique().sort().to_list() for name in CATEGORIES}
    matrix = feature_matrix(rows, categories)
    weight = pl.col("weight") * pl.col("sample_weight")
    rows = rows.select(
        "service_date", "load", "expected", "tier", _HA4, weight=weight / pl.col("sample_weight").mean()
    )
    trusted = _trust(rows, matrix, chosen)
    spread, factor, tail = _train_spread(rows, matrix, chosen, trusted)
    means = _train_means(rows, matrix, chosen, tuple(LOSSES))
    line = _root_line(rows, matrix, means[_ROOT], trusted)
    return LoadModel(chosen, means, line, spread, factor, tail, categories, trusted)


def forecast_columns(
    mean: Numbers, spread: Numbers, seats: pl.Series, tail: Tail = NORMAL_TAIL
) -> pl.DataFrame:
    """The frame that `LoadModel.predict` describes, of a mean and its spread on the scale of roots."""
    quantiles = quantiles_of(mean, spread)
    chance = chance_above(seats.cast(pl.Float64).to_numpy(), mean, spread, tail)
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


def _train_means(
    rows: pl.DataFrame, matrix: Matrix | Numbers, parameters: ModelParameters, losses: Sequence[str]
) -> dict[str, lightgbm.Booster]:
    """Trees that correct the expected load, a model for each loss; the binned features are made once."""
    load, logarithm = rows["load"].to_numpy(), _log_expected(rows)
    data = _dataset(matrix, load, rows["weight"].to_numpy(), parameters)
    options = {"num_leaves": parameters.leaves, "learning_rate": parameters.learning_rate}
    means = {}
    for place, name in enumerate(losses):
        data.set_label(to_root(load) if name == _ROOT else load)
        data.set_init_score(_root_of(logarithm) if name == _ROOT else logarithm)
        seed = parameters.seed + place
        means[name] = _boost(data, parameters, parameters.trees, {**options, **LOSSES[name], "seed": seed})
    return means


def _train_spread(
    rows: pl.DataFrame, matrix: Matrix | Numbers, parameters: ModelParameters, trusted: float
) -> tuple[tuple[lightgbm.Booster, ...], float, Tail]:
    """The quantile models, the factor that gives them their coverage and the tail, all around means that had not seen the date."""
    dates = rows["service_date"].unique().sort().to_list()
    mean = _honest_mean(rows, matrix, dates, parameters, trusted)
    # By whole dates: what makes one day fuller than expected is shared by its rows, and must not be learned as known.
    teach = rows["service_date"].is_in(dates[::2]).to_numpy()
    weight, features = rows["weight"].to_numpy(), spread_features(matrix, mean)
    residual = _KEPT_OVER_HALF * (to_root(rows["load"].to_numpy()) - to_root(mean))
    load = from_root(to_root(mean) + residual)
    boosters = _teach_spread(features[teach], residual[teach], weight[teach], parameters)
    check = ~teach
    load, mean, weight, spread = load[check], mean[check], weight[check], _spread(boosters, features[check])
    factor = fitting_factor(load, mean, spread, parameters.coverage, weight)
    return boosters, factor, measured_tail(load, mean, widened(spread, factor), weight)


def _honest_mean(
    rows: pl.DataFrame,
    matrix: Matrix | Numbers,
    dates: Sequence[date],
    parameters: ModelParameters,
    trusted: float,
) -> Numbers:
    """Of every row the Poisson mean of trees that have not seen its date: each part of the dates by those of the others."""
    mean, logarithm, part = np.empty(rows.height), _log_guess(rows, trusted), _part(rows, trusted)
    block = max(1, min(_BLOCK_DATES, len(dates) // 2))
    blocks = [dates[start : start + block] for start in range(0, len(dates), block)]
    parts = min(_PARTS, len(blocks))
    for first in range(parts):
        of_part = [day for block in blocks[first::parts] for day in block]
        held_out = rows["service_date"].is_in(of_part).to_numpy()
        booster = _train_means(rows.filter(~held_out), matrix[~held_out], parameters, ["poisson"])["poisson"]
        raw = booster.predict(np.ascontiguousarray(matrix[held_out]), raw_score=True)
        mean[held_out] = np.exp(part[held_out] * np.asarray(raw) + logarithm[held_out])
    return mean


def _teach_spread(
    features: Numbers, residual: Numbers, weight: Numbers, parameters: ModelParameters
) -> tuple[lightgbm.Booster, ...]:
    options = {"objective": "quantile", "num_leaves": parameters.spread_leaves, "learning_rate": 0.2}
    data = _dataset(features, residual, weight, parameters)
    return tuple(
        _boost(data, parameters, parameters.spread_trees, {**options, "alpha": level}) for level in QUANTILES
    )


def _dataset(
    matrix: Matrix | Numbers, target: Numbers, weight: Numbers, parameters: ModelParameters
) -> lightgbm.Dataset:
    """The rows as LightGBM's bins."""
    import lightgbm

    last = matrix.shape[1] - 1
    options = _common(parameters, len(target))
    return lightgbm.Dataset(
        matrix, target, weight=weight, categorical_feature=[last], params=options
    ).construct()


def _common(parameters: ModelParameters, rows: int) -> dict[str, Any]:
    return {
        "min_data_in_leaf": parameters.fewest_rows_in_leaf,
        "feature_fraction": parameters.share_of_features,
        "bagging_fraction": parameters.share_of_rows,
        "bagging_freq": 1,
        "lambda_l2": parameters.l2,
        "max_bin": parameters.bins,
        "seed": parameters.seed,
        # On few rows threads wait for each other longer than they work. The trees are the same.
        "num_threads": min(parameters.threads, 1 + rows // _ROWS_A_THREAD),
        "deterministic": True,
        "force_row_wise": True,
        "verbose": -1,
    }


def _boost(
    data: lightgbm.Dataset, parameters: ModelParameters, trees: int, options: dict[str, Any]
) -> lightgbm.Booster:
    import lightgbm

    return lightgbm.train({**_common(parameters, data.num_data()), **options}, data, num_boost_round=trees)


def _trust(rows: pl.DataFrame, matrix: Matrix | Numbers, parameters: ModelParameters) -> float:
    """The part of the trees' correction that is made: by the count of dates, or as much as every week held out has borne out.

    With few dates, trees of the older half forecast the third quarter and trees of the older three quarters the last one. The
    week that would have wanted the smallest part decides: what is passing is not to be taken for a rule.
    """
    dates = rows["service_date"].unique().sort().to_list()
    by_count = trust(len(dates))
    if by_count >= 1 or len(dates) < _FEWEST_DATES_TO_PROVE:
        return by_count
    half, quarter = len(dates) // 2, 3 * len(dates) // 4
    spans = (dates[half:quarter], dates[quarter:])
    return max(by_count, min(part for span in spans for part in _best_parts(rows, matrix, span, parameters)))


def _best_parts(
    rows: pl.DataFrame, matrix: Matrix | Numbers, span: Sequence[date], parameters: ModelParameters
) -> list[float]:
    """For each week of the span, the part of the correction of trees of all dates before it that errs least."""
    before = (rows["service_date"] < span[0]).to_numpy()
    within = rows["service_date"].is_in(list(span)).to_numpy()
    booster = _train_means(rows.filter(before), matrix[before], parameters, ["poisson"])["poisson"]
    some, load = rows.filter(within), rows.filter(within)["load"].to_numpy()
    week = ((some["service_date"] - span[0]).dt.total_days() // 7).to_numpy()
    raw = np.asarray(booster.predict(np.ascontiguousarray(matrix[within]), raw_score=True))
    errors = np.stack(
        [np.abs(np.exp(part * raw + _log_guess(some, part)) - load) for part in _PARTS_TRIED], axis=1
    )
    errors *= some["weight"].to_numpy()[:, None]
    return [float(_PARTS_TRIED[errors[week == one].sum(axis=0).argmin()]) for one in np.unique(week)]


def _root_line(
    rows: pl.DataFrame, matrix: Matrix | Numbers, booster: lightgbm.Booster, trusted: float
) -> tuple[float, float]:
    """Constant and factor that make a mean load of a predicted root's square.

    The mean of squares is above the square of the mean root by the variance, which grows with the load. Least squares on
    the training rows, the fuller ones counting less as they spread more; at most `_LINE_ROWS` of them.
    """
    chosen = slice(None, None, -(-rows.height // _LINE_ROWS))
    some = rows[chosen]
    raw = np.asarray(booster.predict(np.ascontiguousarray(matrix[chosen]), raw_score=True))
    square = _squared(_part(some, trusted) * raw, _log_guess(some, trusted))
    scale = np.sqrt(some["weight"].to_numpy() / (1 + square))
    design = np.column_stack([np.ones_like(square), square]) * scale[:, None]
    constant, factor = np.linalg.lstsq(design, some["load"].to_numpy() * scale)[0]
    return float(constant), float(factor)


def _part(rows: pl.DataFrame, trusted: float) -> Numbers:
    """The part of the trees' correction that is made for each row: by the training dates and the row's tier."""
    return trust_in_tiers(rows["tier"].to_numpy(), trusted)


def _squared(correction: Numbers, log_expected: Numbers) -> Numbers:
    """The square of the expected load's root with its correction."""
    return np.maximum(correction + _root_of(log_expected), 0.0) ** 2


def _of_squares(square: Numbers, line: tuple[float, float]) -> Numbers:
    return np.maximum(line[0] + line[1] * square, 0.0)


def _root_of(log_expected: Numbers) -> Numbers:
    """The root of the expected load, of which the logarithm is given."""
    return np.exp(log_expected / 2)


def _spread(boosters: Sequence[lightgbm.Booster], features: Numbers) -> Numbers:
    return np.sort(np.column_stack([np.asarray(booster.predict(features)) for booster in boosters]), axis=1)


def spread_features(matrix: Matrix | Numbers, mean: Numbers) -> Numbers:
    """The root of the mean, and those features that say how steady a departure is rather than what day it is; mode last."""
    chosen = [(*NUMBERS, *CATEGORIES).index(name) for name in (*SPREAD_NUMBERS, *CATEGORIES)]
    return np.column_stack([to_root(mean), matrix[:, chosen].astype(np.float64)])


def _log_expected(rows: pl.DataFrame) -> Numbers:
    return np.log(rows["expected"].to_numpy() + STEADYING_LOAD)


def _log_guess(rows: pl.DataFrame, trusted: float) -> Numbers:
    """The logarithm of what the trees' correction is added to: where they are trusted in part, the rest leans half-way to HA4."""
    lean = rows[_HA4].fill_null(0.0).cast(pl.Float64).to_numpy()
    return _log_expected(rows) + (1 - trusted) * 0.5 * lean
