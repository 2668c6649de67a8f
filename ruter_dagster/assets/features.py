"""Features: what is known of a planned departure a week ahead, how full recent departures were, and the training sample."""

from __future__ import annotations

from ruter_dagster.assets.asset_builder import AssetBuilder, JobAsset
from ruter_dagster.assets.dependencies import table_dep
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


def feature_assets(builder: AssetBuilder) -> list[JobAsset]:
    return [_departure_features(builder), _levels(builder), _training_sample(builder)]


def _departure_features(builder: AssetBuilder) -> JobAsset:
    return builder.asset(
        asset_of(DEPARTURE_FEATURES.name),
        Features,
        parameters=lambda inputs: {"force": bool(inputs.config.pins)},
        description=DEPARTURE_FEATURES.description,
        code_version="1",
        partitions=builder.partitions.planned,
        deps=[
            *table_dep(PLANNED_DEPARTURES),
            *table_dep(STOP_LOADS, window(-LAST_LAG_DAYS, -FIRST_LAG_DAYS)),
        ],
    )


def _levels(builder: AssetBuilder) -> JobAsset:
    recent = window(-LEVEL_WINDOW_DAYS, -1)
    return builder.asset(
        asset_of(LEVELS.name),
        Levels,
        description=LEVELS.description,
        code_version="1",
        partitions=builder.partitions.issue,
        deps=[*table_dep(STOP_LOADS, recent), *table_dep(DEPARTURE_FEATURES, recent)],
    )


def _training_sample(builder: AssetBuilder) -> JobAsset:
    settings = builder.settings
    issued = window(-HORIZON_DAYS, 0)
    return builder.asset(
        asset_of(TRAINING_SAMPLE.name),
        Sample,
        parameters=lambda inputs: {
            "rows": settings.training_rows_per_date,
            "seed": settings.training_seed,
        },
        description=TRAINING_SAMPLE.description,
        code_version="1",
        partitions=builder.partitions.operating,
        deps=[
            *table_dep(STOP_LOADS),
            *table_dep(DEPARTURE_FEATURES),
            *table_dep(LEVELS, issued),
            *table_dep(WEATHER_FORECASTS, issued),
        ],
    )
