"""Bad rows of a timetable are rejected with a reason, or repaired."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import polars as pl
import pytest

from ruter_dagster.contracts.tables import PLANNED_DEPARTURES, REJECTED_VISITS
from ruter_dagster.contracts.validation import validate
from ruter_dagster.sources.plan_rules import CONFLICT, PlanResult, apply_plan_rules
from ruter_dagster.sources.visit_rules import FILE, LINE
from tests.quality.frames import DAY, change, planned


def apply_rules(plan: pl.DataFrame) -> PlanResult:
    numbered = plan.with_row_index(LINE, 1).with_columns(
        pl.col(LINE).cast(pl.Int64), pl.lit("Athena query").alias(FILE)
    )
    result = apply_plan_rules(numbered, "Europe/Oslo")
    validate(result.kept, PLANNED_DEPARTURES, [DAY])
    validate(result.rejected, REJECTED_VISITS, [DAY])
    return result


REJECTED: dict[str, tuple[Any, str]] = {
    "trip_id": (None, "trip_id has no value"),
    "stop_id": (None, "stop_id has no value"),
    "line_id": (None, "line_id has no value"),
    "stop_sequence": (0, "stop_sequence is below 1"),
    "direction_id": (2, "direction_id is neither 0 nor 1"),
    "mode": ("hovercraft", "mode is none of bus, tram, metro, boat, rail"),
    "scheduled_departure_time": (
        datetime(2026, 11, 24, tzinfo=UTC),
        "scheduled_departure_time is outside the service date, which ends at the second midnight after its start",
    ),
}


@pytest.mark.parametrize("column", REJECTED)
def test_bad_row_is_rejected_and_other_rows_are_kept(column: str) -> None:
    value, reason = REJECTED[column]
    result = apply_rules(change(planned(DAY), column, value))
    assert result.kept.equals(planned(DAY)[1:])
    assert result.rejected.select("line_number", "reason").rows() == [(1, reason)]


@pytest.mark.parametrize(
    ("column", "value", "cleared"),
    [
        ("seats", -1, ["seats"]),
        ("total_capacity", 99_999, ["total_capacity"]),
        ("latitude", 91.0, ["latitude", "longitude"]),
        ("longitude", float("nan"), ["latitude", "longitude"]),
    ],
)
def test_impossible_capacities_and_coordinates_are_unknown(
    column: str, value: float, cleared: list[str]
) -> None:
    plan = planned(DAY).with_columns(latitude=pl.lit(59.9), longitude=pl.lit(10.7))
    result = apply_rules(change(plan, column, value))
    assert result.rejected.is_empty()
    assert result.kept.equals(
        plan.with_columns(
            pl.when(pl.int_range(pl.len()) > 0).then(name).alias(name) if name in cleared else name
            for name in plan.columns
        )
    )
    assert sum(result.counts.values()) == 1


def test_equal_rows_are_merged_and_different_rows_rejected() -> None:
    plan, other = planned(DAY), change(planned(DAY), "stop_id", "Atlantis").head(1)
    assert apply_rules(pl.concat([plan, plan.head(2)])).kept.equals(plan)
    result = apply_rules(pl.concat([plan, other]))
    assert result.kept.equals(plan[1:])
    assert result.rejected["reason"].to_list() == [CONFLICT] * 2
