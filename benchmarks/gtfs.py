"""Seconds and memory of reading a GTFS feed of Ruter's size: `python -m benchmarks.gtfs`.

27,000 journeys and 530,000 stop times a day over a calendar of 60 days. `--services 6`: weekdays, Saturdays and Sundays of two
periods (3.2 million stop times); `--services 60`: every date has trips of its own (31.8 million). Plans of all 60 dates are made, one
after the other, in a process of its own.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import tempfile
import time
import zipfile
from datetime import date, timedelta
from pathlib import Path

import polars as pl

from ruter_dagster.sources.gtfs import Feed
from ruter_dagster.sources.gtfs_files import find_feeds

FIRST, DAYS = date(2026, 11, 2), 60
JOURNEYS, STOPS_OF_JOURNEY, LINES, STOPS = 27_000, 20, 200, 9_000
OSLO = "Europe/Oslo"


def write_feed(path: Path, services: int) -> int:
    """Writes a zip of the feed and returns its number of stop times."""
    days = [FIRST + timedelta(offset) for offset in range(DAYS)]
    trips = (
        pl.DataFrame({"service": range(services)})
        .join(pl.DataFrame({"journey": range(JOURNEYS)}), how="cross")
        .with_columns(line=pl.col("journey") % LINES, start=18_000 + (pl.col("journey") * 2) % 72_000)
    )
    trip_id = pl.format("RUT:ServiceJourney:{}-{}", "service", "journey")
    journey = pl.DataFrame({"position": range(STOPS_OF_JOURNEY)})
    with (
        zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive,
        tempfile.TemporaryDirectory() as folder,
    ):

        def add(name: str, frame: pl.DataFrame) -> None:
            frame.write_csv(Path(folder) / name)
            archive.write(Path(folder) / name, name)
            (Path(folder) / name).unlink()

        add("agency.txt", pl.DataFrame({"agency_name": ["Ruter"], "agency_timezone": [OSLO]}))
        lines = pl.DataFrame({"number": range(LINES)})
        add(
            "routes.txt",
            lines.select(
                route_id=pl.format("RUT:Line:{}", "number"), route_short_name="number", route_type=pl.lit(700)
            ),
        )
        stops = pl.DataFrame({"number": range(STOPS)})
        add("stops.txt", stops.select(stop_id=pl.format("NSR:Quay:{}", "number"), stop_name=pl.format("Stop {}", "number"), stop_lat=59.0 + pl.col("number") / STOPS, stop_lon=10.0 + pl.col("number") / STOPS))  # fmt: skip
        add("trips.txt", trips.select(trip_id.alias("trip_id"), route_id=pl.format("RUT:Line:{}", "line"), service_id="service", direction_id=pl.col("journey") // LINES % 2, block_id=pl.format("block {}", pl.col("journey") // 20)))  # fmt: skip
        runs = [(day, _service(day, offset, services)) for offset, day in enumerate(days)]
        add("calendar_dates.txt", pl.DataFrame({"service_id": [service for _, service in runs], "date": [f"{day:%Y%m%d}" for day, _ in runs], "exception_type": 1}))  # fmt: skip
        total = 0
        with (Path(folder) / "stop_times.txt").open("wb") as file:
            for service in range(services):
                rows = trips.filter(pl.col("service") == service).join(journey, how="cross")
                clock = _clock(pl.col("start") + 100 * pl.col("position"))
                frame = rows.select(trip_id.alias("trip_id"), clock.alias("arrival_time"), clock.alias("departure_time"), stop_id=pl.format("NSR:Quay:{}", (pl.col("line") * 45 + pl.col("position")) % STOPS), stop_sequence="position")  # fmt: skip
                frame.write_csv(file, include_header=service == 0)
                total += frame.height
        archive.write(Path(folder) / "stop_times.txt", "stop_times.txt")
    return total


def _service(day: date, offset: int, services: int) -> int:
    if services >= DAYS:
        return offset
    kind = {5: 1, 6: 2}.get(day.weekday(), 0)
    return kind + 3 * (offset * services // (3 * DAYS))


def _clock(value: pl.Expr) -> pl.Expr:
    parts = (value // 3600, value // 60 % 60, value % 60)
    return pl.concat_str([part.cast(pl.String).str.zfill(2) for part in parts], separator=":")


def measure(path: Path) -> None:
    """Reads the plan of every date; prints seconds to the first and to the last, rows and the process's peak memory."""
    started = time.monotonic()
    [files] = find_feeds(str(path))
    feed = Feed(files, OSLO)
    days = [FIRST + timedelta(offset) for offset in range(DAYS)]
    rows, first = 0, 0.0
    for day in days:
        rows += feed.departures(day, days).height
        first = first or time.monotonic() - started
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(
        f"{DAYS} dates, {rows:,} departures: {time.monotonic() - started:.1f} s ({first:.1f} s to the first), {peak:.2f} GiB"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--services", type=int, default=6, help="6 (shared by dates) or 60 (each date its own)"
    )
    parser.add_argument("--feed", type=Path, help="measure this feed, which an earlier run wrote")
    args = parser.parse_args()
    if args.feed and args.feed.exists():
        measure(args.feed)
        return
    with tempfile.TemporaryDirectory() as folder:
        path = args.feed or Path(folder) / "gtfs.zip"
        total = write_feed(path, args.services)
        print(f"{total:,} stop times, {path.stat().st_size / 2**20:.0f} MiB zipped")
        subprocess.run([sys.executable, "-m", "benchmarks.gtfs", "--feed", str(path)], check=True)


if __name__ == "__main__":
    main()
