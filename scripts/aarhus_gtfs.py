"""Makes the GTFS feed of examples/aarhus_1a from the schedule columns of its TIDES tables: `python scripts/aarhus_gtfs.py`.

A trip runs on the weekdays on which it was scheduled in `WEEKS`, the last whole weeks with counts, at the times it had then.
"""

from __future__ import annotations

from datetime import date
from pathlib import Path

import polars as pl

EXAMPLE = Path(__file__).parents[1] / "examples" / "aarhus_1a"
WEEKS = (date(2024, 1, 15), date(2024, 1, 28))
VALID = (date(2024, 1, 15), date(2024, 3, 3))
ZONE = "Europe/Copenhagen"
WEEKDAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
NAMES = {
    "kolt_osterparken": "Kolt, Østerparken",
    "hasselager_alle": "Hasselager Allé",
    "park_alle": "Park Allé",
    "norreport": "Nørreport",
    "vejlby_centervej": "Vejlby Centervej",
}


def feed() -> dict[str, pl.DataFrame]:
    """The feed's files by name."""
    first, last = (f"{day:%Y%m%d}" for day in VALID)
    visits = _scheduled_visits()
    trips = (
        visits.group_by("trip_id", "route_id", "direction_id")
        .agg(pl.col("service_date").dt.weekday().unique().sort().alias("days"))
        .with_columns(
            service_id=pl.format("days-{}", pl.col("days").cast(pl.List(pl.String)).list.join("")),
        )
        .sort("trip_id")
    )
    services = trips.select("service_id", "days").unique().sort("service_id")
    runs = [
        pl.col("days").list.contains(number).cast(pl.Int8).alias(day)
        for number, day in enumerate(WEEKDAYS, 1)
    ]
    times = visits.unique(["trip_id", "stop_sequence"]).sort("trip_id", "stop_sequence")
    return {
        "agency.txt": pl.DataFrame(
            {"agency_name": "Midttrafik", "agency_url": "https://www.midttrafik.dk", "agency_timezone": ZONE}
        ),
        "feed_info.txt": pl.DataFrame(
            {
                "feed_publisher_name": "Ruter Dagster, from the schedule columns of the TIDES tables",
                "feed_publisher_url": "https://github.com/MinaAlmasi/midttrafik-time-series",
                "feed_lang": "da",
                "feed_start_date": first,
                "feed_end_date": last,
                "feed_version": f"last-weeks-{WEEKS[0]}",
            }
        ),
        "routes.txt": pl.DataFrame({"route_id": "1A", "route_short_name": "1A", "route_type": 3}),
        "stops.txt": pl.DataFrame({"stop_id": list(NAMES), "stop_name": list(NAMES.values())}),
        "calendar.txt": services.select("service_id", *runs, start_date=pl.lit(first), end_date=pl.lit(last)),
        "trips.txt": trips.select("route_id", "service_id", "trip_id", "direction_id"),
        "stop_times.txt": times.select(
            "trip_id",
            arrival_time="time",
            departure_time="time",
            stop_id="stop_id",
            stop_sequence="stop_sequence",
        ),
    }


def _scheduled_visits() -> pl.DataFrame:
    """Visits of `WEEKS` with the scheduled trip and GTFS's time of the stop, which counts on after midnight."""
    trips = pl.read_parquet(EXAMPLE / "trips_performed.parquet").select(
        "service_date", "trip_id_performed", "route_id", "direction_id", trip_id="trip_id_scheduled"
    )
    local = pl.col("schedule_departure_time").dt.convert_time_zone(ZONE).dt.replace_time_zone(None)
    minutes = (local - pl.col("service_date").cast(pl.Datetime("us"))).dt.total_minutes()
    return (
        pl.read_parquet(EXAMPLE / "stop_visits.parquet")
        .filter(pl.col("service_date").is_between(*WEEKS))
        .join(trips, on=["service_date", "trip_id_performed"])
        .select(
            "service_date",
            "trip_id",
            "route_id",
            "direction_id",
            "stop_id",
            stop_sequence="trip_stop_sequence",
            time=pl.format("{}:{}:00", _two_digits(minutes // 60), _two_digits(minutes % 60)),
        )
    )


def _two_digits(value: pl.Expr) -> pl.Expr:
    return value.cast(pl.String).str.zfill(2)


def main() -> None:
    folder = EXAMPLE / "gtfs"
    folder.mkdir(exist_ok=True)
    for name, frame in feed().items():
        frame.write_csv(folder / name)


if __name__ == "__main__":
    main()
