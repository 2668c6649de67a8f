"""Quality reports: the expectation suite of each table, run on a date. Each expectation is an asset check."""

from __future__ import annotations

from dagster import DailyPartitionsDefinition

from ruter_dagster.assets.asset_builder import AssetBuilder, JobAsset
from ruter_dagster.assets.dependencies import asset_dep, check_specs
from ruter_dagster.contracts.checks import CHECKS, compared_with_plan
from ruter_dagster.contracts.features import DEPARTURE_FEATURES, LEVELS
from ruter_dagster.contracts.jobs import CheckQuality, asset_of, quality_asset_of
from ruter_dagster.contracts.tables import (
    PLANNED_DEPARTURES,
    STOP_LOADS,
    STOP_VISITS,
    WEATHER_FORECASTS,
    Table,
)


def quality_assets(builder: AssetBuilder) -> list[JobAsset]:
    partitions = builder.partitions
    tables = {
        STOP_VISITS: partitions.operating,
        PLANNED_DEPARTURES: partitions.planned,
        WEATHER_FORECASTS: partitions.issue,
        STOP_LOADS: partitions.operating,
        DEPARTURE_FEATURES: partitions.planned,
        LEVELS: partitions.issue,
    }
    return [_quality_report(builder, table, dates) for table, dates in tables.items()]


def _quality_report(builder: AssetBuilder, table: Table, partitions: DailyPartitionsDefinition) -> JobAsset:
    key = quality_asset_of(table.name)
    deps = [asset_dep(asset_of(table.name))]
    if compared_with_plan(table):
        # The plan needs no verdict here, and may be missing: its own report judges it.
        deps.append(asset_dep(asset_of(PLANNED_DEPARTURES.name)))
    return builder.asset(
        key,
        CheckQuality,
        parameters=lambda inputs: {"table": table.name},
        description=f"Great Expectations report of {table.name}. Every reader refuses a date without a passing verdict.",
        code_version="1",
        kinds=("greatexpectations", "html"),
        partitions=partitions,
        deps=deps,
        check_specs=check_specs(key, CHECKS[table.name]),
    )
