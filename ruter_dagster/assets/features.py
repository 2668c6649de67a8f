"""Features: what is known of each planned departure a week ahead, and how full recent ones were against that."""

from dagster import AssetExecutionContext, AssetsDefinition, ResourceParam

from ruter_dagster.assets.common import House, PinsConfig, over_dates, table_dep
from ruter_dagster.contracts.date_windows import (
    FIRST_LAG_DAYS,
    HORIZON_DAYS,
    LAST_LAG_DAYS,
    LEVEL_WINDOW_DAYS,
)
from ruter_dagster.contracts.features import DEPARTURE_FEATURES, LEVELS, TRAINING_SAMPLE
from ruter_dagster.contracts.jobs import Features, Levels, Sample, asset_of
from ruter_dagster.contracts.tables import PLANNED_DEPARTURES, STOP_LOADS, WEATHER_FORECASTS
from ruter_dagster.orchestration.partitions import window
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

    return [departure_features, levels, _training_sample(house)]


def _training_sample(house: House) -> AssetsDefinition:
    issued = window(-HORIZON_DAYS, 0)

    @house.asset(
        asset_of(TRAINING_SAMPLE.name),
        description=TRAINING_SAMPLE.description,
        code_version="1",
        partitions=house.partitions.operating,
        deps=[
            *table_dep(STOP_LOADS),
            *table_dep(DEPARTURE_FEATURES),
            *table_dep(LEVELS, issued),
            *table_dep(WEATHER_FORECASTS, issued),
        ],
    )
    def training_sample(
        context: AssetExecutionContext, config: PinsConfig, launcher: ResourceParam[JobLauncher]
    ):
        settings = house.settings
        yield from launcher.run(
            context,
            Sample(
                rows=settings.training_rows_per_date,
                seed=settings.training_seed,
                **over_dates(context, config),
            ),
        )

    return training_sample
