"""Quality of forecasts: scores beside the baselines, intervals, and the release gate.

Frames have one row per forecast: service_date, mode, horizon_days, load (as observed), mean, p10, p50, p90, last_week,
ha4, ha8. Rows without a load are left out of every score.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from ruter_dagster.forecasting.baselines import BASELINES, SIX_MONTH_MEAN
from ruter_dagster.forecasting.prediction_intervals import QUANTILES

_DRAWS = 2000
_CONFIDENCE = (2.5, 97.5)
MIN_WEEKS = 8
"""Fewer weeks are too few blocks: the interval of two weeks has the gains of both as its ends, and is narrow if they are alike."""
CROWDED_PRECISION = 0.5
"""Precision at which the recall of crowded departures is reported."""
_BANDS = (0.01, 0.05, 0.2, 0.5)
"""Bounds of the probability bands in which reliability is reported."""


@dataclass(frozen=True)
class Improvement:
    """How much smaller the model's WAPE is than a baseline's: 0.22 is 22 % less. `low` and `high`: 95 % interval."""

    baseline: str
    relative: float
    low: float
    high: float


@dataclass(frozen=True)
class Gate:
    """The release gate of a mode and horizon. `passed`: not significantly worse than the best baseline."""

    mode: str
    horizon_days: int
    wape: float
    best: Improvement
    passed: bool


def wape(load: str, forecast: str) -> pl.Expr:
    """Sum of |forecast - load| over the sum of loads; null if there were no passengers."""
    total = pl.col(load).sum()
    return pl.when(total > 0).then((pl.col(forecast) - pl.col(load)).abs().sum() / total)


def pinball(load: str, forecast: str, level: float) -> pl.Expr:
    """Mean pinball loss of a quantile forecast, passengers."""
    above = pl.col(load) - pl.col(forecast)
    return pl.max_horizontal(level * above, (level - 1) * above).mean()


def scores(forecasts: pl.DataFrame, by: tuple[str, ...] = ()) -> pl.DataFrame:
    """One row (or one per group of `by`): rows, WAPE of the model and each baseline, bias, coverage, pinball losses.

    `wape_<baseline>` and `improvement_<baseline>` use the rows that the baseline knows: pass `comparable(forecasts)` so
    that all columns describe the same rows.
    """
    scored = forecasts.filter(pl.col("load").is_not_null())
    within = pl.col("load").is_between(pl.col("p10"), pl.col("p90"))
    columns = [
        pl.len().alias("rows"),
        pl.col("load").mean().alias("mean_load"),
        wape("load", "mean").alias("wape"),
        *(wape("load", name).alias(f"wape_{name}") for name in BASELINES),
        (pl.col("mean").sum() / pl.col("load").sum() - 1).alias("bias"),
        within.mean().alias("coverage"),
        *(pinball("load", f"p{level}", level / 100).alias(f"pinball_p{level}") for level in (10, 50, 90)),
    ]
    grouped = scored.group_by(by).agg(columns).sort(by) if by else scored.select(columns)
    return grouped.with_columns(
        (1 - pl.col("wape") / pl.col(f"wape_{name}")).alias(f"improvement_{name}") for name in BASELINES
    )


def distribution_scores(forecasts: pl.DataFrame) -> pl.DataFrame:
    """Quality of whole distributions: one row for the model and each baseline, over the rows that all of them know.

    `forecasts` also has `seats`, `prob_above_seats` and the columns of `baselines.baseline_quantiles`. With the columns of
    `baselines.six_month_means`, that baseline is scored too. Columns, in passengers unless stated otherwise:

    - `wape` (share), `coverage` of P10 to P90 (share), `pinball_p10`, `pinball_p50`, `pinball_p90`;
    - `crps`: of the three quantiles, `scoringrules.crps_quantile`;
    - `crowded`: departures with more passengers than seats; `crowded_expected`: the sum of their probabilities;
    - `crowded_recall`: the largest share of crowded departures that a threshold finds with a precision of one half. The
      model's threshold is on `prob_above_seats`, a baseline's on its mean over the seats.

    Columns about seats are null if no seats are known; `crowded_expected` is null for the six-month mean.
    """
    known = [name for name in (*BASELINES, SIX_MONTH_MEAN) if name in forecasts.columns]
    scored = forecasts.filter(pl.all_horizontal(pl.col("load", *known).is_not_null()))
    with_seats = scored.filter(pl.col("seats").is_not_null()).with_columns(
        (pl.col("load") > pl.col("seats")).alias("crowded")
    )
    model = _Distribution("model", "mean", "", "prob_above_seats", pl.col("prob_above_seats"))
    baselines = [
        _Distribution(
            name,
            name,
            f"{name}_",
            None if name == SIX_MONTH_MEAN else f"{name}_above_seats",
            pl.col(name) / pl.col("seats"),
        )
        for name in known
    ]
    rows = [_score_distribution(distribution, scored, with_seats) for distribution in (model, *baselines)]
    return pl.DataFrame(rows, schema_overrides={"crowded_expected": pl.Float64, "crowded_recall": pl.Float64})


@dataclass(frozen=True)
class _Distribution:
    """The columns of a forecaster: its mean, its quantiles, its probability above the seats, its ranking of crowded departures."""

    name: str
    mean: str
    prefix: str
    probability: str | None
    rank: pl.Expr


def _score_distribution(
    distribution: _Distribution, scored: pl.DataFrame, with_seats: pl.DataFrame
) -> dict[str, Any]:
    import scoringrules

    quantiles = [f"{distribution.prefix}p{round(100 * level)}" for level in QUANTILES]
    load = scored["load"].to_numpy()
    losses = scored.select(
        wape("load", distribution.mean).alias("wape"),
        pl.col("load").is_between(quantiles[0], quantiles[-1]).mean().alias("coverage"),
        *(
            pinball("load", name, level).alias(f"pinball_p{round(100 * level)}")
            for name, level in zip(quantiles, QUANTILES, strict=True)
        ),
    ).row(0, named=True)
    crps = scoringrules.crps_quantile(load, scored.select(quantiles).to_numpy(), np.array(QUANTILES))
    crowded = with_seats["crowded"]
    return {
        "forecast": distribution.name,
        **losses,
        "crps": float(np.mean(crps)) if scored.height else None,
        "crowded": int(crowded.sum()) if with_seats.height else None,
        "crowded_expected": with_seats[distribution.probability].sum()
        if distribution.probability and with_seats.height
        else None,
        "crowded_recall": recall_at_precision(crowded, with_seats.select(distribution.rank).to_series()),
    }


def recall_at_precision(
    happened: pl.Series, score: pl.Series, precision: float = CROWDED_PRECISION
) -> float | None:
    """The largest recall of a threshold of `score` with at least this precision.

    None if nothing happened; 0 if no threshold is precise enough.
    """
    if not happened.sum():
        return None
    thresholds = (
        pl.DataFrame({"happened": happened.cast(pl.Int64), "score": score})
        .group_by("score")
        .agg(pl.col("happened").sum(), pl.len().alias("rows"))
        .sort("score", descending=True)
        .select(pl.col("happened", "rows").cum_sum())
    )
    precise = thresholds.filter(pl.col("happened") >= precision * pl.col("rows"))
    return float(precise["happened"].max() or 0) / float(happened.sum())  # pyright: ignore[reportArgumentType]


def quantile_shares(forecasts: pl.DataFrame) -> pl.DataFrame:
    """By mode and level of `QUANTILES`: the shares of loads `below` and `at_most` the forecast quantile, 0 to 1.

    A calibrated quantile has its level between both. They differ where loads equal the quantile, as in empty vehicles.
    Rows without a load are left out. Columns: mode, level, below, at_most.
    """
    scored = forecasts.filter(pl.col("load").is_not_null())
    by_level = [
        scored.group_by("mode").agg(
            pl.lit(level).alias("level"),
            (pl.col("load") < pl.col(f"p{round(100 * level)}")).mean().alias("below"),
            (pl.col("load") <= pl.col(f"p{round(100 * level)}")).mean().alias("at_most"),
        )
        for level in QUANTILES
    ]
    return pl.concat(by_level).sort("mode", "level")


def reliability(forecasts: pl.DataFrame) -> pl.DataFrame:
    """By bands of `prob_above_seats`: departures, the mean forecast probability, and the observed share above the seats.

    Rows without load or seats are left out; a band without departures has no row.
    """
    scored = forecasts.filter(
        pl.col("load").is_not_null()
        & pl.col("seats").is_not_null()
        & pl.col("prob_above_seats").is_not_null()
    )
    probability = pl.col("prob_above_seats")
    labels = [f"{low:g} to {high:g}" for low, high in zip((0.0, *_BANDS), (*_BANDS, 1.0), strict=True)]
    return (
        scored.group_by(probability.cut(_BANDS, labels=labels).alias("band"))
        .agg(
            pl.len().alias("departures"),
            probability.mean().alias("forecast"),
            (pl.col("load") > pl.col("seats")).mean().alias("observed"),
        )
        .sort("forecast")
        .with_columns(pl.col("band").cast(pl.String))
    )


def comparable(forecasts: pl.DataFrame) -> pl.DataFrame:
    """The rows for which every baseline has a forecast: those with last week's load (and so HA4 and HA8)."""
    return forecasts.filter(pl.col("last_week").is_not_null())


def without_last_week(forecasts: pl.DataFrame) -> pl.DataFrame:
    """The rows that the comparison with the baselines leaves out; `scores` reports them separately."""
    return forecasts.filter(pl.col("last_week").is_null())


def share_without_last_week(forecasts: pl.DataFrame) -> float:
    """Share of the rows with a load that have no load of last week, 0 to 1."""
    scored = forecasts.filter(pl.col("load").is_not_null())
    return scored["last_week"].null_count() / max(scored.height, 1)


def improvement(forecasts: pl.DataFrame, baseline: str, seed: int = 0) -> Improvement:
    """1 - WAPE / WAPE of `baseline` over comparable rows, with its 95 % interval by a bootstrap of blocks of dates.

    The blocks are weeks (seven dates from the first on), or single dates if there are fewer than `MIN_WEEKS` weeks. They are
    drawn with replacement, 2,000 times. With fewer than two weeks the interval is unbounded.
    """
    errors = _daily_errors(forecasts, baseline)
    if errors.is_empty() or not errors["baseline"].sum():
        return Improvement(baseline, float("nan"), float("-inf"), float("inf"))
    relative = 1 - float(errors["model"].sum()) / float(errors["baseline"].sum())
    weeks = errors.group_by("week").agg(pl.col("model", "baseline").sum()).sort("week")
    if weeks.height < 2:
        return Improvement(baseline, relative, float("-inf"), float("inf"))
    blocks = errors if weeks.height < MIN_WEEKS else weeks
    model, other = blocks["model"].to_numpy(), blocks["baseline"].to_numpy()
    drawn = np.random.default_rng(seed).integers(0, blocks.height, (_DRAWS, blocks.height))
    ratios = model[drawn].sum(axis=1) / np.maximum(other[drawn].sum(axis=1), 1e-9)
    low, high = np.percentile(1 - ratios, _CONFIDENCE)
    return Improvement(baseline, relative, float(low), float(high))


def release_gate(forecasts: pl.DataFrame) -> list[Gate]:
    """One verdict per mode and horizon: the model is not worse than the best baseline.

    Worse means that the whole interval of its improvement over that baseline is below zero.
    """
    scored = comparable(forecasts.filter(pl.col("load").is_not_null()))
    gates = []
    for (mode, horizon), rows in sorted(scored.partition_by("mode", "horizon_days", as_dict=True).items()):
        score = scores(rows).row(0, named=True)
        best = improvement(rows, min(BASELINES, key=lambda name: score[f"wape_{name}"] or float("inf")))
        passed = not (best.relative < 0 and best.high < 0)
        gates.append(Gate(str(mode), int(horizon), score["wape"], best, passed))
    return gates


def _daily_errors(forecasts: pl.DataFrame, baseline: str) -> pl.DataFrame:
    """Absolute errors of the model and `baseline`, one row per date with the number of its `week`."""
    week = (pl.col("service_date") - pl.col("service_date").min()).dt.total_days() // 7
    return (
        comparable(forecasts.filter(pl.col("load").is_not_null()))
        .group_by("service_date", week.alias("week"))
        .agg(
            (pl.col("mean") - pl.col("load")).abs().sum().alias("model"),
            (pl.col(baseline) - pl.col("load")).abs().sum().alias("baseline"),
        )
        .sort("service_date")
    )
