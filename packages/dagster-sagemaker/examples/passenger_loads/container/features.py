"""Processing job: turns counts at stops into passengers on board. Needs dagster-pipes and boto3.

python features.py COUNTS_FILE FEATURES_FILE
"""

import csv
import sys
from datetime import date
from pathlib import Path

import boto3
from dagster_pipes import PipesS3ContextLoader, PipesS3MessageWriter, open_dagster_pipes

COLUMNS = ("date", "line", "hour", "weekday", "stop", "load")


def features(counts: list[dict[str, str]]) -> list[dict[str, object]]:
    """One row per departure from a stop. The counts of a trip are in the order of its stops."""
    loads: dict[tuple[str, str], int] = {}
    rows = []
    for count in counts:
        trip = (count["date"], count["trip"])
        loads[trip] = loads.get(trip, 0) + int(count["boardings"]) - int(count["alightings"])
        row = (
            count["date"],
            count["line"],
            int(count["departure"][:2]),
            date.fromisoformat(count["date"]).isoweekday(),
            count["stop"],
            loads[trip],
        )
        rows.append(dict(zip(COLUMNS, row, strict=True)))
    return rows


def main(counts_file: Path, features_file: Path) -> None:
    s3 = boto3.client("s3")
    with open_dagster_pipes(
        context_loader=PipesS3ContextLoader(s3), message_writer=PipesS3MessageWriter(s3, interval=2)
    ) as pipes:
        with counts_file.open() as file:
            rows = features(list(csv.DictReader(file)))
        print(f"{len(rows)} departures", flush=True)
        with features_file.open("w", newline="") as file:
            writer = csv.DictWriter(file, COLUMNS)
            writer.writeheader()
            writer.writerows(rows)
        pipes.report_asset_materialization(
            metadata={"departures": len(rows), "largest_load": max(int(str(row["load"])) for row in rows)}
        )


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
