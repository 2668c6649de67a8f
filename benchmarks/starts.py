"""Start-up costs: `python -m benchmarks.starts`, loading the code location and a cold materialisation of a light asset.

CPU seconds of `import ruter_dagster.definitions` over those of `import dagster`, bytecode compiled; and the seconds of
`dagster asset materialize --select raw/weather_forecasts` of one date in an empty state, command to end. Medians.
"""

from __future__ import annotations

import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

ROUNDS = 5
LIGHT = ("raw/weather_forecasts", "2026-11-20")


def main() -> None:
    dagster, ours = (
        _median(partial(_cpu_of_import, module)) for module in ("dagster", "ruter_dagster.definitions")
    )
    print(f"code location: {ours:.2f} CPU s, import dagster {dagster:.2f}: {ours - dagster:.2f} over it")
    print(f"dagster asset materialize of {LIGHT[0]}, cold: {_median(_materialise):.1f} s")


def _median(measure: Callable[[], float]) -> float:
    measure()  # compiles bytecode, and fills the system's file cache
    return statistics.median(measure() for _ in range(ROUNDS))


def _cpu_of_import(module: str) -> float:
    before = _cpu_seconds_of_children()
    subprocess.run([sys.executable, "-c", f"import {module}"], check=True)
    return _cpu_seconds_of_children() - before


def _cpu_seconds_of_children() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _materialise() -> float:
    command = Path(sys.executable).with_name("dagster")
    asset, day = LIGHT
    arguments = [
        "asset",
        "materialize",
        "-m",
        "ruter_dagster.definitions",
        "--select",
        asset,
        "--partition",
        day,
    ]
    with tempfile.TemporaryDirectory() as state:
        began = time.perf_counter()
        subprocess.run(
            [command, *arguments],
            env={**os.environ, "RUTER_STATE_DIR": state, "RUTER_SOURCE": "demo"},
            check=True,
            capture_output=True,
        )
        return time.perf_counter() - began


if __name__ == "__main__":
    main()
