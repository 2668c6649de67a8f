"""Loads around a departure: in the hours before and after, and at the stops before and after on its journey.

They serve new hours and new stops of a line with counts. The departure's own slot is never used.
"""

from __future__ import annotations

from typing import Literal

import polars as pl

from ruter_dagster.contracts.features import FAR_HOURS
from ruter_dagster.forecasting import keys
from ruter_dagster.forecasting.history import DECIMALS, mean_of_sums
from ruter_dagster.forecasting.tiers import own_expected_load

_QUIET_HOUR = 4
"""Local hour in which hardly anyone travels, between one service day and the next."""
_SIDES: dict[str, Literal["backward", "forward"]] = {"earlier": "backward", "later": "forward"}


def nearest_hours(slots: pl.DataFrame, counted: pl.DataFrame) -> pl.DataFrame:
    """The nearest hours with counts of each slot's line and stop, and the load between them; one row per row of `slots`.

    `counted` has `slot`, `value` and `total` (sums of class-of-day loads). Columns: `earlier_hour`, `hours_to_earlier`
    and so on of contract `features.departure_features`, and `neighbouring_hours`.
    """
    known = (
        counted.select("slot", mean_of_sums("known"))
        .filter(pl.col("known").is_not_null())
        .sort("slot")
        .with_columns(pl.col("slot").alias("at"))
    )
    ordered = slots.select("slot").with_row_index("row").sort("slot")
    nearest = [
        _nearest(ordered, known, side, least, suffix)
        for least, suffix in ((1, ""), (FAR_HOURS, "_far"))
        for side in _SIDES
    ]
    return (
        pl.concat([ordered, *nearest], how="horizontal")
        .sort("row")
        .with_columns(interpolated_hours(keys.hour()))
        .drop("row", "slot")
    )


def _nearest(ordered: pl.DataFrame, known: pl.DataFrame, side: str, least: int, suffix: str) -> pl.DataFrame:
    """The nearest known slot of the same line and stop, at least `least` hours away."""
    direction = -1 if side == "earlier" else 1
    joined = ordered.with_columns(pl.col("slot") + direction * least).join_asof(
        known, on="slot", strategy=_SIDES[side], check_sortedness=False
    )
    slot = ordered["slot"]
    here = joined.select("known", "at", slot.alias("here"))
    same = keys.line_and_stop("here") == keys.line_and_stop("at")
    return here.select(
        pl.when(same).then("known").alias(f"{side}_hour{suffix}"),
        pl.when(same)
        .then((pl.col("at") - pl.col("here")).abs())
        .cast(pl.Int32)
        .alias(f"hours_to_{side}{suffix}"),
    )


def interpolated_hours(hour: pl.Expr) -> pl.Expr:
    """`neighbouring_hours` for a slot of this hour: linear between `earlier_hour` and `later_hour`.

    Before the first and after the last hour, the load falls to 0 at `_QUIET_HOUR` of the night.
    """
    earlier, later = pl.col("earlier_hour").fill_null(0.0), pl.col("later_hour").fill_null(0.0)
    to_earlier = pl.coalesce("hours_to_earlier", (hour - _QUIET_HOUR).clip(1))
    to_later = pl.coalesce("hours_to_later", (_QUIET_HOUR + 24 - hour).clip(1))
    between = (earlier * to_later + later * to_earlier) / (to_earlier + to_later)
    known = pl.col("earlier_hour").is_not_null() | pl.col("later_hour").is_not_null()
    return pl.when(known).then(between).round(DECIMALS).alias("neighbouring_hours")


def journey_loads(rows: pl.DataFrame) -> pl.DataFrame:
    """`usual_previous_stop` and `journey_load`; one row per row of `rows` (features of one service date)."""
    ordered = (
        rows.lazy()
        .select("trip_id", "stop_sequence", "usual", own_expected_load().alias("own"))
        .with_row_index("row")
        .sort("trip_id", "stop_sequence")
        .with_columns(pl.col("trip_id").rle_id().alias("trip"))
        .drop("trip_id", "stop_sequence")
        .with_row_index("stop_index")
        .with_columns(pl.col("stop_index").cast(pl.Int64))
        .collect()
    )
    before, after = _known_stop(ordered, 1), _known_stop(ordered, -1)
    between = pl.concat([ordered, before, after], how="horizontal").select(
        "row",
        pl.when(pl.col("trip").shift(1) == pl.col("trip"))
        .then(pl.col("usual").shift(1))
        .alias("usual_previous_stop"),
        _between_stops(),
    )
    return between.sort("row").drop("row")


def _known_stop(ordered: pl.DataFrame, step: int) -> pl.DataFrame:
    """Load and index of the nearest stop with own counts before (step 1) or after (step -1) on the same journey."""
    side = "before" if step == 1 else "after"
    columns = ("own", "stop_index", "trip")
    known = [pl.when(pl.col("own").is_not_null()).then(pl.col(name)).shift(step) for name in columns]
    filled = ordered.select(
        (one.forward_fill() if step == 1 else one.backward_fill()).alias(f"{name}_{side}")
        for one, name in zip(known, columns, strict=True)
    )
    same = filled[f"trip_{side}"] == ordered["trip"]
    return filled.select(
        pl.when(same).then(pl.col(f"{name}_{side}")).alias(f"{name}_{side}") for name in ("own", "stop_index")
    )


def _between_stops() -> pl.Expr:
    """Linear between the known stops. A journey is empty one stop before its first stop and one stop after its last."""
    index = pl.col("stop_index")
    first, last = index.min().over("trip"), index.max().over("trip")
    known = pl.col("own_before").is_not_null() | pl.col("own_after").is_not_null()
    load_before, load_after = pl.col("own_before").fill_null(0.0), pl.col("own_after").fill_null(0.0)
    before = pl.coalesce("stop_index_before", first - 1)
    after = pl.coalesce("stop_index_after", last + 1)
    between = (load_before * (after - index) + load_after * (index - before)) / (after - before)
    return pl.when(known).then(between).round(DECIMALS).alias("journey_load")
