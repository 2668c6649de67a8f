"""Load forecasts of an issue date, and their publication on Kafka."""

from dagster import AssetExecutionContext, AssetsDefinition, ResourceParam

from ruter_dagster.assets.common import House, ModelConfig, PinsConfig, asset_dep, over_dates, table_dep
from ruter_dagster.contracts.date_windows import HORIZON_DAYS
from ruter_dagster.contracts.features import DEPARTURE_FEATURES, LEVELS
from ruter_dagster.contracts.jobs import CHAMPION, PUBLISHED_FORECASTS, Forecast, Publish, asset_of
from ruter_dagster.contracts.tables import LOAD_FORECASTS, WEATHER_FORECASTS
from ruter_dagster.orchestration.partitions import window
from ruter_dagster.resources.launcher import JobLauncher


def forecast_assets(house: House) -> list[AssetsDefinition]:
    return [_load_forecasts(house), _published_forecasts(house)]


def _load_forecasts(house: House) -> AssetsDefinition:
    @house.asset(
        asset_of(LOAD_FORECASTS.name),
        description=LOAD_FORECASTS.description,
        code_version="1",
        kinds=("lightgbm", "iceberg"),
        partitions=house.partitions.issue,
        deps=[
            *table_dep(DEPARTURE_FEATURES, window(0, HORIZON_DAYS)),
            *table_dep(LEVELS),
            *table_dep(WEATHER_FORECASTS),
            asset_dep(CHAMPION),
        ],
    )
    def load_forecasts(
        context: AssetExecutionContext, config: ModelConfig, launcher: ResourceParam[JobLauncher]
    ):
        yield from launcher.run(
            context, Forecast(model_version=config.model_version, **over_dates(context, config))
        )

    return load_forecasts


def _published_forecasts(house: House) -> AssetsDefinition:
    @house.asset(
        PUBLISHED_FORECASTS,
        description="One Kafka transaction with every forecast of the issue date. A repeat publishes nothing; "
        "a changed forecast is a new publication.",
        code_version="1",
        kinds=("kafka",),
        partitions=house.partitions.issue,
        pool="publication",
        deps=[asset_dep(asset_of(LOAD_FORECASTS.name))],
    )
    def published_forecasts(
        context: AssetExecutionContext, config: PinsConfig, launcher: ResourceParam[JobLauncher]
    ):
        yield from launcher.run(
            context, Publish(issued_at=house.settings.daily_at, **over_dates(context, config))
        )

    return published_forecasts
