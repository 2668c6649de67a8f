"""Load forecasts for tests: every horizon, sources of both kinds, missing capacities, identifiers with awkward signs."""

from __future__ import annotations

from datetime import UTC, date, datetime
from typing import Any

import polars as pl

from ruter_dagster.contracts.tables import LOAD_FORECASTS
from ruter_dagster.contracts.validation import conform
from ruter_dagster.forecasting.occupancy import OccupancyThresholds
from ruter_dagster.publishing.kafka import Outcome, PublicationResult
from ruter_dagster.publishing.markers import Marker

ISSUE_DATE = date(2026, 11, 20)
PUBLISHING: dict[str, Any] = {
    "issue_date": ISSUE_DATE,
    "issued_at": datetime(2026, 11, 20, 3, 30, tzinfo=UTC),
    "data_cutoff": date(2026, 11, 19),
    "thresholds": {
        "empty_below": 0.5,
        "many_seats_free_above": 0.5,
        "few_seats_free_above": 0.1,
        "crushed_standing_above": 0.8,
        "full_above": 1.0,
    },
}
"""Arguments of `publish` beside the forecasts and their content hash."""

STOPS = 20


def publication_result(
    forecasts: pl.DataFrame, outcome: Outcome = "published", **marker: Any
) -> PublicationResult:
    """The result of publishing all of these forecasts for the first time."""
    journeys = forecasts.select("operating_date", "trip_id").unique().height
    values: dict[str, Any] = {
        "publication_id": "an-id",
        "issue_date": forecasts["issue_date"][0],
        "content_hash": "content",
        "schema_version": 2,
        "messages": journeys,
        "published_at": datetime(2026, 11, 20, 4, 31, 7, tzinfo=UTC),
        "issued_at": PUBLISHING["issued_at"],
        "snapshot_id": 1,
        "journeys": journeys,
        "calls": forecasts.height,
    }
    return PublicationResult(outcome, Marker(**values | marker), ("load-forecasts",), 0.0)


def load_forecasts(departures: int = 2_000) -> pl.DataFrame:
    """Forecasts of `departures` departures that meet the contract, spread evenly over the horizons 0 to 3.

    Each journey has `STOPS` of them.
    """
    number = pl.int_range(departures, eager=True).alias("number").to_frame()
    n = pl.col("number")
    horizon = (n % 4).cast(pl.Int32)
    operating_date = pl.lit(ISSUE_DATE).dt.offset_by(pl.format("{}d", horizon))
    mean = (n % 97) * 1.2345
    known = n % 10 != 0
    frame = number.select(
        issue_date=pl.lit(ISSUE_DATE),
        operating_date=operating_date,
        horizon_days=horizon,
        trip_id=pl.format('RUT:ServiceJourney:31-{}|100 % "ø"', n // (4 * STOPS)),
        stop_sequence=(n // 4 % STOPS + 1).cast(pl.Int32),
        line_id=pl.lit("RUT:Line:31"),
        mode=pl.lit("bus"),
        direction_id=(n // 80 % 2).cast(pl.Int32),
        stop_id=pl.format("NSR:Quay:{}", n // 4 % STOPS),
        scheduled_departure_time=operating_date.cast(pl.Datetime("us", "UTC"))
        + pl.duration(seconds=18_000 + n),
        slot_hour=pl.lit(6, dtype=pl.Int32),
        seats=pl.when(known).then(pl.lit(34, dtype=pl.Int32)),
        total_capacity=pl.when(known).then(pl.lit(75, dtype=pl.Int32)),
        mean=mean,
        p10=mean * 0.5,
        p50=mean * 0.9,
        p90=mean * 1.7,
        prob_above_seats=pl.when(known).then((n % 101) / 101),
        occupancy_level=pl.lit("manySeatsAvailable"),
        occupancy_status=pl.lit(1, dtype=pl.Int32),
        occupancy_percentage=pl.when(known).then((n % 20 * 5).cast(pl.Int32)),
        last_week=pl.lit(None, dtype=pl.Float64),
        ha4=mean,
        ha8=mean,
        history_count=(n % 9).cast(pl.Int32),
        source=pl.when(known).then(pl.lit("model")).otherwise(pl.lit("baseline")),
        expected_tier=pl.lit("departure"),
        model_version=pl.when(known).then(pl.lit("6f1e0c")),
        reasons=pl.when(n % 50 == 0).then(pl.lit("event littleHistory")).otherwise(pl.lit("")),
        thresholds_version=pl.lit(OccupancyThresholds().version),
    )
    return conform(frame, LOAD_FORECASTS)
