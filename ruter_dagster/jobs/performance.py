"""Joins forecasts to the loads that arrived, and scores them."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta

import polars as pl

from ruter_dagster.contracts.date_windows import HORIZON_DAYS
from ruter_dagster.contracts.dates import day_range
from ruter_dagster.contracts.jobs import Performance
from ruter_dagster.contracts.tables import FORECAST_PERFORMANCE, LOAD_FORECASTS, STOP_LOADS
from ruter_dagster.forecasting.forecast_performance import (
    LOAD_COLUMNS,
    PerformanceSummary,
    forecast_performance,
    late_counts,
)
from ruter_dagster.jobs.context import JobContext
from ruter_dagster.jobs.plots import forecast_against_truth

log = logging.getLogger("ruter_dagster.jobs")
_COLUMNS = tuple(name for name in LOAD_FORECASTS.column_names if name in FORECAST_PERFORMANCE.column_names)


@dataclass(frozen=True)
class _DatePerformance:
    """The rows of one date, and the numbers of its departures.

    `late`: departures whose counts arrived after the truth was final. `None`: the truth was not final before this run.
    """

    rows: pl.DataFrame
    summary: PerformanceSummary
    late: int | None = None

    @property
    def numbers(self) -> dict[str, float | None]:
        """Accuracy and coverage of the forecasts of the date."""
        return {
            "wape": _wape(self.rows),
            "matched_share": self.summary.matched_share,
            "forecast_without_truth": self.summary.forecast_without_truth,
            "truth_without_forecast": self.summary.truth_without_forecast,
            "is_final": float(bool(self.rows["is_final"].any())),
            "late_counts": self.late or 0,
        }


def run(parameters: Performance, context: JobContext) -> None:
    dates = list(context.tables.versions(STOP_LOADS, parameters.dates, missing=parameters.missing))
    by_date = _by_date(dates, parameters, context)
    # Sorted by key: dates are in order, and so are the rows of each.
    rows = pl.concat([of_date.rows for of_date in by_date.values()])
    context.write(
        FORECAST_PERFORMANCE,
        rows,
        dates,
        numbers={day: of_date.numbers for day, of_date in by_date.items()},
        wape=_wape(rows),
        forecast_against_truth=forecast_against_truth(rows).markdown() if rows.height else None,
    )


def _by_date(
    dates: Sequence[date], parameters: Performance, context: JobContext
) -> dict[date, _DatePerformance]:
    loads = context.tables.read(STOP_LOADS, dates, LOAD_COLUMNS, ordered=False)
    forecasts = context.tables.read(
        LOAD_FORECASTS,
        day_range(dates[0] - timedelta(HORIZON_DAYS), dates[-1]),
        _COLUMNS,
        missing="skip",
        verdict="ignore",
        where=pl.col("operating_date").is_in(dates),
        ordered=False,
    )
    newest = context.tables.snapshot(STOP_LOADS).dates()[-1]
    by_date = {}
    for day in dates:
        is_final = newest - day >= timedelta(parameters.final_days)
        rows, summary = forecast_performance(
            _of_date(forecasts, "operating_date", day, dates),
            _of_date(loads, "service_date", day, dates),
            is_final,
        )
        scored = _DatePerformance(rows, summary)
        # Without forecasts, which the job `retention` deletes, the date cannot be scored again.
        replaced = summary.forecast > 0 and (parameters.force or not is_final)
        by_date[day] = scored if replaced else _with_stored_rows(day, scored, context)
    return by_date


def _of_date(frame: pl.DataFrame, column: str, day: date, dates: Sequence[date]) -> pl.DataFrame:
    """The rows of a date. Millions of rows are not copied if the frame has no other date."""
    return frame if len(dates) == 1 else frame.filter(pl.col(column) == day)


def _with_stored_rows(day: date, scored: _DatePerformance, context: JobContext) -> _DatePerformance:
    """The stored rows if their truth is final or the forecasts no longer exist, with the number of late counts; else `scored`."""
    snapshot = context.store.snapshot(FORECAST_PERFORMANCE)
    if not snapshot.versions([day]):
        return scored
    stored = snapshot.read([day])
    if scored.summary.forecast > 0 and not stored["is_final"].any():
        return scored
    late = late_counts(stored, scored.rows)
    if late:
        log.warning(
            "%s: the truth is final, and %d departures have counts that arrived later or changed. They are not used. To use "
            "them, materialise monitoring/forecast_performance for the date with the run config force: true",
            day,
            late,
        )
    return _DatePerformance(stored, scored.summary, late)


def _wape(rows: pl.DataFrame) -> float | None:
    """Weighted absolute percentage error: sum of absolute errors / sum of loads; None if all loads are zero."""
    errors = (pl.col("mean") - pl.col("load")).abs().sum()
    wape = pl.when(pl.col("load").sum() > 0).then(errors / pl.col("load").sum())
    return rows.select(wape).item()
