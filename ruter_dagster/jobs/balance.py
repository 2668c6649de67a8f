"""Computes balanced stop loads from stop visits."""

from __future__ import annotations

from dataclasses import asdict
from datetime import date

import polars as pl

from ruter_dagster.contracts.jobs import Balance
from ruter_dagster.contracts.tables import STOP_LOADS, STOP_VISITS
from ruter_dagster.forecasting.carry_over import carry_over_summary
from ruter_dagster.forecasting.counts import balance_summary, balance_with_lines
from ruter_dagster.jobs.context import JobContext
from ruter_dagster.jobs.operator_rules import carry_over_of
from ruter_dagster.jobs.pipes import table
from ruter_dagster.jobs.plots import load_by_hour


def run(parameters: Balance, context: JobContext) -> None:
    dates = list(context.tables.versions(STOP_VISITS, parameters.dates, missing=parameters.missing))
    visits = context.tables.read(STOP_VISITS, dates)
    loads, lines = balance_with_lines(visits, context.operator.time_zone, carry_over_of(context.operator))
    context.write(
        STOP_LOADS,
        loads,
        dates,
        # A single date's numbers are those of the whole.
        numbers=numbers_by_date(visits, loads) if len(dates) > 1 else None,
        **asdict(balance_summary(visits, loads)),
        carried_over=table(carry_over_summary(loads, lines).to_dicts()),
        load_by_hour=load_by_hour(loads).markdown(),
    )


def numbers_by_date(visits: pl.DataFrame, loads: pl.DataFrame) -> dict[date, dict[str, float | None]]:
    """By date, how well its counts agree: the numbers of its `BalanceSummary`, which Dagster's UI plots over dates."""
    loads_of = loads.partition_by("service_date", as_dict=True)
    return {
        key[0]: _numbers(of_date, loads_of[key])
        for key, of_date in visits.partition_by("service_date", as_dict=True).items()
    }


def _numbers(visits: pl.DataFrame, loads: pl.DataFrame) -> dict[str, float | None]:
    summary = asdict(balance_summary(visits, loads))
    return {name: value for name, value in summary.items() if not isinstance(value, str)}
