"""Raw snapshots: what the source said, whole dates, unchanged but for names and types. No cleaning belongs here."""

from dagster import AssetCheckSpec, AssetExecutionContext, AssetKey, AssetsDefinition, ResourceParam

from ruter_dagster.assets.common import House, PinsConfig, asset_dep, over_dates
from ruter_dagster.config.gtfs_location import gtfs_location
from ruter_dagster.contracts.checks import NO_DATE_BLOCKED
from ruter_dagster.contracts.jobs import Snapshot, asset_of
from ruter_dagster.contracts.tables import PLANNED_DEPARTURES, STOP_VISITS, WEATHER_FORECASTS, Table
from ruter_dagster.resources.launcher import JobLauncher

_CODE_VERSIONS = {STOP_VISITS.name: "4", PLANNED_DEPARTURES.name: "2"}
"""Raised where the same source gives other rows than before."""


def raw_assets(house: House) -> list[AssetsDefinition]:
    tables = {
        STOP_VISITS: house.partitions.operating,
        PLANNED_DEPARTURES: house.partitions.planned,
        WEATHER_FORECASTS: house.partitions.issue,
    }
    return [_snapshot(house, table, partitions) for table, partitions in tables.items()]


def _snapshot(house: House, table: Table, partitions) -> AssetsDefinition:
    # By a timetable, counts are matched to the plan that is stored of their date.
    is_matched = table is STOP_VISITS and gtfs_location(house.settings) is not None

    @house.asset(
        asset_of(table.name),
        description=table.description,
        code_version=_CODE_VERSIONS.get(table.name, "1"),
        kinds=(house.settings.source, "iceberg"),
        partitions=partitions,
        deps=[asset_dep(asset_of(PLANNED_DEPARTURES.name))] if is_matched else [],
        check_specs=_check_specs(table),
    )
    def snapshot(context: AssetExecutionContext, config: PinsConfig, launcher: ResourceParam[JobLauncher]):
        yield from launcher.run(context, Snapshot(table=table.name, **over_dates(context, config)))

    return snapshot


def _check_specs(table: Table) -> list[AssetCheckSpec]:
    """Blocks nothing: a blocked date has no new rows, and the others of its range are good."""
    if table is not STOP_VISITS:
        return []
    key = AssetKey.from_user_string(asset_of(table.name))
    return [AssetCheckSpec(NO_DATE_BLOCKED.name, asset=key, description=NO_DATE_BLOCKED.description)]
