"""How good forecasts are: scores beside the baselines, intervals by week, and the release gate.

Frames here hold, a row a forecast: service_date, mode, horizon_days, load (the truth), mean, p10, p50, p90, last_week,
ha4, ha8. Rows without a truth are left out of every score.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl

from ruter_dagster.forecasting.baselines import BASELINES

_DRAWS = 2000
_CONFIDENCE = (2.5, 97.5)


@dataclass(frozen=True)
class Improvement:
    """How much smaller the model's WAPE is than a baseline's: 0.22 is 22 % under; the 95 % interval from weekly blocks."""

    baseline: str
    relative: float
    low: float
    high: float


@dataclass(frozen=True)
class Gate:
    """The release gate of a mode and horizon. `passed`: not worse than the best baseline beyond the interval."""

    mode: str
    horizon_days: int
    wape: float
    best: Improvement
    passed: bool


def wape(load: str, forecast: str) -> pl.Expr:
    """Sum of |forecast - load| over the sum of loads; null where nobody travelled."""
    total = pl.col(load).sum()
    return pl.when(total > 0).then((pl.col(forecast) - pl.col(load)).abs().sum() / total)


def pinball(load: str, forecast: str, level: float) -> pl.Expr:
    """Mean pinball loss of a quantile forecast, passengers."""
    above = pl.col(load) - pl.col(forecast)
    return pl.max_horizontal(level * above, (level - 1) * above).mean()


def scores(forecasts: pl.DataFrame, by: tuple[str, ...] = ()) -> pl.DataFrame:
    """One row (or one for each group of `by`): rows, WAPE of the model and each baseline, bias, coverage, pinball.

    `wape_<baseline>` and `improvement_<baseline>` are over the rows given: pass `comparable(forecasts)` so that
    every column is about the same rows.
    """
    judged = forecasts.filter(pl.col("load").is_not_null())
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
    grouped = judged.group_by(by).agg(columns).sort(by) if by else judged.select(columns)
    return grouped.with_columns(
        (1 - pl.col("wape") / pl.col(f"wape_{name}")).alias(f"improvement_{name}") for name in BASELINES
    )


def comparable(forecasts: pl.DataFrame) -> pl.DataFrame:
    """The rows that every baseline has a forecast for: those with LW (and so HA4 and HA8)."""
    return forecasts.filter(pl.col("last_week").is_not_null())


def without_last_week(forecasts: pl.DataFrame) -> pl.DataFrame:
    """The rows that the table against the baselines leaves out; `scores` judges them by themselves."""
    return forecasts.filter(pl.col("last_week").is_null())


def share_without_last_week(forecasts: pl.DataFrame) -> float:
    """Share of the rows with a truth that LW knows nothing of, 0 to 1."""
    judged = forecasts.filter(pl.col("load").is_not_null())
    return judged["last_week"].null_count() / max(judged.height, 1)


def improvement(forecasts: pl.DataFrame, baseline: str, seed: int = 0) -> Improvement:
    """1 - WAPE / WAPE of `baseline` over comparable rows, with its 95 % interval by a bootstrap of weekly blocks.

    Weeks (seven dates from the first on) are drawn with replacement, 2,000 times; with fewer than two the interval is
    unbounded.
    """
    errors = _weekly_errors(forecasts, baseline)
    if errors.is_empty() or not errors["baseline"].sum():
        return Improvement(baseline, float("nan"), float("-inf"), float("inf"))
    model, other = errors["model"].to_numpy(), errors["baseline"].to_numpy()
    relative = float(1 - model.sum() / other.sum())
    if errors.height < 2:
        return Improvement(baseline, relative, float("-inf"), float("inf"))
    drawn = np.random.default_rng(seed).integers(0, errors.height, (_DRAWS, errors.height))
    ratios = model[drawn].sum(axis=1) / np.maximum(other[drawn].sum(axis=1), 1e-9)
    low, high = np.percentile(1 - ratios, _CONFIDENCE)
    return Improvement(baseline, relative, float(low), float(high))


def release_gate(forecasts: pl.DataFrame) -> list[Gate]:
    """One verdict for each mode and horizon: the model is not worse than the best baseline.

    Worse means that the interval of its improvement over that baseline lies below zero as a whole.
    """
    judged = comparable(forecasts.filter(pl.col("load").is_not_null()))
    gates = []
    for (mode, horizon), rows in sorted(judged.partition_by("mode", "horizon_days", as_dict=True).items()):
        score = scores(rows).row(0, named=True)
        best = improvement(rows, min(BASELINES, key=lambda name: score[f"wape_{name}"] or float("inf")))
        passed = not (best.relative < 0 and best.high < 0)
        gates.append(Gate(str(mode), int(horizon), score["wape"], best, passed))
    return gates


def _weekly_errors(forecasts: pl.DataFrame, baseline: str) -> pl.DataFrame:
    """Absolute errors of the model and `baseline`, a row a week."""
    week = (pl.col("service_date") - pl.col("service_date").min()).dt.total_days() // 7
    return (
        comparable(forecasts.filter(pl.col("load").is_not_null()))
        .group_by(week.alias("week"))
        .agg(
            (pl.col("mean") - pl.col("load")).abs().sum().alias("model"),
            (pl.col(baseline) - pl.col("load")).abs().sum().alias("baseline"),
        )
        .sort("week")
    )
