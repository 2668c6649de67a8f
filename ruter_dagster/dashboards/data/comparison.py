"""Data of the page Compare: variants of the forecast on the same truth, and the same tables of two states."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date

import polars as pl

from ruter_dagster.contracts.scores import LINE_SCORES
from ruter_dagster.contracts.tables import LOAD_FORECASTS
from ruter_dagster.dashboards.data.words import share
from ruter_dagster.dashboards.engine import Reader
from ruter_dagster.dashboards.queries import (
    FORECAST_SUMS,
    LINE_DAY_SCORES,
    NETWORK_SCORES,
    VARIANT_DAYS,
    VARIANT_SCORES,
)
from ruter_dagster.forecasting.scores import ratios

VARIANTS = {
    "published": "Champion (published)",
    "challenger": "Challenger",
    "ha4": "Mean of 4 weeks",
    "ha8": "Mean of 8 weeks",
    "last_week": "Last week",
}
_NAMED = pl.col("variant").replace(VARIANTS)


def variant_scores(
    reader: Reader, first: date, last: date, horizon: int
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Ratios by variant, and by variant and mode. A baseline has only the departures that it knows."""
    sums = reader.run(VARIANT_SCORES, first=first, last=last, horizon=horizon).filter(pl.col("matched") > 0)
    overall, modes = ratios(sums, ("variant",)), ratios(sums, ("variant", "mode"))
    order = pl.col("variant").replace_strict(list(VARIANTS), range(len(VARIANTS)), default=len(VARIANTS))
    return overall.sort(order).with_columns(_NAMED), modes.sort("mode", order).with_columns(_NAMED)


def variant_days(reader: Reader, first: date, last: date, horizon: int) -> pl.DataFrame:
    """Ratios by operating date and variant."""
    sums = reader.run(VARIANT_DAYS, first=first, last=last, horizon=horizon).filter(pl.col("matched") > 0)
    return ratios(sums, ("operating_date", "variant")).with_columns(_NAMED)


def challenger_sentence(overall: pl.DataFrame) -> str:
    """Whether the challenger is better than the champion, in Markdown."""
    wape = dict(zip(overall["variant"].to_list(), overall["wape"].to_list(), strict=True))
    champion, challenger = wape.get(VARIANTS["published"]), wape.get(VARIANTS["challenger"])
    if challenger is None or not champion:
        return "There is no challenger in this period. The setting `RUTER_CHALLENGER` names one: a model version, or `newest`."
    change = challenger / champion - 1
    return (
        f"The challenger's WAPE is {share(challenger, 1)}, the champion's {share(champion, 1)}: "
        f"**{share(abs(change), 1)} {'lower' if change < 0 else 'higher'}**."
    )


def shared_issue_dates(this: Reader, other: Reader) -> list[date]:
    """Issue dates of which both states have forecasts, the newest first."""
    return sorted(set(this.dates(LOAD_FORECASTS)) & set(other.dates(LOAD_FORECASTS)), reverse=True)


def forecast_changes(this: Reader, other: Reader, issue_date: date) -> pl.DataFrame:
    """Both states' sums of forecasts of an issue date by mode and line, and the relative change of the passengers."""
    parts = [
        reader.run(FORECAST_SUMS, issue_date=issue_date)
        .group_by("mode", "line_id")
        .agg(pl.col("departures", "mean", "expected_above_seats").sum())
        for reader in (this, other)
    ]
    both = parts[0].join(parts[1], on=("mode", "line_id"), how="full", coalesce=True, suffix="_other")
    change = pl.col("mean") / pl.when(pl.col("mean_other") > 0).then("mean_other") - 1
    return both.with_columns(change=change).sort(pl.col("change").abs(), descending=True, nulls_last=True)


def shared_scored_dates(this: Reader, other: Reader) -> list[date]:
    """Operating dates of which both states have scores, in order."""
    return sorted(set(this.dates(LINE_SCORES)) & set(other.dates(LINE_SCORES)))


def accuracy_of_states(this: Reader, other: Reader, first: date, last: date, horizon: int) -> pl.DataFrame:
    """Ratios of the published forecasts of both states by mode: the columns `state` ("this" or "other"), `mode` and ratios."""
    parts = []
    for state, reader in (("this", this), ("other", other)):
        sums = reader.run(LINE_DAY_SCORES, first=first, last=last, horizon=horizon, mode=None)
        scores = ratios(sums.filter(pl.col("matched") > 0), ("mode",))
        parts.append(scores.select(pl.lit(state).alias("state"), pl.all()))
    return pl.concat(parts)


def dates_with_other_loads(this: Reader, other: Reader, first: date, last: date, horizon: int) -> list[date]:
    """Operating dates with scores in both states whose sums of observed loads differ, in order."""
    parts = [
        reader.run(NETWORK_SCORES, first=first, last=last, horizon=horizon, mode=None, line=None).select(
            "operating_date", "matched", "load"
        )
        for reader in (this, other)
    ]
    both = parts[0].join(parts[1], on="operating_date", suffix="_other")
    differ = pl.any_horizontal((pl.col(name) - pl.col(f"{name}_other")).abs() >= 0.5 for name in ("matched", "load"))  # fmt: skip
    return both.filter(differ)["operating_date"].sort().to_list()


def states_sentence(changes: pl.DataFrame, issue_date: date, other_loads: Sequence[date]) -> str:
    """What differs between two states, in Markdown: forecasts of an issue date by line, and observed loads.

    `changes` is the result of `forecast_changes`, `other_loads` that of `dates_with_other_loads`.
    """
    same = pl.all_horizontal(
        (pl.col(name) - pl.col(f"{name}_other")).abs() <= 1e-6 * pl.col(name).abs()
        for name in ("departures", "mean")
    )
    differ = changes.filter(~same.fill_null(False))
    if differ.is_empty():
        answer = f"**The forecasts issued on {issue_date} have the same sums** for each line."
    else:
        answer = (
            f"**The forecasts issued on {issue_date} differ for {differ.height} of {changes.height} lines**."
        )
    if not other_loads:
        return answer
    days = ", ".join(map(str, other_loads[:3])) + (f" and {len(other_loads) - 3} more dates" if len(other_loads) > 3 else "")  # fmt: skip
    return f"{answer} The observed loads differ on {days}, so that the scores of the two states are not of the same passengers."
