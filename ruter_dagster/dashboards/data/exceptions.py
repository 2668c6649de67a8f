"""Modes and lines whose forecasts fail while those of the network are good: far worse than usual, or worse than the mean of four weeks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta

import polars as pl

from ruter_dagster.contracts.drift import MIN_WAPE_DEVIATION
from ruter_dagster.dashboards.data.words import MODES_IN_WORDS, Names, share
from ruter_dagster.dashboards.engine import Reader
from ruter_dagster.dashboards.queries import LINE_DAY_SCORES, USUAL_LINE_SCORES
from ruter_dagster.forecasting.scores import ratios

USUAL_DAYS = 28
"""Days before a date whose errors are the usual ones."""
MIN_DATES = 4
"""Dates with observed loads of these that are needed to know what is usual."""
FAR = 4
"""A line's WAPE is far beyond its usual one from this many standard deviations above its mean on."""
MIN_LINE_DEPARTURES = 500
"""Departures of a line that are needed to compare it with the mean of four weeks."""
MIN_LINE_LOSS = 0.05
"""A line is worse than the mean of four weeks if its errors are at least this share larger. Of a mode, any larger error counts."""
_SHOWN = 3


@dataclass(frozen=True)
class Failing:
    """A mode or line whose forecasts fail, in words, for example `trams` or `line 21`, and how, without an end."""

    label: str
    how: str


def far_from_usual(reader: Reader, day: date, horizon: int) -> pl.DataFrame:
    """The lines with observed loads on the date: `wape`, `bias`, `load`, `usual_wape`, and whether their WAPE is far beyond it (`far`).

    A line with fewer than `MIN_DATES` dates in the `USUAL_DAYS` before is never far from its usual error.
    """
    sums = reader.run(LINE_DAY_SCORES, first=day, last=day, horizon=horizon, mode=None)
    sums = sums.filter(pl.col("load") > 0)
    scores = ratios(sums, ("mode", "line_id")).join(
        sums.select("mode", "line_id", "load"), on=("mode", "line_id")
    )
    first, last = day - timedelta(USUAL_DAYS), day - timedelta(1)
    usual = reader.run(USUAL_LINE_SCORES, first=first, last=last, horizon=horizon)
    deviation = pl.max_horizontal("deviation", MIN_WAPE_DEVIATION * pl.col("mean_wape"))
    far = (pl.col("dates") >= MIN_DATES) & (pl.col("wape") > pl.col("mean_wape") + FAR * deviation)
    return scores.join(usual, on=("mode", "line_id"), how="left").with_columns(far=far.fill_null(False))


def failing_on(lines: pl.DataFrame, names: Names, mode: str | None = None) -> list[Failing]:
    """The modes and lines that are far from their usual error, modes first. `lines` is the result of `far_from_usual`.

    A mode is named in place of its lines if at least half of them are far from their usual error.
    """
    lines = lines.filter(mode=mode) if mode else lines
    by_mode = [
        (str(name), rows) for (name,), rows in lines.sort("mode").group_by("mode", maintain_order=True)
    ]
    modes = [
        (name, rows) for name, rows in by_mode if rows.height > 1 and 2 * rows["far"].sum() >= rows.height
    ]
    single = lines.filter("far", ~pl.col("mode").is_in([name for name, _ in modes]))
    single = single.sort(pl.col("wape") / pl.col("usual_wape"), descending=True)
    failing = [_failing(_mode_label(name, rows), rows.filter("far")) for name, rows in modes]
    return failing + [
        _failing(_line_label(row["line_id"].item(), names), row) for row in single.iter_slices(1)
    ]


def _line_label(line_id: str, names: Names) -> str:
    return f"line {names.line(line_id)}"


def _mode_label(mode: str, lines: pl.DataFrame) -> str:
    far = lines["far"].sum()
    return MODES_IN_WORDS.get(mode, mode) if far == lines.height else f"{far} of {lines.height} {mode} lines"


def _failing(label: str, lines: pl.DataFrame) -> Failing:
    """The lines together. Their usual WAPE is weighted by the loads of the date."""
    names = ("wape", "usual_wape", "bias")
    wape, usual, bias = lines.select(
        (pl.col(name) * pl.col("load")).sum() / pl.col("load").sum() for name in names
    ).row(0)
    side = "fewer" if bias > 0 else "more"
    how = f"WAPE {share(wape)}, usually {share(usual)}, {side} passengers than forecast"
    return Failing(label, how)


def worse_than_ha4(
    reader: Reader, first: date, last: date, horizon: int, mode: str | None = None
) -> pl.DataFrame:
    """The modes and lines whose errors of a period are larger than those of the mean of four weeks: mode, line_id, skill_against_ha4.

    `line_id` is null for a mode. Lines of such modes are left out.
    """
    sums = reader.run(LINE_DAY_SCORES, first=first, last=last, horizon=horizon, mode=mode)
    sums = sums.filter(pl.col("matched") > 0)
    skill = pl.col("skill_against_ha4")
    modes = ratios(sums, ("mode",)).filter(skill < 0).sort("mode")
    lines = ratios(sums.filter(pl.col("matched") >= MIN_LINE_DEPARTURES), ("mode", "line_id"))
    lines = lines.filter(skill <= -MIN_LINE_LOSS, ~pl.col("mode").is_in(modes["mode"].to_list())).sort(skill)
    columns = ("mode", "line_id", "skill_against_ha4")
    return pl.concat(
        [modes.with_columns(line_id=pl.lit(None, pl.String)).select(columns), lines.select(columns)]
    )


def in_words(worse: pl.DataFrame, names: Names) -> list[Failing]:
    """The modes and lines of `worse_than_ha4`."""
    labels = [
        f"line {names.line(row['line_id'])}"
        if row["line_id"]
        else MODES_IN_WORDS.get(row["mode"], row["mode"])
        for row in worse.iter_rows(named=True)
    ]
    return [
        Failing(label, f"errors {share(-value, 1)} larger than those of the mean of four weeks")
        for label, value in zip(labels, worse["skill_against_ha4"], strict=True)
    ]


def listed(failing: Sequence[Failing]) -> str:
    """The labels, the first three by name: `trams, line 21 and 4 more`."""
    labels = list(dict.fromkeys(one.label for one in failing))
    shown, more = labels[:_SHOWN], len(labels) - _SHOWN
    if more > 0:
        return f"{', '.join(shown)} and {more} more"
    return " and ".join(filter(None, (", ".join(shown[:-1]), shown[-1])))


def unusual_sentence(failing: Sequence[Failing]) -> str:
    """The modes and lines that are far from their usual error, in Markdown. Empty without any."""
    if not failing:
        return ""
    details = "; ".join(f"**{one.label}** ({one.how})" for one in failing[:_SHOWN])
    more = f"; {len(failing) - _SHOWN} more" if len(failing) > _SHOWN else ""
    return f"Far worse than usual: {details}{more}."
