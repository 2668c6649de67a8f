"""Cost of balancing a date of the demo network: `python -m benchmarks.balance [demo|ruter]`.

CPU seconds are the best of five runs; on a busy machine they vary less than wall-clock seconds.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from datetime import date

from ruter_dagster.forecasting.carry_over import CarryOver
from ruter_dagster.forecasting.counts import balance
from ruter_dagster.quality.vehicle_counts import vehicle_counts
from ruter_dagster.sources.demo.network import Scale
from ruter_dagster.sources.demo.source import TIME_ZONE, DemoSource

DAY = date(2026, 11, 20)
RUNS = 5


def timed(name: str, run: Callable[[], object]) -> None:
    seconds = []
    for _ in range(RUNS):
        wall, cpu = time.perf_counter(), time.process_time()
        run()
        seconds.append((time.process_time() - cpu, time.perf_counter() - wall))
    cpu, wall = (min(column) for column in zip(*seconds, strict=True))
    print(f"{cpu:8.3f} s CPU {wall:8.3f} s  {name}", flush=True)


def main(scale: Scale) -> None:
    visits = DemoSource(scale=scale).stop_visits(DAY)
    print(f"{visits.height:,} visits of {visits['trip_id'].n_unique():,} trips")
    timed("balance, no line carried over", lambda: balance(visits, TIME_ZONE.key, CarryOver("never")))
    timed("balance, inferred by line", lambda: balance(visits, TIME_ZONE.key))
    timed("balance, every line carried over", lambda: balance(visits, TIME_ZONE.key, CarryOver("always")))
    timed("counts of vehicles beside others", lambda: vehicle_counts(visits))


if __name__ == "__main__":
    main("demo" if sys.argv[1:] == ["demo"] else "ruter")
