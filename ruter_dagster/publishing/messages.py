"""The published messages: the key and two JSON messages of each departure, as `schemas/` describes them.

The load forecast has counts and is internal. The occupancy forecast is public and has levels only. Nothing here talks to a
broker.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import polars as pl

from ruter_dagster.contracts.errors import BadInput

SCHEMA_VERSION = 1
"""Increased with every change that consumers of the previous version cannot read."""

SCHEMAS = Path(__file__).parent / "schemas"
LOAD_FORECAST = "load-forecast"
OCCUPANCY_FORECAST = "occupancy-forecast"

_KEY = "_key"


@dataclass(frozen=True)
class Publication:
    """Values that all messages of a publication share. `issued_at` has a time zone; `data_cutoff` is the last known service date."""

    publication_id: str
    issued_at: datetime
    data_cutoff: date

    def __post_init__(self) -> None:
        if self.issued_at.tzinfo is None:
            raise BadInput(f"issued_at {self.issued_at} has no time zone: give it in UTC")


@dataclass(frozen=True)
class Messages:
    """Keys and values of departures: three string Series of the same length, one entry per departure."""

    keys: pl.Series
    load_forecasts: pl.Series
    occupancy_forecasts: pl.Series


def publication_id(
    topic: str, issue_date: date, content_hash: str, schema_version: int = SCHEMA_VERSION
) -> str:
    """Id of a publication. The same forecasts on the same topic always have the same id."""
    identity = json.dumps([topic, issue_date.isoformat(), content_hash, schema_version])
    return hashlib.sha256(identity.encode()).hexdigest()[:32]


def schema(name: str, version: int = SCHEMA_VERSION) -> dict[str, Any]:
    """The JSON Schema of a message, `LOAD_FORECAST` or `OCCUPANCY_FORECAST`."""
    return json.loads((SCHEMAS / f"{name}.v{version}.json").read_text())


def build_messages(forecasts: pl.DataFrame, publication: Publication) -> Messages:
    """The messages of `forecasts` (contract LOAD_FORECASTS): one of each kind per row, in the order of the rows.

    Counts are rounded to 0.01 passengers, the probability to 0.0001.
    """
    frame = forecasts.select(
        build_key().alias(_KEY),
        **_identity(publication),
        **load_fields(),
    )
    return Messages(
        keys=frame[_KEY],
        load_forecasts=_encode(frame, LOAD_FORECAST),
        occupancy_forecasts=_encode(frame, OCCUPANCY_FORECAST),
    )


def build_key() -> pl.Expr:
    """A departure's key: `serviceJourneyRef|operatingDay|stopPointRef|order`.

    A `|` in an identifier is written `%7C` and a `%` as `%25`, so that two departures never share a key.
    """
    return pl.concat_str(
        _escaped("trip_id"),
        pl.col("operating_date").dt.to_string("iso"),
        _escaped("stop_id"),
        pl.col("stop_sequence").cast(pl.String),
        separator="|",
    )


def _escaped(column: str) -> pl.Expr:
    return pl.col(column).str.replace_all("%", "%25", literal=True).str.replace_all("|", "%7C", literal=True)


def _identity(publication: Publication) -> dict[str, pl.Expr]:
    issued_at = publication.issued_at.astimezone(UTC)
    departure = pl.col("scheduled_departure_time")
    return {
        "forecastId": pl.concat_str(pl.lit(publication.publication_id), build_key(), separator="|"),
        "publicationId": pl.lit(publication.publication_id),
        "schemaVersion": pl.lit(SCHEMA_VERSION),
        "modelVersion": pl.col("model_version"),
        "issuedAt": pl.lit(issued_at.strftime("%Y-%m-%dT%H:%M:%SZ")),
        "dataCutoff": pl.lit(publication.data_cutoff.isoformat()),
        "horizonHours": ((departure - issued_at).dt.total_minutes() / 60).round(1),
        "serviceJourneyRef": pl.col("trip_id"),
        "operatingDay": pl.col("operating_date").dt.to_string("iso"),
        "stopPointRef": pl.col("stop_id"),
        "order": pl.col("stop_sequence"),
        "lineRef": pl.col("line_id"),
        "directionRef": pl.col("direction_id").cast(pl.String),
        "quayRef": pl.col("stop_id"),
        "aimedDepartureTime": departure.dt.to_string("%Y-%m-%dT%H:%M:%SZ"),
    }


def load_fields() -> dict[str, pl.Expr]:
    """Load fields of a message, as expressions on the columns of contract LOAD_FORECASTS."""
    return {
        "expectedOnboardCount": pl.col("mean").round(2),
        "onboardP10": pl.col("p10").round(2),
        "onboardP50": pl.col("p50").round(2),
        "onboardP90": pl.col("p90").round(2),
        "probabilityAboveSeats": pl.col("prob_above_seats").round(4),
        "occupancyLevel": pl.col("occupancy_level"),
        "occupancyStatus": pl.col("occupancy_status"),
        "occupancyPercentage": pl.col("occupancy_percentage"),
        "seatingCapacity": pl.col("seats"),
        "totalCapacity": pl.col("total_capacity"),
        "source": pl.col("source"),
        "historyCount": pl.col("history_count"),
    }


def _encode(frame: pl.DataFrame, name: str) -> pl.Series:
    """One JSON object per row, with the fields of the schema in its order."""
    fields = list(schema(name)["properties"])
    return frame.select(pl.struct(fields).struct.json_encode()).to_series()
