"""Data of the page Skill and drift: whether the model is still better than the mean of four weeks, and what drifts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from typing import Any

import polars as pl

from ruter_dagster.contracts.drift import DRIFT_METRICS, NETWORK
from ruter_dagster.contracts.tables import DRIFT
from ruter_dagster.dashboards.data.words import share
from ruter_dagster.dashboards.engine import Reader
from ruter_dagster.dashboards.queries import DRIFT_MEASURES, NETWORK_SCORES
from ruter_dagster.forecasting.scores import ratios

DESCRIPTIONS = {metric.name: metric.description for metric in DRIFT_METRICS}
SIDES = {metric.name: metric.side for metric in DRIFT_METRICS}
SEVERITY = {"act": 0, "warn": 1, "unknown": 2, "ok": 3}


@dataclass(frozen=True)
class PeriodScore:
    """Ratios of all published forecasts of a period, of its operating dates with observed loads. None without any."""

    dates: int
    last: date | None
    ratios: Mapping[str, Any] | None


def period_score(reader: Reader, first: date, last: date, horizon: int, mode: str | None) -> PeriodScore:
    """The score of the published forecasts of one horizon; None as mode is the network."""
    sums = reader.run(NETWORK_SCORES, first=first, last=last, horizon=horizon, mode=mode, line=None)
    sums = sums.filter(pl.col("matched") > 0)
    if sums.is_empty():
        return PeriodScore(0, None, None)
    return PeriodScore(sums.height, sums["operating_date"].max(), ratios(sums).row(0, named=True))  # pyright: ignore[reportArgumentType]


def skill_sentence(score: PeriodScore, horizon: int) -> str:
    """Whether the model is better than the mean of four weeks (HA4), in one sentence of Markdown with the figure."""
    ahead = "on the same day" if horizon == 0 else f"{horizon} day{'s' if horizon > 1 else ''} before"
    skill = score.ratios["skill_against_ha4"] if score.ratios else None
    if skill is None:
        return "**Unknown**: there are no observed loads with a mean of four weeks to compare with in this period."
    over = f"over the {score.dates} operating dates up to {score.last}, for forecasts issued {ahead}"
    if skill > 0:
        return f"**Yes**: the model's errors are **{share(skill, 1)} smaller** than those of the mean of four weeks, {over}."
    return f"**No**: the model's errors are **{share(-skill, 1)} larger** than those of the mean of four weeks, {over}."


def drift_dates(reader: Reader) -> list[date]:
    return reader.dates(DRIFT)


def drift_measures(reader: Reader, first: date, last: date) -> pl.DataFrame:
    """The measures of the period with the descriptions of their metrics."""
    rows = reader.run(DRIFT_MEASURES, first=first, last=last)
    return rows.with_columns(
        description=pl.col("metric").replace_strict(DESCRIPTIONS, default="", return_dtype=pl.String)
    )


def newest_verdicts(measures: pl.DataFrame, scope: str = NETWORK) -> pl.DataFrame:
    """The measures of the newest date in one scope, the most severe first."""
    newest = measures.filter(
        pl.col("scope") == scope, pl.col("operating_date") == pl.col("operating_date").max()
    )
    return newest.sort(_severity(), pl.col("metric"))


def _severity() -> pl.Expr:
    """The severity of a verdict as a number, 0 the most severe."""
    return pl.col("verdict").replace_strict(SEVERITY, default=len(SEVERITY), return_dtype=pl.Int32)


def scopes(measures: pl.DataFrame) -> list[str]:
    """The scopes, that of the most severe verdict on the newest date first; of equal ones the network."""
    newest = measures.filter(pl.col("operating_date") == pl.col("operating_date").max())
    # Unknown verdicts count as ok here: they are no reason to show another scope than the network.
    severity = _severity().clip(upper_bound=SEVERITY["unknown"]).min().alias("severity")
    worst = newest.group_by("scope").agg(severity)
    return worst.sort("severity", pl.col("scope") != NETWORK, "scope")["scope"].to_list()


def drift_sentence(measures: pl.DataFrame) -> str:
    """How many metrics of all scopes are beyond a threshold on the newest date."""
    if measures.is_empty():
        return "No drift was measured in this period."
    newest = measures.filter(pl.col("operating_date") == pl.col("operating_date").max())
    beyond = newest.filter(pl.col("verdict").is_in(["warn", "act"]))
    day = newest["operating_date"].item(0)
    if beyond.is_empty():
        return f"No metric is beyond a threshold on {day}."
    names = ", ".join(f"{row['metric']} ({row['scope']})" for row in beyond.head(3).iter_rows(named=True))
    more = f" and {beyond.height - 3} more" if beyond.height > 3 else ""
    return f"{beyond.height} of {newest.height} measures are beyond a threshold on {day}: {names}{more}."
