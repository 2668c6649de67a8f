"""Every check is measured: a check that nothing measures would pass as not judged on every date."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, timedelta

import polars as pl
import pytest

from ruter_dagster.contracts.checks import CHECKED_TABLES, CHECKS
from ruter_dagster.contracts.features import DEPARTURE_FEATURES, LEVEL_RATIO_DAYS, LEVELS
from ruter_dagster.contracts.tables import (
    PLANNED_DEPARTURES,
    STOP_LOADS,
    STOP_VISITS,
    WEATHER_FORECASTS,
    Table,
)
from ruter_dagster.contracts.validation import conform
from ruter_dagster.forecasting.features import departure_features
from ruter_dagster.quality.coverage_checks import MEASURES
from ruter_dagster.quality.measures import measure
from tests.forecasting.network import OSLO
from tests.quality.frames import DAY, loads, planned, rejected_rows, visits

DAYS = [DAY - timedelta(days) for days in range(28, -1, -1)]
"""Four weeks: enough to know what is usual on a weekday."""


def weather() -> pl.DataFrame:
    columns = dict.fromkeys(("temperature", "precipitation", "wind_speed"), 1.0)
    rows = [{"issue_date": day, "service_date": day, "slot_hour": 6, **columns} for day in DAYS]
    return conform(pl.DataFrame(rows), WEATHER_FORECASTS)


def levels() -> pl.DataFrame:
    ratios = {f"ratio_{days}": 1.0 for days in LEVEL_RATIO_DAYS}
    rows = [
        {"issue_date": day, "scope": "network", "scope_id": "all", **ratios, "departure_count": 1}
        for day in DAYS
    ]
    return conform(pl.DataFrame(rows), LEVELS)


HEALTHY: dict[Table, Callable[[], pl.DataFrame]] = {
    STOP_VISITS: lambda: visits(*DAYS, journeys=80),
    PLANNED_DEPARTURES: lambda: planned(*DAYS),
    WEATHER_FORECASTS: weather,
    STOP_LOADS: lambda: loads(*DAYS),
    DEPARTURE_FEATURES: lambda: departure_features(planned(*DAYS), loads(*DAYS), OSLO),
    LEVELS: levels,
}
"""A table's rows of `DAYS`. A new checked table needs an entry."""


def not_measured(table: Table, frame: pl.DataFrame, day: date) -> set[str]:
    rejected = rejected_rows(day, 1) if table is STOP_VISITS else None
    measures = measure(table, frame, DAYS, plan=planned(*DAYS), rejected=rejected).by_date
    values = measures.filter(date=day).row(0, named=True)
    return {name for name, value in values.items() if value is None}


@pytest.mark.parametrize("table", CHECKED_TABLES, ids=lambda table: table.name)
def test_every_check_of_a_healthy_date_is_measured(table: Table) -> None:
    missing = not_measured(table, HEALTHY[table](), DAY)
    assert not missing, f"nothing measures {missing}: add them to MEASURES in quality/coverage_checks.py"


def test_every_measure_belongs_to_a_declared_check() -> None:
    declared = {check.name for checks in CHECKS.values() for check in checks}
    assert set(MEASURES) <= declared, "rename them in MEASURES as in contracts/checks.py"
