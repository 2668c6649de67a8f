"""Reasons: codes of what sets a departure's forecast apart from an ordinary one.

Holidays and weather touch the whole network, so their codes are given only where the forecast differs from the usual load.
The other codes are facts about the departure itself and are always given.
"""

from __future__ import annotations

from collections.abc import Mapping

import polars as pl

from ruter_dagster.contracts.tables import REASONS
from ruter_dagster.forecasting.tiers import has_own_counts

MIN_DIFFERENCE = 5.0
"""A forecast differs from the usual load by at least this number of passengers."""
MIN_RELATIVE_DIFFERENCE = 0.25
"""A forecast differs from the usual load by at least this share of it."""
MIN_WEEKS = 3
"""Fewer of the last 8 weeks with a load of the slot are little history, for the load and for the vehicle."""
SMALLER_VEHICLE = 0.7
"""A smaller vehicle has at most this share of the usual seats. For a larger one, the usual seats are at most this share of its seats.

Lines run vehicles of several types, so that the seats of an ordinary departure differ from the mean of its slot by up to a quarter.
"""
HEAVY_RAIN = 1.0
"""mm in the hour."""
STRONG_WIND = 10.8
"""m/s, Beaufort 6."""
COLD, HOT = -10.0, 27.0
"""°C."""
MODEL_FAILED = "modelFailed"


def reasons(has_default_seats: pl.Expr | None = None, model_failed: bool = False) -> pl.Expr:
    """`reasons` of model rows that also have the forecast's `mean`: codes of `REASONS` separated by a space, "" if none.

    Args:
        has_default_seats: whether `seats` are the operator's default, because the plan names no vehicle. Such a departure has
            neither a smaller nor a larger vehicle.
        model_failed: whether every row also has the code `modelFailed`.
    """
    conditions = _conditions(pl.lit(False) if has_default_seats is None else has_default_seats)
    # One lookup by a bit mask: joining texts for each of millions of rows takes ten times as long (goal: forecasting).
    mask = pl.sum_horizontal(
        pl.when(condition).then(pl.lit(2**bit, pl.UInt8)).otherwise(pl.lit(0, pl.UInt8))
        for bit, condition in enumerate(conditions.values())
    )
    texts = _texts(tuple(conditions), (MODEL_FAILED,) if model_failed else ())
    return pl.lit(pl.Series(texts, dtype=pl.String)).gather(mask).alias("reasons")


def model_failed(forecasts: pl.DataFrame) -> bool:
    """Whether any forecast (column `reasons`) replaces a model that failed: then the publication is degraded."""
    return bool(forecasts["reasons"].fill_null("").str.contains(MODEL_FAILED, literal=True).any())


def differs_from_usual() -> pl.Expr:
    """Whether `mean` differs from the usual load, the mean of the slot's last 8 weeks (HA8). False if that is unknown."""
    difference = (pl.col("mean") - pl.col("ha8")).abs()
    relative = difference >= MIN_RELATIVE_DIFFERENCE * pl.col("ha8")
    return ((difference >= MIN_DIFFERENCE) & relative).fill_null(False)


def is_smaller() -> pl.Expr:
    """Whether `seats` are those of a smaller vehicle than `usual_seats`. False if one of them is unknown."""
    seats, usual_seats = pl.col("seats"), pl.col("usual_seats")
    return ((seats <= SMALLER_VEHICLE * usual_seats) & (seats < usual_seats)).fill_null(False)


def is_larger() -> pl.Expr:
    """Whether `seats` are those of a larger vehicle than `usual_seats`. False if one of them is unknown."""
    seats, usual_seats = pl.col("seats"), pl.col("usual_seats")
    return ((usual_seats <= SMALLER_VEHICLE * seats) & (usual_seats < seats)).fill_null(False)


def add_codes(reasons: pl.Expr, conditions: Mapping[str, pl.Expr]) -> pl.Expr:
    """The texts `reasons`, where each code of `conditions` is present if and only if its condition is true.

    Other codes stay. A null text counts as empty.
    """
    present = reasons.fill_null("").str.split(" ")
    parts = [
        pl.when(conditions.get(code, present.list.contains(code))).then(pl.lit(code)) for code in REASONS
    ]
    return pl.concat_str(parts, separator=" ", ignore_nulls=True).alias("reasons")


def _conditions(has_default_seats: pl.Expr) -> dict[str, pl.Expr]:
    """The condition of each code, in the order of `REASONS`."""
    differs = differs_from_usual()
    holiday = pl.any_horizontal("public_holiday", "minor_holiday", "bridge_day", "school_holiday")
    comparable = (pl.col("history_count") >= MIN_WEEKS) & has_default_seats.not_()
    conditions = {
        "holiday": differs & holiday,
        "weather": differs & _is_unusual_weather(),
        "event": pl.col("events") > 0,
        "smallerVehicle": comparable & is_smaller(),
        "largerVehicle": comparable & is_larger(),
        "newJourney": has_own_counts().not_(),
        "littleHistory": has_own_counts() & (pl.col("history_count") < MIN_WEEKS),
    }
    return {code: conditions[code] for code in REASONS if code != MODEL_FAILED}


def _is_unusual_weather() -> pl.Expr:
    temperature = pl.col("temperature")
    return (
        (pl.col("precipitation") >= HEAVY_RAIN)
        | (pl.col("wind_speed") >= STRONG_WIND)
        | (temperature <= COLD)
        | (temperature >= HOT)
    )


def _texts(codes: tuple[str, ...], suffix: tuple[str, ...]) -> list[str]:
    """The text of each bit mask, where bit i stands for `codes[i]`."""
    return [
        " ".join((*(code for bit, code in enumerate(codes) if mask >> bit & 1), *suffix))
        for mask in range(2 ** len(codes))
    ]
