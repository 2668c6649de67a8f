"""Raw snapshots: the rows of the source for whole dates, with only names and types changed. No cleaning belongs here."""

from __future__ import annotations

from dagster import AssetCheckSpec, AssetKey, DailyPartitionsDefinition

from ruter_dagster.assets.asset_builder import AssetBuilder, JobAsset
from ruter_dagster.assets.dependencies import asset_dep
from ruter_dagster.config.gtfs_location import gtfs_location
from ruter_dagster.contracts.checks import NO_DATE_BLOCKED
from ruter_dagster.contracts.jobs import Snapshot, asset_of
from ruter_dagster.contracts.tables import PLANNED_DEPARTURES, STOP_VISITS, WEATHER_FORECASTS, Table

_CODE_VERSIONS = {STOP_VISITS.name: "4", PLANNED_DEPARTURES.name: "2"}
"""Raise a table's version when the same source gives other rows than before."""


def raw_assets(builder: AssetBuilder) -> list[JobAsset]:
    tables = {
        STOP_VISITS: builder.partitions.operating,
        PLANNED_DEPARTURES: builder.partitions.planned,
        WEATHER_FORECASTS: builder.partitions.issue,
    }
    return [_snapshot(builder, table, partitions) for table, partitions in tables.items()]


def _snapshot(builder: AssetBuilder, table: Table, partitions: DailyPartitionsDefinition) -> JobAsset:
    # With a timetable, counts are matched to the stored plan of their date.
    is_matched = table is STOP_VISITS and gtfs_location(builder.settings) is not None
    return builder.asset(
        asset_of(table.name),
        Snapshot,
        parameters=lambda inputs: {"table": table.name},
        description=table.description,
        code_version=_CODE_VERSIONS.get(table.name, "1"),
        kinds=(builder.settings.source, "iceberg"),
        partitions=partitions,
        deps=[asset_dep(asset_of(PLANNED_DEPARTURES.name))] if is_matched else [],
        check_specs=_check_specs(table),
    )


def _check_specs(table: Table) -> list[AssetCheckSpec]:
    """This check never blocks: a blocked date has no new rows, and the other dates of its range are good."""
    if table is not STOP_VISITS:
        return []
    key = AssetKey.from_user_string(asset_of(table.name))
    return [AssetCheckSpec(NO_DATE_BLOCKED.name, asset=key, description=NO_DATE_BLOCKED.description)]
