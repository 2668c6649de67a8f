"""`ruter-dagster backtest`: forecasts past service dates of any source, writes them as Parquet and scores them.

Forecasts and scores are computed in `forecasting`. This module reads the source and prints tables.
"""

from __future__ import annotations

import logging
import math
import os
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import polars as pl
from rich.console import Console
from rich.table import Table

from ruter_dagster.commands.backtest_data import read_usable_dates
from ruter_dagster.commands.labels import forecast_label
from ruter_dagster.commands.progress import track
from ruter_dagster.config.operator import Operator, operator_of
from ruter_dagster.config.settings import Settings
from ruter_dagster.contracts.dates import day_range
from ruter_dagster.contracts.errors import PermanentFailure
from ruter_dagster.contracts.tables import WEATHER_FORECASTS
from ruter_dagster.contracts.validation import empty_frame
from ruter_dagster.forecasting.backtest import Backtest, Fold, backtest
from ruter_dagster.forecasting.baselines import BASELINES
from ruter_dagster.forecasting.boosting import ModelParameters
from ruter_dagster.forecasting.counts import balance
from ruter_dagster.forecasting.evaluation import (
    CROWDED_PRECISION,
    Improvement,
    comparable,
    distribution_scores,
    improvement,
    reliability,
    scores,
    share_without_last_week,
    without_last_week,
)
from ruter_dagster.jobs.operator_rules import calendar_of, carry_over_of, thresholds_of
from ruter_dagster.sources.base import Source, split_by_availability
from ruter_dagster.sources.configured_source import open_source

log = logging.getLogger("ruter_dagster.commands.backtest")
DEMO_HISTORY_DAYS = 126
COLUMNS = {
    "service_date": "service_date",
    "trip_id_performed": "trip_id_performed",
    "stop_sequence": "trip_stop_sequence",
    "mean": "mean",
    "p10": "p10",
    "p50": "p50",
    "p90": "p90",
    "prob_above_seats": "prob_above_seats",
    "occupancy_level": "occupancy",
}
"""Columns of the output file, by the name of the forecast's column."""


@dataclass(frozen=True)
class BacktestResult:
    """Scores of departures with and without a load a week before (LW), and improvements with their intervals."""

    first: date
    last: date
    horizon: int
    folds: int
    seconds: float
    out: Path
    scores: dict[str, Any]
    improvements: list[Improvement]
    share_without_last_week: float
    scores_without_last_week: dict[str, Any] | None
    distributions: list[dict[str, Any]] = field(default_factory=list)
    """`evaluation.distribution_scores`: the model and each baseline."""
    reliability: list[dict[str, Any]] = field(default_factory=list)
    """`evaluation.reliability`: probabilities of more passengers than seats, in bands."""
    dates_left_out: dict[str, str] = field(default_factory=dict)
    """Dates that the chain would not use, with the reasons."""

    def to_json(self) -> dict[str, Any]:
        return {**asdict(self), "first": str(self.first), "last": str(self.last), "out": str(self.out)}


def run_backtest(
    settings: Settings, first: date, last: date, horizon: int, out: Path, history_days: int | None
) -> BacktestResult:
    """Forecasts `first` to `last`, writes them to `out` and scores them.

    Raises PermanentFailure if the source has none of the dates, or `out` cannot be written.
    """
    _require_folder(out)
    # Like the launcher of jobs: with shared cores, waiting OpenMP threads must not spin.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    operator = operator_of(settings)
    operator.require_public_holidays()
    source = open_source(settings, operator)
    start = _history_start(source, first, history_days)
    present, _ = split_by_availability(source, day_range(start, last))
    parameters = _backtest_parameters(settings, operator, first, last, horizon, start)
    _require_visits(parameters, present, settings)
    started = time.monotonic()
    usable = read_usable_dates(source, present, operator.rejects, _track("Reading visits and plan"))
    for reason in usable.left_out.values():
        log.warning("%s", reason)
    _require_visits(parameters, usable.dates, settings, usable.left_out)
    folds = _folds(parameters, usable.visits, usable.plan, source, operator)
    forecasts = pl.concat(fold.forecasts for fold in folds)
    _write(forecasts, out)
    return _score(
        forecasts,
        BacktestResult(
            first, last, horizon, len(folds), time.monotonic() - started, out, {}, [], 0.0, None,
            dates_left_out={str(day): reason for day, reason in usable.left_out.items()},
        ),
    )  # fmt: skip


def _track(title: str) -> Callable[[Sequence[Sequence[date]]], Iterable[Sequence[date]]]:
    return lambda batches: track(batches, title, len(batches), Console(stderr=True))


def _backtest_parameters(
    settings: Settings, operator: Operator, first: date, last: date, horizon: int, start: date
) -> Backtest:
    """The parameters of the backtest. Training days, sample and seed are those of the chain."""
    return Backtest(
        first,
        last,
        horizon,
        start,
        training_days=settings.training_days,
        sample_rows=settings.training_rows_per_date,
        sample_seed=settings.training_seed,
        parameters=ModelParameters(seed=settings.training_seed),
        thresholds=thresholds_of(operator),
    )


def _require_visits(
    parameters: Backtest,
    present: Sequence[date],
    settings: Settings,
    left_out: Mapping[date, str] | None = None,
) -> None:
    """Raises PermanentFailure if there are no visits to compare with, or none to train on. Names the first date left out."""
    reason = f". {len(left_out)} dates are left out, e.g. {next(iter(left_out.values()))}" if left_out else ""
    if not any(parameters.first <= day <= parameters.last for day in present):
        raise PermanentFailure(
            f"{settings.source_name} has no visits from {parameters.first} to {parameters.last}: nothing to compare with{reason}"
        )
    newest = parameters.first - timedelta(parameters.horizon)
    if not any(day <= newest for day in present):
        raise PermanentFailure(
            f"{settings.source_name} has no visits from {parameters.history_start} to {newest}, {parameters.horizon} days before --from: "
            f"there is nothing to train on. Choose a later --from, or a longer --history-days{reason}"
        )


def _history_start(source: Source, first: date, history_days: int | None) -> date:
    available = source.available_dates()
    if history_days is None and available:
        return min(available)
    return first - timedelta(history_days or DEMO_HISTORY_DAYS)


def _folds(
    parameters: Backtest, visits: pl.DataFrame, plan: pl.DataFrame, source: Source, operator: Operator
) -> list[Fold]:
    loads = balance(visits, operator.time_zone, carry_over_of(operator))

    def rows_of(frame: pl.DataFrame, days: Sequence[date]) -> pl.DataFrame:
        return frame.filter(pl.col("service_date").is_in(list(days)))

    def weather(days: Sequence[date]) -> pl.DataFrame:
        return pl.concat([empty_frame(WEATHER_FORECASTS), *(source.weather_forecasts(day) for day in days)])

    folds = backtest(
        parameters,
        lambda days: rows_of(loads, days),
        lambda days: rows_of(plan, days),
        calendar_of(operator),
        weather,
    )
    count = len(parameters.folds())
    return list(track(folds, "Training and forecasting", count, Console(stderr=True)))


def _require_folder(out: Path) -> None:
    """Checks the output folder before the work, which takes minutes."""
    if not out.absolute().parent.is_dir():
        raise PermanentFailure(
            f"--out {out}: there is no folder {out.parent}; create it, or choose another file"
        )
    if not os.access(out.absolute().parent, os.W_OK):
        raise PermanentFailure(f"--out {out}: {out.parent} is not writable; choose another file")


def _write(forecasts: pl.DataFrame, out: Path) -> None:
    output = forecasts.select(pl.col(name).alias(output_name) for name, output_name in COLUMNS.items())
    unfinished = out.with_name(f".{out.name}.unfinished")
    try:
        output.write_parquet(unfinished)
        unfinished.replace(out)
    except OSError as error:
        unfinished.unlink(missing_ok=True)
        raise PermanentFailure(
            f"{out} cannot be written: {error.strerror or error}. Choose another file with --out"
        ) from error


def _score(forecasts: pl.DataFrame, result: BacktestResult) -> BacktestResult:
    scored = forecasts.filter(pl.col("load").is_not_null())
    rest = without_last_week(scored)
    return BacktestResult(
        **{
            **{
                name: getattr(result, name)
                for name in ("first", "last", "horizon", "folds", "seconds", "out", "dates_left_out")
            },
            "scores": scores(comparable(scored)).row(0, named=True),
            "improvements": [improvement(scored, name) for name in BASELINES],
            "share_without_last_week": share_without_last_week(scored),
            "distributions": distribution_scores(scored).to_dicts(),
            "reliability": reliability(scored).to_dicts(),
            "scores_without_last_week": scores(rest).row(0, named=True) if rest.height else None,
        }
    )


def _bias_and_coverage(overall: dict[str, Any]) -> str:
    bias, coverage = _number(overall["bias"], "+.2%"), _number(overall["coverage"], ".1%")
    return f"Bias {bias}, {coverage} of the loads are between P10 and P90"


def _number(value: float | None, format_spec: str) -> str:
    """The formatted number, or `unknown` if it has no finite value, for instance without rows."""
    return "unknown" if value is None or not math.isfinite(value) else format(value, format_spec)


def show(result: BacktestResult) -> None:
    """Prints the tables: against the baselines, then the rows without a load a week before."""
    console, overall = Console(), result.scores
    if overall["rows"]:
        console.print(_improvement_table(result))
        console.print(f"{_bias_and_coverage(overall)}, {result.seconds:.0f} s")
        console.print(_distribution_table(result))
        if result.reliability:
            console.print(_crowding_table(result))
            console.print(_reliability_table(result))
    else:
        console.print(
            f"{result.first} to {result.last}, horizon {result.horizon}: no departure has a load the week before, so the "
            f"model cannot be compared with the baselines, {result.seconds:.0f} s"
        )
    if rest := result.scores_without_last_week:
        console.print(
            f"Without a load the week before: {result.share_without_last_week:.2%} of the departures, "
            f"WAPE {_number(rest['wape'], '.4f')}. {_bias_and_coverage(rest)}"
        )
    elif not overall["rows"]:
        console.print("No departure has a load, so nothing can be scored.")
    if result.dates_left_out:
        console.print(
            f"Left out, as in the chain: {len(result.dates_left_out)} dates, e.g. {next(iter(result.dates_left_out.values()))}. "
            "--json lists all of them",
            markup=False,
        )
    console.print(f"Forecasts of every planned departure: {result.out}")


def _improvement_table(result: BacktestResult) -> Table:
    """WAPE of the model and of the baselines, and the improvement over each baseline."""
    overall = result.scores
    table = Table(
        "", "WAPE", "model's WAPE is lower by", "95 % interval",
        title=f"{result.first} to {result.last}, horizon {result.horizon}: {overall['rows']:,} departures, {result.folds} weekly folds",
    )  # fmt: skip
    table.add_row("model", _number(overall["wape"], ".4f"), "", "")
    for item in result.improvements:
        interval = f"{_number(item.low, '.1%')} to {_number(item.high, '.1%')}"
        wape = _number(overall[f"wape_{item.baseline}"], ".4f")
        table.add_row(forecast_label(item.baseline), wape, _number(item.relative, ".1%"), interval)
    return table


def _distribution_table(result: BacktestResult) -> Table:
    """Scores of the whole distributions of the model and of each baseline."""
    table = Table(
        "", "WAPE", "CRPS", "P10 loss", "P50 loss", "P90 loss", "in P10-P90",
        title="CRPS and pinball losses, passengers",
    )  # fmt: skip
    for row in result.distributions:
        losses = (row[name] for name in ("crps", "pinball_p10", "pinball_p50", "pinball_p90"))
        table.add_row(
            forecast_label(row["forecast"]),
            _number(row["wape"], ".4f"),
            *(_number(loss, ".3f") for loss in losses),
            _number(row["coverage"], ".1%"),
        )
    return table


def _crowding_table(result: BacktestResult) -> Table:
    """Departures with more passengers than seats: expected number, observed number and recall."""
    table = Table(
        "", "expected", "observed", f"recall at precision {CROWDED_PRECISION:g}",
        title="Departures with more passengers than seats",
    )  # fmt: skip
    for row in result.distributions:
        expected, recall = row["crowded_expected"], row["crowded_recall"]
        table.add_row(
            forecast_label(row["forecast"]),
            "" if expected is None else f"{expected:.1f}",
            "" if row["crowded"] is None else f"{row['crowded']:,}",
            "" if recall is None else f"{recall:.2f}",
        )
    return table


def _reliability_table(result: BacktestResult) -> Table:
    table = Table("probability of more passengers than seats", "departures", "mean forecast", "observed")
    for row in result.reliability:
        share = [_number(row[name], ".2%") for name in ("forecast", "observed")]
        table.add_row(row["band"], f"{row['departures']:,}", *share)
    return table
