"""Load forecasts of an issue date, their publication on Kafka, and the feeds of the publication."""

from __future__ import annotations

from dagster import AssetDep

from ruter_dagster.assets.asset_builder import AssetBuilder, JobAsset
from ruter_dagster.assets.dependencies import asset_dep, table_dep
from ruter_dagster.assets.job_inputs import ForecastConfig, ModelConfig
from ruter_dagster.contracts.date_windows import HORIZON_DAYS
from ruter_dagster.contracts.features import DEPARTURE_FEATURES, LEVELS
from ruter_dagster.contracts.jobs import (
    CHAMPION,
    FEEDS,
    LOAD_MODEL,
    NEWEST,
    PUBLISHED_FORECASTS,
    Feeds,
    Forecast,
    ForecastChallenger,
    Publish,
    asset_of,
)
from ruter_dagster.contracts.tables import (
    CHALLENGER_FORECASTS,
    LOAD_FORECASTS,
    PLANNED_DEPARTURES,
    WEATHER_FORECASTS,
)
from ruter_dagster.orchestration.partitions import window


def forecast_assets(builder: AssetBuilder) -> list[JobAsset]:
    return [
        _load_forecasts(builder),
        _challenger_forecasts(builder),
        _published_forecasts(builder),
        _feeds(builder),
    ]


def _forecast_inputs() -> list[AssetDep]:
    """The tables of which a forecast of issue date D is made, with any model."""
    return [
        *table_dep(DEPARTURE_FEATURES, window(0, HORIZON_DAYS)),
        *table_dep(PLANNED_DEPARTURES, window(0, HORIZON_DAYS)),
        *table_dep(LEVELS),
        *table_dep(WEATHER_FORECASTS),
    ]


def _load_forecasts(builder: AssetBuilder) -> JobAsset:
    return builder.asset(
        asset_of(LOAD_FORECASTS.name),
        Forecast,
        config=ForecastConfig,
        parameters=lambda inputs: {
            "model_version": inputs.config.model_version,
            "capacities_only": inputs.config.capacities_only,
        },
        description=LOAD_FORECASTS.description,
        code_version="1",
        kinds=("lightgbm", "iceberg"),
        partitions=builder.partitions.issue,
        deps=[*_forecast_inputs(), asset_dep(CHAMPION)],
    )


def _challenger_forecasts(builder: AssetBuilder) -> JobAsset:
    return builder.asset(
        asset_of(CHALLENGER_FORECASTS.name),
        ForecastChallenger,
        config=ModelConfig,
        parameters=lambda inputs: {
            "model_version": inputs.config.model_version or builder.settings.challenger or NEWEST
        },
        description=CHALLENGER_FORECASTS.description,
        code_version="1",
        kinds=("lightgbm", "iceberg"),
        partitions=builder.partitions.issue,
        deps=[*_forecast_inputs(), asset_dep(LOAD_MODEL)],
    )


def _published_forecasts(builder: AssetBuilder) -> JobAsset:
    return builder.asset(
        PUBLISHED_FORECASTS,
        Publish,
        parameters=lambda inputs: {"issued_at": builder.settings.daily_at},
        description="One Kafka transaction for the issue date: a message for each service journey. The same forecasts again "
        "send nothing, changed ones only the journeys that differ. An issue date is never published after a newer one.",
        code_version="2",
        kinds=("kafka",),
        partitions=builder.partitions.issue,
        pool="publication",
        deps=[asset_dep(asset_of(LOAD_FORECASTS.name))],
    )


def _feeds(builder: AssetBuilder) -> JobAsset:
    return builder.asset(
        FEEDS,
        Feeds,
        description="The newest publication of the issue date as files: SIRI-ET, GTFS-realtime. `feeds/latest.json` names the files "
        "of the newest issue date.",
        code_version="1",
        kinds=("polars",),
        partitions=builder.partitions.issue,
        # Two runs at once could leave the older one in latest.json.
        pool="publication",
        deps=[asset_dep(PUBLISHED_FORECASTS)],
    )
