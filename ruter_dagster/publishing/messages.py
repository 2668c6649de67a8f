"""The published messages: the key and two JSON messages of each service journey, as `schemas/` describes them.

The load forecast has counts and is internal. The occupancy forecast is public and has levels only. Nothing here talks to a
broker.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import polars as pl

from ruter_dagster.contracts.errors import BadInput

SCHEMA_VERSION = 2
"""Increased with every change that consumers of the previous version cannot read."""
PUBLICATION_HEADER = "publicationId"
"""Header of a tombstone. The values of all other messages have the id of their publication."""

SCHEMAS = Path(__file__).parent / "schemas"
LOAD_FORECAST = "load-forecast"
OCCUPANCY_FORECAST = "occupancy-forecast"
PUBLICATION = "publication"

JOURNEY = ("operating_date", "trip_id")
"""Columns that identify a service journey."""
MESSAGE_COLUMNS = (
    *JOURNEY, "stop_sequence", "line_id", "direction_id", "mode", "stop_id", "scheduled_departure_time", "seats",
    "total_capacity", "mean", "p10", "p50", "p90", "prob_above_seats", "occupancy_level", "occupancy_status",
    "occupancy_percentage", "source", "history_count", "model_version", "reasons", "thresholds_version",
)  # fmt: skip
"""Columns of contract LOAD_FORECASTS that a message depends on."""

_JOURNEY_COLUMNS = (
    "line_id", "direction_id", "mode", "thresholds_version", "seats", "total_capacity", "model_version",
)  # fmt: skip
_CALL = "call."
_TIME = "%Y-%m-%dT%H:%M:%SZ"


@dataclass(frozen=True)
class Publication:
    """Values that all messages of a publication share.

    `issued_at` has a time zone; `data_cutoff` is the last known service date; `thresholds` are the operator's occupancy
    thresholds by name, without their version.
    """

    publication_id: str
    issued_at: datetime
    data_cutoff: date
    thresholds: Mapping[str, float]

    def __post_init__(self) -> None:
        if self.issued_at.tzinfo is None:
            raise BadInput(f"issued_at {self.issued_at} has no time zone: give it in UTC")

    @property
    def issued_at_utc(self) -> str:
        """RFC 3339, in UTC."""
        return self.issued_at.astimezone(UTC).strftime(_TIME)


@dataclass(frozen=True)
class Messages:
    """Keys and values of service journeys: three binary Series of the same length, one entry per journey, UTF-8."""

    keys: pl.Series
    load_forecasts: pl.Series
    occupancy_forecasts: pl.Series

    @property
    def values(self) -> tuple[pl.Series, pl.Series]:
        """The values in the order of `Topics.message_topics`."""
        return self.load_forecasts, self.occupancy_forecasts


def publication_id(
    topic: str,
    issue_date: date,
    content_hash: str,
    supersedes: str | None = None,
    schema_version: int = SCHEMA_VERSION,
) -> str:
    """Id of a publication. The same forecasts on the same topic, after the same publication, always have the same id."""
    identity = json.dumps([topic, issue_date.isoformat(), content_hash, schema_version, supersedes])
    return hashlib.sha256(identity.encode()).hexdigest()[:32]


def schema(name: str, version: int = SCHEMA_VERSION) -> dict[str, Any]:
    """The JSON Schema of a message: `LOAD_FORECAST`, `OCCUPANCY_FORECAST` or `PUBLICATION`."""
    return json.loads((SCHEMAS / f"{name}.v{version}.json").read_text())


def build_messages(forecasts: pl.DataFrame, publication: Publication) -> Messages:
    """The messages of `forecasts` (contract LOAD_FORECASTS, sorted by key, whole journeys): one of each kind per journey.

    Counts are rounded to 0.01 passengers, the probability to 0.0001.
    """
    calls = _prefixed(call_fields())
    public = [
        field for field in calls if field.removeprefix(_CALL) in _field_names(OCCUPANCY_FORECAST, "calls")
    ]
    journeys = (
        # Each field is computed once for both messages.
        forecasts.select(*JOURNEY, *_JOURNEY_COLUMNS, **calls)
        .select(*JOURNEY, *_JOURNEY_COLUMNS, _load=_call(calls), _occupancy=_call(public))
        .group_by(JOURNEY, maintain_order=True)
        .agg(
            "_load",
            "_occupancy",
            pl.col("line_id", "direction_id", "mode", "thresholds_version").first(),
            # Null for a call without a value of its own, for example without history.
            pl.col("seats", "total_capacity", "model_version").max(),
        )
    )
    attributes = _shared_attributes(publication) | _journey_attributes(publication)
    encoded = journeys.select(
        keys=build_key().cast(pl.Binary),
        load_forecasts=_json(LOAD_FORECAST, attributes | {"calls": pl.col("_load")}),
        occupancy_forecasts=_json(OCCUPANCY_FORECAST, attributes | {"calls": pl.col("_occupancy")}),
    )
    return Messages(**encoded.to_dict())


def build_key() -> pl.Expr:
    """A journey's key: `operatingDay|serviceJourneyRef`.

    A `|` in an identifier is written `%7C` and a `%` as `%25`, so that a key has exactly one `|`.
    """
    escaped = (
        pl.col("trip_id").str.replace_all("%", "%25", literal=True).str.replace_all("|", "%7C", literal=True)
    )
    return pl.concat_str(pl.col("operating_date").dt.to_string("iso"), escaped, separator="|")


def is_journey_key(key: bytes) -> bool:
    """Whether a key is a journey's. Version 1 has a key for each departure, with three `|`."""
    return key.count(b"|") == 1


def journey_of(key: bytes) -> tuple[date, str]:
    """The operating day and the service journey of a key."""
    day, trip = key.decode().split("|")
    return date.fromisoformat(day), trip.replace("%7C", "|").replace("%25", "%")


def call_fields() -> dict[str, pl.Expr]:
    """The fields of a call in the load forecast, as expressions on the columns of contract LOAD_FORECASTS."""
    return {
        "order": pl.col("stop_sequence"),
        "stopPointRef": pl.col("stop_id"),
        "aimedDepartureTime": pl.col("scheduled_departure_time").dt.to_string(_TIME),
        "expectedOnboardCount": pl.col("mean").round(2),
        "onboardP10": pl.col("p10").round(2),
        "onboardP50": pl.col("p50").round(2),
        "onboardP90": pl.col("p90").round(2),
        "probabilityAboveSeats": pl.col("prob_above_seats").round(4),
        "occupancyLevel": pl.col("occupancy_level"),
        "occupancyStatus": pl.col("occupancy_status"),
        "occupancyPercentage": pl.col("occupancy_percentage"),
        "source": pl.col("source"),
        "historyCount": pl.col("history_count"),
        "reasons": pl.col("reasons").fill_null("").str.extract_all(r"\w+"),
    }


def is_sorted_by_journey(forecasts: pl.DataFrame) -> bool:
    """Whether rows are sorted by operating date, journey and stop, each once, so that a journey's calls are in stop order."""
    day, trip, stop = (pl.col(name) for name in (*JOURNEY, "stop_sequence"))
    same_day, same_trip = day == day.shift(), trip == trip.shift()
    later = (
        (day > day.shift())
        | (same_day & (trip > trip.shift()))
        | (same_day & same_trip & (stop > stop.shift()))
    )
    return bool(forecasts.select(later.fill_null(True).all()).item())


def _prefixed(fields: Mapping[str, pl.Expr]) -> dict[str, pl.Expr]:
    """The fields with names that no column of a journey has."""
    return {_CALL + name: value for name, value in fields.items()}


def _call(columns: Iterable[str]) -> pl.Expr:
    """A struct of prefixed columns, without their prefix."""
    return _struct({column.removeprefix(_CALL): pl.col(column) for column in columns})


def _shared_attributes(publication: Publication) -> dict[str, pl.Expr]:
    return {
        "schemaVersion": pl.lit(SCHEMA_VERSION),
        "publicationId": pl.lit(publication.publication_id),
        "issuedAt": pl.lit(publication.issued_at_utc),
        "dataCutoff": pl.lit(publication.data_cutoff.isoformat()),
    }


def _journey_attributes(publication: Publication) -> dict[str, pl.Expr]:
    thresholds = {_camel_case(name): pl.lit(float(value)) for name, value in publication.thresholds.items()}
    return {
        "modelVersion": pl.col("model_version"),
        "occupancyThresholds": _struct(
            {"version": pl.col("thresholds_version").fill_null("unknown")} | thresholds
        ),
        "operatingDay": pl.col("operating_date").dt.to_string("iso"),
        "serviceJourneyRef": pl.col("trip_id"),
        "lineRef": pl.col("line_id"),
        "directionRef": pl.col("direction_id").cast(pl.String),
        "vehicleMode": pl.col("mode"),
        "seatingCapacity": pl.col("seats"),
        "totalCapacity": pl.col("total_capacity"),
    }


def _camel_case(name: str) -> str:
    first, *others = name.split("_")
    return first + "".join(map(str.capitalize, others))


def _struct(fields: Mapping[str, pl.Expr]) -> pl.Expr:
    return pl.struct([value.alias(name) for name, value in fields.items()])


def _field_names(name: str, array: str) -> list[str]:
    """The fields of the objects in an array of a message."""
    return list(schema(name)["properties"][array]["items"]["properties"])


def _json(name: str, attributes: Mapping[str, pl.Expr]) -> pl.Expr:
    """A JSON object in UTF-8, with the fields of the schema in its order."""
    fields = {field: attributes[field] for field in schema(name)["properties"]}
    return _struct(fields).struct.json_encode().cast(pl.Binary)
