"""Quality reports: the expectation suite of each table, run on a date. Each expectation is an asset check."""

from __future__ import annotations

from collections.abc import Iterable

from dagster import DailyPartitionsDefinition

from ruter_dagster.assets.asset_builder import AssetBuilder, JobAsset
from ruter_dagster.assets.dependencies import asset_dep, check_specs
from ruter_dagster.contracts.checks import CHECKED_TABLES, CHECKS, compared_with_plan
from ruter_dagster.contracts.jobs import CheckQuality, asset_of, quality_asset_of
from ruter_dagster.contracts.tables import PLANNED_DEPARTURES, Table


def quality_assets(builder: AssetBuilder, table_assets: Iterable[JobAsset]) -> list[JobAsset]:
    """The quality reports of `CHECKED_TABLES`, each with the partitions of its table's asset, one of `table_assets`."""
    partitions = {
        asset.key: asset.definition.partitions_def
        for asset in table_assets
        if isinstance(asset.definition.partitions_def, DailyPartitionsDefinition)
    }
    return [_quality_report(builder, table, partitions[asset_of(table.name)]) for table in CHECKED_TABLES]


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
