"""Features: what is known of each planned departure a week ahead, and how full recent ones were against that."""

from dagster import AssetExecutionContext, AssetsDefinition, ResourceParam

from ruter_dagster.assets.common import House, PinsConfig, over_dates, table_dep
from ruter_dagster.contracts.features import (
    DEPARTURE_FEATURES,
    FIRST_LAG_DAYS,
    LAST_LAG_DAYS,
    LEVEL_WINDOW_DAYS,
    LEVELS,
)
from ruter_dagster.contracts.jobs import Features, Levels, asset_of
from ruter_dagster.contracts.tables import PLANNED_DEPARTURES, STOP_LOADS
from ruter_dagster.partitions import window
from ruter_dagster.resources.launcher import JobLauncher


def feature_assets(house: House) -> list[AssetsDefinition]:
    @house.asset(
        asset_of(DEPARTURE_FEATURES.name),
        description=DEPARTURE_FEATURES.description,
        code_version="1",
        partitions=house.partitions.planned,
        deps=[
            *table_dep(PLANNED_DEPARTURES),
            *table_dep(STOP_LOADS, window(-LAST_LAG_DAYS, -FIRST_LAG_DAYS)),
        ],
    )
    def departure_features(
        context: AssetExecutionContext, config: PinsConfig, launcher: ResourceParam[JobLauncher]
    ):
        yield from launcher.run(
            context, Features(**over_dates(context, config), make_again=bool(config.pins))
        )

    recent = window(-LEVEL_WINDOW_DAYS, -1)

    @house.asset(
        asset_of(LEVELS.name),
        description=LEVELS.description,
        code_version="1",
        partitions=house.partitions.issue,
        deps=[*table_dep(STOP_LOADS, recent), *table_dep(DEPARTURE_FEATURES, recent)],
    )
    def levels(context: AssetExecutionContext, config: PinsConfig, launcher: ResourceParam[JobLauncher]):
        yield from launcher.run(context, Levels(**over_dates(context, config)))

    return [departure_features, levels]
