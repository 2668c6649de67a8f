"""A day of the demo network at the size of Ruter: `python -m benchmarks.network`, seconds to make one."""

from __future__ import annotations

import argparse
import time
from datetime import date, timedelta

from ruter_dagster.sources.demo.source import DemoSource

FIRST = date(2026, 11, 18)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--days", type=int, default=4, help="with the first one the network is made as well")
    source = DemoSource(scale="ruter")
    for number in range(parser.parse_args().days):
        day = FIRST + timedelta(number)
        began = time.perf_counter()
        visits, plan = source.stop_visits(day), source.planned_departures(day)
        print(
            f"{day}: {time.perf_counter() - began:.2f} s for {visits.height:,} stop visits, "
            f"{visits['boardings'].sum():,.0f} boardings, {plan.height:,} planned departures"
        )


if __name__ == "__main__":
    main()
