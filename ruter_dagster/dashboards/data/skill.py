"""Data of the page Skill and drift: whether the model is still better than the mean of four weeks, and what drifts."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from typing import Any

import polars as pl

from ruter_dagster.contracts.drift import DRIFT_METRICS, NETWORK, drift_title
from ruter_dagster.contracts.tables import DRIFT
from ruter_dagster.dashboards.data.exceptions import (
    Failing,
    failing_on,
    far_from_usual,
    in_words,
    listed,
    worse_than_ha4,
)
from ruter_dagster.dashboards.data.words import Names, capitalised, share
from ruter_dagster.dashboards.engine import Reader
from ruter_dagster.dashboards.queries import DRIFT_MEASURES, NETWORK_SCORES
from ruter_dagster.forecasting.scores import ratios

DESCRIPTIONS = {metric.name: metric.description for metric in DRIFT_METRICS}
NEEDS = {metric.name: metric.needs for metric in DRIFT_METRICS}
SIDES = {metric.name: metric.side for metric in DRIFT_METRICS}
BEYOND = "all beyond a threshold"
"""The choice of all measures beyond a threshold, in place of one scope."""
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


def failing(
    reader: Reader,
    first: date,
    score: PeriodScore,
    horizon: int,
    names: Callable[[date], Names],
    mode: str | None = None,
) -> list[Failing]:
    """The modes and lines that are no better than the mean of four weeks, or far from their usual error on the newest date.

    `names` returns the names of lines on a date. It is called only if something fails, because it reads the timetable.
    """  # fmt: skip
    if score.last is None:
        return []
    day = score.last
    worse = worse_than_ha4(reader, first, day, horizon, mode)
    unusual = far_from_usual(reader, day, horizon)
    if worse.is_empty() and not unusual["far"].any():
        return []
    known = names(day)
    of_day = [replace(one, how=f"{one.how} on {day}") for one in failing_on(unusual, known, mode)]
    return in_words(worse, known) + of_day


def skill_sentence(score: PeriodScore, horizon: int, failing: Sequence[Failing] = ()) -> str:
    """Whether the model is better than the mean of four weeks (HA4), in Markdown: the figure, and which modes or lines fail."""
    ahead = "on the same day" if horizon == 0 else f"{horizon} day{'s' if horizon > 1 else ''} before"
    skill = score.ratios["skill_against_ha4"] if score.ratios else None
    if skill is None:
        return "**Unknown**: there are no observed loads with a mean of four weeks to compare with in this period."
    over = f"over the {score.dates} operating dates up to {score.last}, for forecasts issued {ahead}"
    details = "".join(f" {capitalised(one.label)}: {one.how}." for one in failing[:3])
    if skill > 0:
        answer = f"Yes, except for {listed(failing)}" if failing else "Yes"
        return f"**{answer}**: the model's errors are **{share(skill, 1)} smaller** than those of the mean of four weeks, {over}.{details}"
    return f"**No**: the model's errors are **{share(-skill, 1)} larger** than those of the mean of four weeks, {over}.{details}"


def drift_dates(reader: Reader) -> list[date]:
    return reader.dates(DRIFT)


def drift_measures(reader: Reader, first: date, last: date) -> pl.DataFrame:
    """The measures of the period with the title and description of their metrics."""
    rows = reader.run(DRIFT_MEASURES, first=first, last=last)
    return rows.with_columns(
        title=pl.Series(map(drift_title, rows["metric"]), dtype=pl.String),
        description=pl.col("metric").replace_strict(DESCRIPTIONS, default="", return_dtype=pl.String),
        warns=_threshold("warn"),
        acts=_threshold("act"),
    )


def _threshold(column: str) -> pl.Expr:
    """The threshold with its side in words: `below 0.8`, `above 0.25`, `beyond ±0.1`; null without a threshold."""
    words = {"below": "below ", "above": "above ", "either": "beyond ±"}
    sides = {name: words[side] for name, side in SIDES.items()}
    side = pl.col("metric").replace_strict(sides, default="beyond ", return_dtype=pl.String)
    number = pl.col(column).map_elements(lambda value: f"{value:g}", pl.String)
    return pl.concat_str(side, number)


def unknown_sentence(verdicts: pl.DataFrame) -> str:
    """What the metrics with the verdict `unknown` need, in Markdown; empty if none is unknown. Unknown is neither good nor bad."""
    unknown = verdicts.filter(verdict="unknown")
    if unknown.is_empty():
        return ""
    titles: dict[str, list[str]] = {}
    for row in unknown.iter_rows(named=True):
        titles.setdefault(NEEDS.get(row["metric"], "more history"), []).append(row["title"])
    reasons = "; ".join(f"*{'*, *'.join(names)}* need{'s' * (len(names) == 1)} {needs}" for needs, names in titles.items())  # fmt: skip
    return f"`unknown`: the metric cannot be judged on this date. {reasons}."


def newest_verdicts(measures: pl.DataFrame, scope: str = NETWORK) -> pl.DataFrame:
    """The measures of the newest date in one scope, or beyond a threshold in any (`BEYOND`), the most severe first."""
    newest = measures.filter(pl.col("operating_date") == pl.col("operating_date").max())
    of_scope = _is_beyond() if scope == BEYOND else pl.col("scope") == scope
    return newest.filter(of_scope).sort(_severity(), pl.col("scope") == NETWORK, "metric", "scope")


def _is_beyond() -> pl.Expr:
    return pl.col("verdict").is_in(["warn", "act"])


def _severity() -> pl.Expr:
    """The severity of a verdict as a number, 0 the most severe."""
    return pl.col("verdict").replace_strict(SEVERITY, default=len(SEVERITY), return_dtype=pl.Int32)


def scopes(measures: pl.DataFrame) -> list[str]:
    """The scopes, that of the most severe verdict on the newest date first; of equal ones the network.

    If scopes are beyond a threshold, `BEYOND` is before them: their measures together.
    """
    newest = measures.filter(pl.col("operating_date") == pl.col("operating_date").max())
    # Unknown verdicts count as ok here: they are no reason to show another scope than the network.
    severity = _severity().clip(upper_bound=SEVERITY["unknown"]).min().alias("severity")
    worst = newest.group_by("scope").agg(severity)
    listed = worst.sort("severity", pl.col("scope") != NETWORK, "scope")["scope"].to_list()
    return [BEYOND, *listed] if newest.select(_is_beyond().any()).item() else listed


def drift_sentence(measures: pl.DataFrame) -> str:
    """How many measures, each a metric of a scope, are beyond a threshold on the newest date."""
    if measures.is_empty():
        return "No drift was measured in this period."
    newest = measures.filter(pl.col("operating_date") == pl.col("operating_date").max())
    beyond = newest.filter(_is_beyond()).sort(_severity(), pl.col("scope") == NETWORK, "metric", "scope")
    day = newest["operating_date"].item(0)
    if beyond.is_empty():
        return f"No measure is beyond a threshold on {day}."
    names = ", ".join(f"{row['title']} ({row['scope']})" for row in beyond.head(3).iter_rows(named=True))
    more = f" and {beyond.height - 3} more" if beyond.height > 3 else ""
    verb = "is" if beyond.height == 1 else "are"
    return f"{beyond.height} of {newest.height} measures {verb} beyond a threshold on {day}: {names}{more}."
