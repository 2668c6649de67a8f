"""Planned departures of unknown vehicles get the operator's default capacities."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

from ruter_dagster.config.operator import Capacities, operator_of
from ruter_dagster.config.settings import load_settings
from ruter_dagster.sources.base import Source
from ruter_dagster.sources.configured_source import open_source
from ruter_dagster.sources.default_capacities import with_default_capacities
from tests.sources.gtfs_feed import FEED, write_folder
from tests.sources.tides_folder import DAY, write_tables

CAPACITIES = Capacities.model_validate(
    {"modes": {"bus": {"seats": 36, "total": 75}}, "lines": {"31": {"seats": 52, "total": 110}}}
)
OPERATOR = """
name = "X"
country = "NO"
time_zone = "Europe/Oslo"
history_start = 2026-06-01
[capacities.modes]
bus = { seats = 36, total = 75 }
"""


def plan(*rows: tuple[str, str, int | None, int | None]) -> pl.DataFrame:
    return pl.DataFrame(
        rows,
        orient="row",
        schema={"line_id": pl.String, "mode": pl.String, "seats": pl.Int32, "total_capacity": pl.Int32},
    )


def tides(folder: Path) -> Source:
    (folder / "vehicles.csv").unlink()
    (folder / "operator.toml").write_text(OPERATOR)
    settings = load_settings(_env_file=None, source="tides", tides_path=str(folder))
    return open_source(settings, operator_of(settings))


def test_line_capacity_overrides_mode_capacity() -> None:
    unknown = plan(("31", "bus", None, None), ("5", "bus", None, None), ("17", "tram", None, None))
    filled = with_default_capacities(unknown, CAPACITIES)
    assert filled.schema == unknown.schema
    assert filled.select("seats", "total_capacity").rows() == [(52, 110), (36, 75), (None, None)]


def test_known_capacity_is_kept() -> None:
    known = plan(("31", "bus", 40, 100), ("31", "bus", 40, None))
    assert with_default_capacities(known, CAPACITIES).equals(known)


def test_no_default_leaves_the_plan_unchanged() -> None:
    unknown = plan(("31", "bus", None, None))
    assert with_default_capacities(unknown, Capacities()) is unknown  # pyright: ignore[reportCallIssue]


@pytest.mark.parametrize("gtfs", [False, True])
def test_plan_without_vehicles_has_default_capacities(tmp_path: Path, gtfs: bool) -> None:
    write_tables(tmp_path)
    if gtfs:
        write_folder(tmp_path / "gtfs", FEED)
    planned = tides(tmp_path).planned_departures(DAY)
    buses = planned.filter(pl.col("mode") == "bus")
    assert buses.select("seats", "total_capacity").unique().rows() == [(36, 75)]


def test_visits_without_vehicles_keep_unknown_capacities(tmp_path: Path) -> None:
    visits = tides(write_tables(tmp_path)).stop_visits(DAY)
    assert visits["total_capacity"].null_count() == visits.height > 0
