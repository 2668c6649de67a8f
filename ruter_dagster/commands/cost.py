"""`ruter-dagster cost`: the estimated cost of SageMaker's jobs by asset, run, branch and day."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any
from zoneinfo import ZoneInfo

from rich.console import Console
from rich.table import Table

from ruter_dagster.config.operator import operator_of
from ruter_dagster.config.settings import Settings
from ruter_dagster.orchestration.instance import open_instance
from ruter_dagster.orchestration.job_costs import CostSum, JobCost, job_costs, sums_by

RUNS = 20
"""Number of runs in the table, the most expensive first. JSON has all."""


@dataclass(frozen=True)
class CostReport:
    """Costs in US dollars of the jobs that were recorded between two local dates, both included.

    `branch` is that of a sandbox. `failed` is the part of jobs that failed, which the other sums include.
    """

    first: date
    last: date
    environment: str
    branch: str | None
    by_asset: list[CostSum]
    by_run: list[CostSum]
    by_branch: list[CostSum]
    by_day: list[CostSum]
    failed: CostSum

    @property
    def jobs(self) -> int:
        return sum(item.jobs for item in self.by_day)

    @property
    def total(self) -> float:
        return round(sum(item.cost for item in self.by_day), 4)

    def to_json(self) -> dict[str, Any]:
        sums = {
            "by_asset": ("asset", self.by_asset),
            "by_run": ("run", self.by_run),
            "by_branch": ("branch", self.by_branch),
            "by_day": ("day", self.by_day),
        }
        return {
            "from": self.first.isoformat(),
            "to": self.last.isoformat(),
            "environment": self.environment,
            "branch": self.branch,
            "currency": "USD",
            "jobs": self.jobs,
            "total": self.total,
            "failed": {"jobs": self.failed.jobs, "cost": self.failed.cost},
            **{
                name: [{key: item.key, "jobs": item.jobs, "cost": item.cost} for item in items]
                for name, (key, items) in sums.items()
            },
        }


def cost_report(settings: Settings, first: date, last: date) -> CostReport:
    """Sums the costs in the history of this state."""
    time_zone = operator_of(settings).time_zone
    with open_instance() as instance:
        costs = job_costs(instance.event_log_storage, first, last, time_zone)
    return report_of(costs, settings, first, last, time_zone)


def report_of(
    costs: Sequence[JobCost], settings: Settings, first: date, last: date, time_zone: str
) -> CostReport:
    """The sums of these jobs. Their days are local."""
    zone = ZoneInfo(time_zone)
    return CostReport(
        first,
        last,
        settings.environment,
        settings.branch,
        by_asset=sums_by(costs, lambda job: job.asset),
        by_run=sums_by(costs, lambda job: job.run_id),
        by_branch=sums_by(costs, lambda job: job.branch),
        by_day=sums_by(costs, lambda job: job.time.astimezone(zone).date()),
        failed=next(
            iter(sums_by((job for job in costs if job.failed), lambda _: "failed")), CostSum("failed", 0, 0.0)
        ),
    )


def show(report: CostReport, console: Console) -> None:
    """Prints the total, and one table by asset, run, branch and day."""
    period = f"{report.first} to {report.last}"
    if not report.jobs:
        console.print(f"No cost of a job is recorded from {period}. Jobs of this machine have none.")
        return
    console.print(f"{period}, {report.environment}: {report.total:,.2f} USD, {report.jobs:,} jobs")
    if report.failed.jobs:
        console.print(f"Failed jobs, included: {report.failed.cost:,.2f} USD, {report.failed.jobs:,} jobs")
    runs = sorted(report.by_run, key=lambda item: -item.cost)
    console.print(_table("asset", report.by_asset))
    console.print(_table("run", runs[:RUNS]))
    if len(runs) > RUNS:
        console.print(f"{len(runs) - RUNS:,} cheaper runs are in --json")
    console.print(_table("branch", report.by_branch))
    console.print(_table("day", report.by_day))


def _table(name: str, items: Sequence[CostSum]) -> Table:
    table = Table(name, "jobs", "USD")
    for item in items:
        table.add_row(item.key, f"{item.jobs:,}", f"{item.cost:,.4f}")
    return table
