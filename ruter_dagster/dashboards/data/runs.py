"""Data of the page Runs and cost. `commands/dashboard_runs.py` reads them from Dagster's history, which this package cannot."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import date

import polars as pl

RUNS_SCHEMA = {
    "started": pl.Datetime("us", "UTC"), "job": pl.String, "dates": pl.String, "status": pl.String, "minutes": pl.Float64,
    "cost": pl.Float64, "reason": pl.String, "address": pl.String,
}  # fmt: skip
"""One row per run. `cost` is in US dollars, null without a job in SageMaker. `reason`: the first error of a failed run."""

MAX_RUNS = 500
"""Most runs of a period that are read, the newest ones."""

RunsOf = Callable[[date, date], pl.DataFrame]
"""Returns the runs that started from one local date to another, both included, with the columns of `RUNS_SCHEMA`."""


@dataclass(frozen=True)
class RunSums:
    """Sums of the runs of a period."""

    runs: int
    failed: int
    cost: float | None

    @classmethod
    def of(cls, runs: pl.DataFrame) -> RunSums:
        known = runs["cost"].drop_nulls()
        failed = runs.filter(pl.col("status") == "FAILURE").height
        return cls(runs.height, failed, sum(known.to_list()) if len(known) else None)


def cut_off_note(runs: pl.DataFrame) -> str:
    """That older runs of the period are missing, if the runs are the most that are read; else empty."""
    if runs.height < MAX_RUNS:
        return ""
    return f"Only the newest {MAX_RUNS} runs are read. Older runs of the period and their cost are missing: choose fewer days."


def runs_sentence(runs: pl.DataFrame) -> str:
    """How many runs there were, how many failed and which failed last, and their cost, in Markdown."""
    sums = RunSums.of(runs)
    if not sums.runs:
        return "No run started in this period."
    cost = f" Their jobs cost about **{sums.cost:,.2f} US dollars**." if sums.cost is not None else ""
    if not sums.failed:
        return f"**{sums.runs} runs, none failed**.{cost}"
    newest = _failures(runs).row(-1, named=True)
    dates = f" {newest['dates']}" if newest["dates"] else ""
    return f"**{sums.failed} of {sums.runs} runs failed**, the newest: {newest['job']}{dates}.{_repaired(runs)}{cost}"


def _repaired(runs: pl.DataFrame) -> str:
    """How many of the failed runs were followed by a successful one of the same job and dates, in a sentence; empty for none."""
    succeeded = runs.filter(pl.col("status") == "SUCCESS").group_by("job", "dates").agg(pl.col("started").max().alias("repaired"))  # fmt: skip
    failed = _failures(runs).join(succeeded, on=("job", "dates"), how="left", nulls_equal=True)
    repaired = failed.filter(pl.col("repaired") > pl.col("started")).height
    if not repaired:
        return ""
    which = "It has" if failed.height == 1 else "All have" if repaired == failed.height else f"{repaired} of them {'has' if repaired == 1 else 'have'}"  # fmt: skip
    return f" {which} succeeded since, in a later run of the same job and dates."


def newest_failure(runs: pl.DataFrame) -> str | None:
    """The first error of the newest failed run; None if no run failed."""
    failures = _failures(runs)
    return failures["reason"][-1] if failures.height else None


def _failures(runs: pl.DataFrame) -> pl.DataFrame:
    return runs.filter(pl.col("status") == "FAILURE").sort("started")


def cost_note(runs: pl.DataFrame) -> str:
    """Why no run has a cost; empty if one has."""
    if runs["cost"].null_count() < runs.height:
        return ""
    return (
        "No cost: a cost is estimated for jobs in SageMaker (`RUTER_LAUNCHER`), and these runs started none."
    )


def by_day(runs: pl.DataFrame, time_zone: str) -> pl.DataFrame:
    """The minutes and cost of the runs by local date: columns operating_date, minutes, cost."""
    day = pl.col("started").dt.convert_time_zone(time_zone).dt.date().alias("operating_date")
    return runs.group_by(day).agg(pl.col("minutes", "cost").sum()).sort("operating_date")
