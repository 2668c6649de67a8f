"""Recent levels as of cut-off dates: how full the network, its lines and stops have been against their usual."""

from __future__ import annotations

from ruter_dagster.contracts.features import LEVELS
from ruter_dagster.contracts.jobs import Levels
from ruter_dagster.contracts.tables import STOP_LOADS
from ruter_dagster.forecasting.levels import level_dates, levels
from ruter_dagster.jobs.context import JobContext


def run(parameters: Levels, context: JobContext) -> None:
    cutoffs = context.dates_asked(STOP_LOADS, parameters.dates, parameters.of_range)
    context.read(STOP_LOADS, cutoffs, ["service_date"])
    loads = context.read_history(
        STOP_LOADS, sorted({day for cutoff in cutoffs for day in level_dates(cutoff)})
    )
    context.write(LEVELS, levels(loads, cutoffs, context.calendar), cutoffs)
