"""How the forecasts did: joined to the loads that arrived, and watched for drift."""

from dagster import AssetExecutionContext, AssetsDefinition, ResourceParam

from ruter_dagster.assets.common import House, PinsConfig, asset_dep, check_specs, over_dates, table_dep
from ruter_dagster.contracts.date_windows import DRIFT_REFERENCE_DAYS, HORIZON_DAYS
from ruter_dagster.contracts.jobs import Drift, Performance, asset_of
from ruter_dagster.contracts.model_checks import DRIFT_CHECKS
from ruter_dagster.contracts.tables import DRIFT, FORECAST_PERFORMANCE, LOAD_FORECASTS, STOP_LOADS
from ruter_dagster.orchestration.partitions import window
from ruter_dagster.resources.launcher import JobLauncher


def monitoring_assets(house: House) -> list[AssetsDefinition]:
    operating = house.partitions.operating

    @house.asset(
        asset_of(FORECAST_PERFORMANCE.name),
        description=FORECAST_PERFORMANCE.description,
        code_version="1",
        partitions=operating,
        deps=[*table_dep(STOP_LOADS), asset_dep(asset_of(LOAD_FORECASTS.name), window(-HORIZON_DAYS, 0))],
    )
    def forecast_performance(
        context: AssetExecutionContext, config: PinsConfig, launcher: ResourceParam[JobLauncher]
    ):
        yield from launcher.run(context, Performance(**over_dates(context, config)))

    @house.asset(
        asset_of(DRIFT.name),
        description=DRIFT.description,
        code_version="1",
        partitions=operating,
        deps=[
            asset_dep(asset_of(FORECAST_PERFORMANCE.name), window(-DRIFT_REFERENCE_DAYS, 0)),
            *table_dep(STOP_LOADS, window(-DRIFT_REFERENCE_DAYS, 0)),
        ],
        check_specs=check_specs(asset_of(DRIFT.name), DRIFT_CHECKS),
    )
    def drift(context: AssetExecutionContext, config: PinsConfig, launcher: ResourceParam[JobLauncher]):
        yield from launcher.run(context, Drift(**over_dates(context, config)))

    return [forecast_performance, drift]
