"""Quality reports: each table's expectation suite on a date, an asset check an expectation. Verdicts are the job's to record."""

from dagster import AssetExecutionContext, AssetsDefinition, ResourceParam

from ruter_dagster.assets.common import House, PinsConfig, asset_dep, check_specs, over_dates
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
from ruter_dagster.resources.launcher import JobLauncher


def quality_assets(house: House) -> list[AssetsDefinition]:
    partitions = house.partitions
    tables = {
        STOP_VISITS: partitions.operating,
        PLANNED_DEPARTURES: partitions.planned,
        WEATHER_FORECASTS: partitions.issue,
        STOP_LOADS: partitions.operating,
        DEPARTURE_FEATURES: partitions.planned,
        LEVELS: partitions.issue,
    }
    return [_quality_report(house, table, dates) for table, dates in tables.items()]


def _quality_report(house: House, table: Table, partitions) -> AssetsDefinition:
    key = quality_asset_of(table.name)
    deps = [asset_dep(asset_of(table.name))]
    if compared_with_plan(table):
        # Also by a plan that has no verdict, or is not there yet: its report is that of another asset.
        deps.append(asset_dep(asset_of(PLANNED_DEPARTURES.name)))

    @house.asset(
        key,
        description=f"Great Expectations report of {table.name}. A date without a passing verdict is refused by every reader.",
        code_version="1",
        kinds=("greatexpectations", "html"),
        partitions=partitions,
        deps=deps,
        check_specs=check_specs(key, CHECKS[table.name]),
    )
    def quality_report(
        context: AssetExecutionContext, config: PinsConfig, launcher: ResourceParam[JobLauncher]
    ):
        yield from launcher.run(context, CheckQuality(table=table.name, **over_dates(context, config)))

    return quality_report
