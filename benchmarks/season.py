"""A season at the size of Ruter: `python -m benchmarks.season --state FOLDER [--json FILE]`, 40 minutes on 2 cores.

116 days of history, of which the last 60 have features, one training on their training sample, and seven issue dates, all
through Dagster, in a new folder. It shows what each asset cost, and the first and the last jobs of each range side by side: a
cost that grew with the history kept would show there. The folder then serves the other benchmarks; for these alone
`--feature-days 32 --issue-dates 1` is enough, in half of the time.
"""

from __future__ import annotations

import argparse
import json
import os
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict
from datetime import timedelta
from pathlib import Path

from rich.console import Console
from rich.table import Table

from benchmarks.costs import Cost, jobs_of, machine, sum_costs, table_of
from benchmarks.day import through_dagster
from benchmarks.state import FIRST_ISSUE_DATE, settings_of
from ruter_dagster.config.settings import load_settings

LAG_DAYS = 56
"""Dates of history before the first date with features."""


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--state", type=Path, required=True, help="folder of the state; kept")
    parser.add_argument("--json", type=Path, help="file for the figures")
    parser.add_argument("--feature-days", type=int, default=60, help="dates of history that have features")
    parser.add_argument("--issue-dates", type=int, default=7)
    args = parser.parse_args()
    os.environ |= {
        "RUTER_HISTORY_DAYS": f"{LAG_DAYS + args.feature_days}",
        "RUTER_ISSUE_DATE": f"{FIRST_ISSUE_DATE}",
    }
    settings = settings_of(args.state)
    from ruter_dagster.commands.demo import run_demo
    from ruter_dagster.publishing.broker import local_broker

    console = Console(width=150)
    with local_broker(args.state / "broker") as broker:
        os.environ["KAFKA_BOOTSTRAP_SERVERS"] = broker.bootstrap_servers
        run_demo(load_settings(_env_file=None), console)
        history = [
            cost for log in sorted((settings.source_dir / "logs").glob("0*.log")) for cost in jobs_of(log)
        ]
        dates = [FIRST_ISSUE_DATE + timedelta(later) for later in range(1, args.issue_dates)]
        days = [through_dagster(day, load_settings(_env_file=None)) for day in dates]
    show(history, days, console)
    if args.json:
        figures = {
            "machine": machine(),
            "jobs": list(map(asdict, history)),
            "days": [list(map(asdict, day)) for day in days],
        }
        args.json.write_text(json.dumps(figures, indent=2))


def show(history: Sequence[Cost], days: Sequence[Sequence[Cost]], console: Console) -> None:
    console.print(machine())
    by_asset: dict[str, list[Cost]] = defaultdict(list)
    for cost in history:
        by_asset[cost.step].append(cost)
    console.print(
        table_of(
            "History, training and the first issue date, by asset",
            [sum_costs(*item) for item in by_asset.items()],
        )
    )
    growth = Table("asset", "jobs", "CPU s a date, first quarter", "last quarter")
    for asset, jobs in by_asset.items():
        ranged = [job for job in jobs if job.dates][1:-1]  # the first one imports, the last one may be short
        if len(ranged) >= 4:
            quarter = len(ranged) // 4
            first, last = (_cpu_seconds_per_date(part) for part in (ranged[:quarter], ranged[-quarter:]))
            growth.add_row(asset, f"{len(ranged)}", f"{first:.2f}", f"{last:.2f}")
    console.print(growth)
    for number, day in enumerate(days, 2):
        runs = sum(cost.seconds for cost in day if cost.step.startswith("run "))
        console.print(f"Issue date {number}: {runs:.1f} s, peak {max(cost.peak_mb for cost in day):,.0f} MB")


def _cpu_seconds_per_date(jobs: Sequence[Cost]) -> float:
    return sum(job.cpu_seconds for job in jobs) / sum(job.dates for job in jobs)


if __name__ == "__main__":
    main()
