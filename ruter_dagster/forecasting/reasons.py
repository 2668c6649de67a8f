"""Reasons: codes of what sets a departure's forecast apart from an ordinary one.

`holiday` and `weather` touch the whole network, so they are given only where the forecast differs from the usual load.
The other codes are facts about the departure itself and are always given.
"""

from __future__ import annotations

import polars as pl

from ruter_dagster.contracts.tables import REASONS
from ruter_dagster.forecasting.tiers import has_own_counts

MIN_DIFFERENCE = 5.0
"""Passengers by which a forecast differs from the usual load, at least."""
MIN_RELATIVE_DIFFERENCE = 0.25
"""Share of the usual load by which a forecast differs from it, at least."""
MIN_WEEKS = 3
"""Fewer of the last 8 weeks with a load of the slot are little history."""
HEAVY_RAIN = 1.0
"""mm in the hour."""
STRONG_WIND = 10.8
"""m/s, Beaufort 6."""
COLD, HOT = -10.0, 27.0
"""°C."""


def reasons(model_failed: bool = False) -> pl.Expr:
    """`reasons` of model rows that also have the forecast's `mean`: codes of `REASONS` separated by a space, "" if none.

    `model_failed`: every row also has the code `modelFailed`.
    """
    conditions = _conditions()
    # One lookup by a bit mask: joining texts for each of millions of rows takes ten times as long (goal: forecasting).
    mask = pl.sum_horizontal(
        condition.fill_null(False).cast(pl.UInt8) * 2**bit
        for bit, condition in enumerate(conditions.values())
    )
    suffix = ("modelFailed",) if model_failed else ()
    texts = pl.Series(_texts(tuple(conditions), suffix), dtype=pl.String)
    return pl.lit(texts).gather(mask).alias("reasons")


def differs_from_usual() -> pl.Expr:
    """Whether `mean` differs from the usual load, the mean of the slot's last 8 weeks (HA8). False if that is unknown."""
    difference = (pl.col("mean") - pl.col("ha8")).abs()
    return (difference >= MIN_DIFFERENCE) & (difference >= MIN_RELATIVE_DIFFERENCE * pl.col("ha8"))


def _conditions() -> dict[str, pl.Expr]:
    """The condition of each code, in the order of `REASONS`."""
    differs = differs_from_usual()
    conditions = {
        "holiday": differs
        & pl.any_horizontal("public_holiday", "minor_holiday", "bridge_day", "school_holiday"),
        "weather": differs & _is_unusual_weather(),
        "event": pl.col("events") > 0,
        "newJourney": has_own_counts().not_(),
        "littleHistory": has_own_counts() & (pl.col("history_count") < MIN_WEEKS),
    }
    return {code: conditions[code] for code in REASONS if code in conditions}


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
