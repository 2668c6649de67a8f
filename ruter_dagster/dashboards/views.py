"""Views in Athena over the tables of forecasts, truth and drift: the data of the dashboard.

`${database}` in a view's SQL is the Glue database. Sums, not means, are in `accuracy`, so that any group of its rows has the
right WAPE: the sum of absolute errors divided by the sum of loads.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

Type = Literal["varchar", "date", "bigint", "double"]
HIVE_TYPES: Mapping[Type, str] = {"varchar": "string", "date": "date", "bigint": "bigint", "double": "double"}

DEPARTURE_DAYS = 28
"""Days of single departures that the dashboard can show. Each day of a large network has 2,000,000 rows."""


@dataclass(frozen=True)
class View:
    """A view: its query in Athena's SQL and the types of its columns, in order.

    `import_mode` is QuickSight's: SPICE holds a copy, DIRECT_QUERY asks Athena for each chart.
    """

    description: str
    sql: str
    columns: Mapping[str, Type]
    import_mode: Literal["SPICE", "DIRECT_QUERY"] = "SPICE"

    def to_json(self) -> dict[str, Any]:
        """The view as the Terraform module `catalog` reads it."""
        columns = [
            {"name": name, "presto_type": type_, "hive_type": HIVE_TYPES[type_]}
            for name, type_ in self.columns.items()
        ]
        return {
            "description": self.description,
            "sql": self.sql,
            "columns": columns,
            "import_mode": self.import_mode,
        }


_DEPARTURES = f"""\
SELECT operating_date, CAST(horizon_days AS bigint) AS horizon_days, mode, line_id,
  CAST(direction_id AS bigint) AS direction_id, trip_id, CAST(stop_sequence AS bigint) AS stop_sequence, stop_id,
  CAST(slot_hour AS bigint) AS slot_hour, CAST(seats AS bigint) AS seats, load, mean, p10, p50, p90, prob_above_seats,
  ha4, abs(mean - load) AS absolute_error, source, model_version
FROM "${{database}}"."monitoring_forecast_performance"
WHERE operating_date >= current_date - INTERVAL '{DEPARTURE_DAYS}' DAY"""

_ACCURACY = """\
SELECT operating_date, CAST(horizon_days AS bigint) AS horizon_days, mode, line_id, sum(matched) AS departures,
  sum(load) AS load, sum(mean) AS mean, sum(absolute_error) AS absolute_error,
  sum(absolute_error_with_ha4) AS absolute_error_with_ha4, sum(absolute_error_of_ha4) AS absolute_error_of_ha4,
  sum(covered) AS inside_p10_p90, sum(above_seats) AS above_seats, sum(expected_above_seats) AS expected_above_seats
FROM "${database}"."monitoring_line_scores"
WHERE variant = 'published'
GROUP BY operating_date, horizon_days, mode, line_id"""

_DRIFT = """\
SELECT operating_date, metric, scope, value, warn, act, verdict, detail
FROM "${database}"."monitoring_drift\""""


VIEWS: Mapping[str, View] = {
    "departures": View(
        f"Forecast and observed load of each departure of the newest {DEPARTURE_DAYS} days",
        _DEPARTURES,
        {
            "operating_date": "date", "horizon_days": "bigint", "mode": "varchar", "line_id": "varchar", "direction_id": "bigint",
            "trip_id": "varchar", "stop_sequence": "bigint", "stop_id": "varchar", "slot_hour": "bigint", "seats": "bigint",
            "load": "double", "mean": "double", "p10": "double", "p50": "double", "p90": "double", "prob_above_seats": "double",
            "ha4": "double", "absolute_error": "double", "source": "varchar", "model_version": "varchar",
        },
        "DIRECT_QUERY",
    ),
    "accuracy": View(
        "Errors of forecasts by operating date, horizon, mode and line: sums",
        _ACCURACY,
        {
            "operating_date": "date", "horizon_days": "bigint", "mode": "varchar", "line_id": "varchar", "departures": "bigint",
            "load": "double", "mean": "double", "absolute_error": "double", "absolute_error_with_ha4": "double",
            "absolute_error_of_ha4": "double", "inside_p10_p90": "bigint", "above_seats": "bigint", "expected_above_seats": "double",
        },
    ),
    "drift": View(
        "Drift metrics of each operating date and their thresholds",
        _DRIFT,
        {
            "operating_date": "date", "metric": "varchar", "scope": "varchar", "value": "double", "warn": "double", "act": "double",
            "verdict": "varchar", "detail": "varchar",
        },
    ),
}  # fmt: skip
