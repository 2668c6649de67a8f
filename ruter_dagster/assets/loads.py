"""Balanced stop loads: what the counters said, made to agree along each trip."""

from dagster import AssetExecutionContext, AssetsDefinition, ResourceParam

from ruter_dagster.assets.common import House, PinsConfig, over_dates, table_dep
from ruter_dagster.contracts.jobs import Balance, asset_of
from ruter_dagster.contracts.tables import STOP_LOADS, STOP_VISITS
from ruter_dagster.resources.launcher import JobLauncher


def load_assets(house: House) -> list[AssetsDefinition]:
    @house.asset(
        asset_of(STOP_LOADS.name),
        description=STOP_LOADS.description,
        code_version="2",
        partitions=house.partitions.operating,
        deps=table_dep(STOP_VISITS),
    )
    def stop_loads(context: AssetExecutionContext, config: PinsConfig, launcher: ResourceParam[JobLauncher]):
        yield from launcher.run(context, Balance(**over_dates(context, config)))

    return [stop_loads]
