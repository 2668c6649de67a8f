"""Forecasts after a change of the planned vehicles: the same loads, other capacities. No model is run.

The distribution of a load is the one of `prediction_intervals.py`: P10, P50 and P90 give its scale on Anscombe's roots, and a
tail gives the log-odds of a load above a number of seats. The log-odds are shifted so that the former seats have the
probability that the forecast had. So an unchanged capacity keeps its probability, and more seats never raise it.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import polars as pl

from ruter_dagster.contracts.errors import BadInput
from ruter_dagster.contracts.tables import LOAD_FORECASTS
from ruter_dagster.contracts.validation import conform
from ruter_dagster.forecasting.occupancy import OccupancyThresholds, occupancy
from ruter_dagster.forecasting.prediction_intervals import (
    NORMAL_TAIL,
    QUANTILES,
    Numbers,
    Tail,
    log_odds,
    probability_above,
    probability_of_odds,
    to_root,
)
from ruter_dagster.forecasting.reasons import MIN_WEEKS, add_codes, is_larger, is_smaller
from ruter_dagster.forecasting.tiers import with_unknown_loads

KEY = ("operating_date", "trip_id", "stop_sequence")
CAPACITIES = ("seats", "total_capacity")
PLAN_COLUMNS = ("service_date", "trip_id", "stop_sequence", *CAPACITIES)
"""The columns of the plan that are read."""
USUAL_COLUMNS = ("service_date", "trip_id", "stop_sequence", "usual_seats")
"""The columns of departure features that are read."""
LOADS = ("mean", "p10", "p50", "p90", "prob_above_seats")


def set_capacities(
    forecasts: pl.DataFrame,
    plan: pl.DataFrame,
    usual: pl.DataFrame,
    thresholds: OccupancyThresholds,
    tails: Mapping[str, Tail],
    has_default_seats: pl.Expr | None = None,
) -> pl.DataFrame:
    """The forecasts (contract LOAD_FORECASTS, in their order) with the capacities of `plan`, and what follows from them.

    Departures with another capacity get its seats, places, probability above the seats and reasons of vehicles. All departures
    get their level, status and percentage by `thresholds`. A departure that the plan lacks keeps its capacity.

    Args:
        plan: `PLAN_COLUMNS` of contract `raw.planned_departures`.
        usual: `USUAL_COLUMNS` of contract `features.departure_features`; the former seats replace a missing row.
        tails: the tail of each model version of the forecasts. Baselines have the normal tail.
        has_default_seats: as for `reasons`.

    Raises `BadInput` if the tail of a model version is missing.
    """
    rows = _joined(forecasts, plan, usual)
    changed = rows.filter(_is_changed())
    if changed.height:
        rows = pl.concat([rows.filter(_is_changed().not_()), _recomputed(changed, tails, has_default_seats)])
    return conform(
        rows.sort("row")
        .with_columns(*occupancy("mean", thresholds), pl.lit(thresholds.version).alias("thresholds_version"))
        .select(LOAD_FORECASTS.column_names),
        LOAD_FORECASTS,
    )


def update_capacities(features: pl.DataFrame, plan: pl.DataFrame) -> pl.DataFrame:
    """The features (contract DEPARTURE_FEATURES, in their order) with the seats and places of `plan` (`PLAN_COLUMNS`).

    So a vehicle that was changed after the features were computed counts. A departure that the plan lacks keeps its capacity.
    """
    key = list(PLAN_COLUMNS[:3])
    # Both tables are stored in the order of this key. A join of half a million wide rows takes ten times as long.
    if features.select(key).equals(plan.select(key)):
        return features.with_columns(plan.select(CAPACITIES))
    planned = plan.select(
        *PLAN_COLUMNS[:3],
        *(pl.col(name).alias(f"planned_{name}") for name in CAPACITIES),
        pl.lit(True).alias("is_planned"),
    )
    joined = features.join(planned, on=PLAN_COLUMNS[:3], how="left", maintain_order="left")
    return joined.with_columns(
        pl.when("is_planned").then(pl.col(f"planned_{name}")).otherwise(name).alias(name)
        for name in CAPACITIES
    ).select(features.columns)


def changed_departures(forecasts: pl.DataFrame, plan: pl.DataFrame) -> int:
    """Number of forecast departures that have another capacity in `plan` (`PLAN_COLUMNS`)."""
    return (
        _joined(forecasts, plan, plan.clear().select(*PLAN_COLUMNS[:3], usual_seats=None))
        .filter(_is_changed())
        .height
    )


def _joined(forecasts: pl.DataFrame, plan: pl.DataFrame, usual: pl.DataFrame) -> pl.DataFrame:
    """The forecasts with `row`, `planned_seats`, `planned_total_capacity`, `is_planned` and `usual_seats`."""
    planned = plan.select(
        pl.col("service_date").alias("operating_date"),
        *KEY[1:],
        *(pl.col(name).alias(f"planned_{name}") for name in CAPACITIES),
        pl.lit(True).alias("is_planned"),
    )
    usual = usual.select(
        pl.col("service_date").alias("operating_date"), *KEY[1:], pl.col("usual_seats").cast(pl.Float64)
    )
    return (
        forecasts.with_row_index("row")
        .join(planned, on=KEY, how="left", maintain_order="left")
        .join(usual, on=KEY, how="left", maintain_order="left")
    )


def _is_changed() -> pl.Expr:
    differs = [pl.col(name).ne_missing(pl.col(f"planned_{name}")) for name in CAPACITIES]
    return pl.col("is_planned").fill_null(False) & pl.any_horizontal(differs)


def _recomputed(
    rows: pl.DataFrame, tails: Mapping[str, Tail], has_default_seats: pl.Expr | None
) -> pl.DataFrame:
    """The rows with their planned capacities, probabilities and reasons."""
    former = rows["seats"]
    seats = rows.with_columns(pl.col(f"planned_{name}").alias(name) for name in CAPACITIES).with_columns(
        pl.col("usual_seats").fill_null(former)
    )
    probability = pl.Series("prob_above_seats", _probabilities(rows, tails), nan_to_null=True)
    loads = with_unknown_loads(seats.select(*LOADS[:-1], probability), seats)
    is_vehicle = (pl.col("history_count") >= MIN_WEEKS) & (
        pl.lit(True) if has_default_seats is None else has_default_seats.not_()
    )
    codes = {"smallerVehicle": is_vehicle & is_smaller(), "largerVehicle": is_vehicle & is_larger()}
    return seats.with_columns(loads).with_columns(add_codes(pl.col("reasons"), codes)).select(rows.columns)


def _probabilities(rows: pl.DataFrame, tails: Mapping[str, Tail]) -> Numbers:
    """P(load > planned seats), NaN if they are unknown."""
    result = np.full(rows.height, np.nan)
    versions = rows["model_version"].fill_null("")
    for version in versions.unique():
        chosen = (versions == version).to_numpy()
        if version and version not in tails:
            raise BadInput(
                f"The tail of model {version} is missing, so its probabilities of more passengers than seats are unknown"
            )
        result[chosen] = _shifted(rows.filter(chosen), tails[version] if version else NORMAL_TAIL)
    return result


def _shifted(rows: pl.DataFrame, tail: Tail) -> Numbers:
    """The probability by `tail`, its log-odds shifted so that the former seats keep their probability."""
    mean, quantiles = rows["mean"].to_numpy(), rows.select(f"p{round(100 * q)}" for q in QUANTILES).to_numpy()
    spread = to_root(quantiles) - to_root(mean)[:, None]
    former, planned = (
        probability_above(rows[name].cast(pl.Float64).fill_null(np.nan).to_numpy(), mean, spread, tail)
        for name in ("seats", "planned_seats")
    )
    stored = rows["prob_above_seats"].fill_null(np.nan).to_numpy()
    shift = np.nan_to_num(log_odds(stored) - log_odds(former))
    same = rows.select(pl.col("seats").eq_missing(pl.col("planned_seats"))).to_series().to_numpy()
    return np.where(same, stored, probability_of_odds(log_odds(planned) + shift))
