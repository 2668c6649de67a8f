"""Bad rows of a timetable are set aside with their reason, or repaired; the others are planned."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import polars as pl
import pytest

from ruter_dagster.contracts.tables import PLANNED_DEPARTURES, REJECTED_VISITS
from ruter_dagster.contracts.validation import validate
from ruter_dagster.sources.plan_rules import CONFLICT, JudgedPlan, judge_plan
from ruter_dagster.sources.visit_rules import FILE, LINE
from tests.quality.frames import DAY, change, planned


def judged(plan: pl.DataFrame) -> JudgedPlan:
    numbered = plan.with_row_index(LINE, 1).with_columns(
        pl.col(LINE).cast(pl.Int64), pl.lit("Athena query").alias(FILE)
    )
    found = judge_plan(numbered, "Europe/Oslo")
    validate(found.kept, PLANNED_DEPARTURES, [DAY])
    validate(found.rejected, REJECTED_VISITS, [DAY])
    return found


SET_ASIDE: dict[str, tuple[Any, str]] = {
    "trip_id": (None, "trip_id has no value"),
    "stop_id": (None, "stop_id has no value"),
    "line_id": (None, "line_id has no value"),
    "stop_sequence": (0, "stop_sequence is below 1"),
    "direction_id": (2, "direction_id is neither 0 nor 1"),
    "mode": ("hovercraft", "mode is none of bus, tram, metro, boat, rail"),
    "scheduled_departure_time": (
        datetime(2026, 11, 24, tzinfo=UTC),
        "scheduled_departure_time is outside the service date, which lasts from its midnight to the second one after",
    ),
}


@pytest.mark.parametrize("column", SET_ASIDE)
def test_a_bad_row_is_set_aside_and_the_rest_is_planned(column: str) -> None:
    value, reason = SET_ASIDE[column]
    found = judged(change(planned(DAY), column, value))
    assert found.kept.equals(planned(DAY)[1:])
    assert found.rejected.select("line_number", "reason").rows() == [(1, reason)]


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
    found = judged(change(plan, column, value))
    assert found.rejected.is_empty()
    assert found.kept.equals(
        plan.with_columns(
            pl.when(pl.int_range(pl.len()) > 0).then(name).alias(name) if name in cleared else name
            for name in plan.columns
        )
    )
    assert sum(found.counts.values()) == 1


def test_equal_rows_are_one_and_different_ones_are_set_aside() -> None:
    plan, other = planned(DAY), change(planned(DAY), "stop_id", "Atlantis").head(1)
    assert judged(pl.concat([plan, plan.head(2)])).kept.equals(plan)
    found = judged(pl.concat([plan, other]))
    assert found.kept.equals(plan[1:])
    assert found.rejected["reason"].to_list() == [CONFLICT] * 2
