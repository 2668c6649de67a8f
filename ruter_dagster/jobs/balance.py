"""Stop visits to balanced stop loads."""

from __future__ import annotations

from dataclasses import asdict

from ruter_dagster.contracts.jobs import Balance
from ruter_dagster.contracts.tables import STOP_LOADS, STOP_VISITS
from ruter_dagster.forecasting.counts import balance, balance_summary
from ruter_dagster.jobs.context import JobContext
from ruter_dagster.jobs.pictures import load_by_hour


def run(parameters: Balance, context: JobContext) -> None:
    visits, dates = context.read_asked(STOP_VISITS, parameters)
    loads = balance(visits, context.operator.time_zone)
    summary = balance_summary(visits, loads)
    context.write(STOP_LOADS, loads, dates, **asdict(summary), load_by_hour=load_by_hour(loads))
