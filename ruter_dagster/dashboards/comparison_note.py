"""The note on two states' forecasts in GitLab's Markdown, for a merge request or a terminal. The numbers belong in `forecasting`."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

import polars as pl

from ruter_dagster.contracts.dates import date_spans

LINES = 50
"""Number of lines in the table of lines. Those whose error changed most come first."""
ALARMS = 50
"""Number of metrics in the table of drift."""


@dataclass(frozen=True)
class RunCost:
    """The estimated cost of runs in US dollars."""

    dollars: float
    runs: int
    jobs: int


@dataclass(frozen=True)
class ComparedState:
    """One side of the comparison.

    `snapshots`: the Iceberg snapshot of each table that was read. `cost` is None if it was not recorded. `drift_date` is the
    newest operating date with drift metrics.
    """

    label: str
    snapshots: Mapping[str, int | None]
    models: Sequence[str]
    cost: RunCost | None
    drift_date: date | None


@dataclass(frozen=True)
class Comparison:
    """Results of `forecasting.comparison`. `accuracy` has the row of all departures and those of modes.

    `only_this` and `only_other`: departures that one side alone forecasts. `largest` has local times as `time`.
    """

    this: ComparedState
    other: ComparedState
    issue_dates: Sequence[date]
    only_this: int
    only_other: int
    changes: pl.DataFrame
    largest: pl.DataFrame
    accuracy: pl.DataFrame
    by_line: pl.DataFrame
    drift: pl.DataFrame


def comparison_note(comparison: Comparison, links: Mapping[str, str]) -> str:
    """The whole note. `links` are addresses by name."""
    sections = (
        _heading(comparison),
        _changes(comparison),
        _largest(comparison),
        _accuracy(comparison),
        _lines(comparison),
        _drift(comparison),
        _cost(comparison),
        _snapshots(comparison),
        " · ".join(f"[{name}]({address})" for name, address in links.items()),
    )
    return "\n\n".join(section for section in sections if section) + "\n"


def _heading(comparison: Comparison) -> str:
    this, other = comparison.this.label, comparison.other.label
    departures = comparison.changes.row(0, named=True)["departures"]
    alone = [
        f"{number:,} are only in {label}"
        for label, number in ((this, comparison.only_this), (other, comparison.only_other))
        if number
    ]
    return (
        f"## Forecasts of {this} compared with {other}\n\n"
        f"Issue dates {date_spans(comparison.issue_dates)}: both have forecasts of {departures:,} departures"
        + "".join(f"; {text}" for text in alone)
        + f".\n\n**{_summary(comparison)}**"
    )


def _summary(comparison: Comparison) -> str:
    """The verdict on accuracy in one sentence."""
    if comparison.accuracy.is_empty():
        return "Accuracy is unknown: no load of these service dates has been counted yet."
    row = comparison.accuracy.row(0, named=True)
    wapes = f"WAPE {row['wape_this']:.4f}, {comparison.other.label} {row['wape_other']:.4f}"
    if row["low"] is None:
        return f"Accuracy has no interval, because only one service date has counted loads: {wapes}."
    verdict = "more accurate" if row["high"] < 0 else "less accurate" if row["low"] > 0 else None
    if verdict:
        return f"{comparison.this.label} is {verdict}: {wapes}."
    return f"No clear difference in accuracy: {wapes}."


def _changes(comparison: Comparison) -> str:
    rows = [
        (
            row["mode"],
            f"{row['departures']:,}",
            f"{row['mean_absolute']:.3f}",
            f"{row['mean']:+.3f}",
            f"{row['level_changed']:.2%}",
        )
        for row in comparison.changes.to_dicts()
    ]
    header = (
        "mode",
        "departures",
        "mean absolute difference, passengers",
        "mean difference",
        "occupancy level changed",
    )
    return "### Difference in forecasts\n\n" + _table(header, rows)


def _largest(comparison: Comparison) -> str:
    if comparison.largest.is_empty():
        return "All forecasts are equal."
    rows = [
        (
            f"{row['operating_date']} {row['time']}",
            str(row["issue_date"]),
            _code(row["line_id"]),
            _code(row["stop_id"]),
            f"{row['mean_other']:.1f}",
            f"{row['mean_this']:.1f}",
            _transition(row["level_other"], row["level_this"]),
        )
        for row in comparison.largest.to_dicts()
    ]
    header = (
        "departure",
        "issued",
        "line",
        "stop",
        comparison.other.label,
        comparison.this.label,
        "occupancy level",
    )
    return _folded(f"Largest changes ({len(rows)})", _table(header, rows))


def _accuracy(comparison: Comparison) -> str:
    if comparison.accuracy.is_empty():
        return ""
    rows = [(row["mode"], *_scores(row)) for row in comparison.accuracy.to_dicts()]
    return "### Accuracy against counted loads\n\n" + _table(("mode", *_score_names(comparison)), rows)


def _lines(comparison: Comparison) -> str:
    if comparison.by_line.is_empty():
        return ""
    change = (pl.col("error_this") - pl.col("error_other")).abs().round(9)
    ordered = comparison.by_line.sort(change, "mode", "line_id", descending=[True, False, False])
    rows = [(_code(row["line_id"]), row["mode"], *_scores(row)) for row in ordered.head(LINES).to_dicts()]
    left_out = ordered.height - len(rows)
    more = f"\n\nLines with a smaller change that are not shown: {left_out:,}." if left_out else ""
    table = _table(("line", "mode", *_score_names(comparison)), rows)
    return _folded(f"Accuracy by line ({ordered.height:,})", table + more)


def _score_names(comparison: Comparison) -> tuple[str, ...]:
    return (
        "departures",
        "service dates",
        f"WAPE {comparison.this.label}",
        f"WAPE {comparison.other.label}",
        "difference",
        "95 % interval",
    )


def _scores(row: Mapping[str, Any]) -> tuple[str, ...]:
    interval = "unknown" if row["low"] is None else f"{row['low']:+.4f} to {row['high']:+.4f}"
    return (
        f"{row['departures']:,}",
        str(row["dates"]),
        f"{row['wape_this']:.4f}",
        f"{row['wape_other']:.4f}",
        f"{row['difference']:+.4f}",
        interval,
    )


def _drift(comparison: Comparison) -> str:
    """The metrics that warn or act on one of the sides, and the numbers of the others."""
    if comparison.drift.is_empty():
        return "### Drift\n\nNeither side has drift metrics."
    sides = [pl.col("verdict_this"), pl.col("verdict_other")]
    alarms = comparison.drift.filter(pl.any_horizontal(side.is_in(["warn", "act"]) for side in sides))
    ok = comparison.drift.filter(pl.all_horizontal(side == "ok" for side in sides)).height
    rows = [
        (
            row["metric"],
            row["scope"],
            _verdict(row["verdict_this"], row["value_this"]),
            _verdict(row["verdict_other"], row["value_other"]),
        )
        for row in alarms.head(ALARMS).to_dicts()
    ]
    header = ("metric", "scope", comparison.this.label, comparison.other.label)
    table = _table(header, rows) if rows else "No metric warns or acts."
    if alarms.height > ALARMS:
        table += f"\n\nMetrics that also warn or act: {alarms.height - ALARMS:,}."
    unknown = comparison.drift.height - alarms.height - ok
    dates = ", ".join(f"{state.label} on {state.drift_date}" for state in (comparison.this, comparison.other))
    return (
        f"### Drift\n\n{table}\n\nOk on both sides: {_count(ok, 'metric')}. Unknown on one of the sides: "
        f"{_count(unknown, 'metric')} ({dates})."
    )


def _verdict(verdict: str | None, value: float | None) -> str:
    known = value is not None and math.isfinite(value)
    return f"{verdict or 'not measured'}" + (f" ({value:.3g})" if known else "")


def _cost(comparison: Comparison) -> str:
    lines = [f"- {state.label}: {_dollars(state.cost)}" for state in (comparison.this, comparison.other)]
    return "### Cost of the runs that made these forecasts\n\n" + "\n".join(lines)


def _dollars(cost: RunCost | None) -> str:
    if cost is None:
        return "not recorded here"
    return f"{cost.dollars:.2f} USD ({_count(cost.jobs, 'job')}, {_count(cost.runs, 'run')})"


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def _snapshots(comparison: Comparison) -> str:
    this, other = comparison.this, comparison.other
    names = dict.fromkeys([*this.snapshots, *other.snapshots])
    rows = [
        (_code(name), *(str(state.snapshots.get(name) or "none") for state in (this, other)))
        for name in names
    ]
    models = [", ".join(map(_code, state.models)) or "none" for state in (this, other)]
    table = _table(("Iceberg snapshot", this.label, other.label), [*rows, ("models", *models)])
    return _folded("Snapshots and models that were read", table)


def _transition(before: str, after: str) -> str:
    return before if before == after else f"{before} → {after}"


def _table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _folded(title: str, text: str) -> str:
    """A part that GitLab shows after a click."""
    return f"<details><summary>{title}</summary>\n\n{text}\n\n</details>"


def _code(text: str) -> str:
    """An id of the data as code, so that no sign in it is Markdown, a mention or the end of a cell."""
    plain = " ".join(str(text).replace("`", "'").replace("|", "\\|").split())
    return f"`{plain}`"
