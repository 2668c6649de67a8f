"""A day of the demo network at the size of Ruter: `python -m benchmarks.network`; seconds to make it, in an own process each."""

from __future__ import annotations

import subprocess
import sys
import time
from datetime import date, timedelta

from ruter_dagster.sources.demo.source import DemoSource

ROUNDS = 3
DAY = date(2026, 11, 18)


def main() -> None:
    if sys.argv[1:] == ["--once"]:
        _once()
        return
    for _ in range(ROUNDS):
        subprocess.run([sys.executable, "-m", "benchmarks.network", "--once"], check=True)


def _once() -> None:
    """The first day has the network made as well; the next ones are days alone."""
    source = DemoSource(scale="ruter")
    for number in range(2):
        day = DAY + timedelta(number)
        began = time.perf_counter()
        visits = source.stop_visits(day)
        of_visits = time.perf_counter() - began
        plan = source.planned_departures(day)
        both = time.perf_counter() - began
        print(
            f"{day}: {of_visits:.2f} s for {visits.height:,} stop visits, {visits['boardings'].sum():,.0f} boardings; "
            f"{both:.2f} s with {plan.height:,} planned departures"
        )


if __name__ == "__main__":
    main()
