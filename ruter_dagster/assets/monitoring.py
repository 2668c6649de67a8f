"""Forecast performance against the loads that arrived, daily scores, and drift."""

from __future__ import annotations

from dagster import Config
from pydantic import Field

from ruter_dagster.assets.asset_builder import AssetBuilder, JobAsset
from ruter_dagster.assets.dependencies import asset_dep, check_specs, table_dep
from ruter_dagster.assets.job_inputs import PinsConfig
from ruter_dagster.contracts.date_windows import DRIFT_LOAD_DAYS, HORIZON_DAYS
from ruter_dagster.contracts.jobs import RETENTION, Drift, Performance, Retention, Scores, asset_of
from ruter_dagster.contracts.model_checks import DRIFT_CHECKS
from ruter_dagster.contracts.scores import LINE_SCORES, STOP_SCORES
from ruter_dagster.contracts.tables import (
    CHALLENGER_FORECASTS,
    DRIFT,
    DRIFT_SUMS,
    FORECAST_PERFORMANCE,
    LOAD_FORECASTS,
    PLANNED_DEPARTURES,
    STOP_LOADS,
)
from ruter_dagster.orchestration.partitions import window


class RetentionConfig(Config):
    """Run config of the retention."""

    dry_run: bool = Field(False, description="Report what would be deleted, and delete nothing")


class PerformanceConfig(PinsConfig):
    """Run config of forecast performance."""

    force: bool = Field(False, description="Also use counts that arrived after the truth of a date was final")


def monitoring_assets(builder: AssetBuilder) -> list[JobAsset]:
    return [_forecast_performance(builder), _line_scores(builder), _drift(builder), _retention(builder)]


def _forecast_performance(builder: AssetBuilder) -> JobAsset:
    return builder.asset(
        asset_of(FORECAST_PERFORMANCE.name),
        Performance,
        config=PerformanceConfig,
        parameters=lambda inputs: {
            "final_days": builder.settings.truth_final_days,
            # A run with pins repeats a former run to compare the results.
            "force": inputs.config.force or bool(inputs.config.pins),
        },
        description=FORECAST_PERFORMANCE.description,
        code_version="2",
        partitions=builder.partitions.operating,
        deps=[*table_dep(STOP_LOADS), asset_dep(asset_of(LOAD_FORECASTS.name), window(-HORIZON_DAYS, 0))],
    )


def _line_scores(builder: AssetBuilder) -> JobAsset:
    return builder.asset(
        asset_of(LINE_SCORES.name),
        Scores,
        parameters=lambda inputs: {"crowded_probability": builder.settings.crowded_probability},
        description=f"{LINE_SCORES.description} `{STOP_SCORES.name}` is written in the same step.",
        code_version="1",
        partitions=builder.partitions.operating,
        deps=[
            asset_dep(asset_of(FORECAST_PERFORMANCE.name)),
            asset_dep(asset_of(LOAD_FORECASTS.name), window(-HORIZON_DAYS, 0)),
            asset_dep(asset_of(CHALLENGER_FORECASTS.name), window(-HORIZON_DAYS, 0)),
        ],
    )


def _drift(builder: AssetBuilder) -> JobAsset:
    reference = window(-DRIFT_LOAD_DAYS, 0)
    return builder.asset(
        asset_of(DRIFT.name),
        Drift,
        description=f"{DRIFT.description} `{DRIFT_SUMS.name}` is written in the same step.",
        code_version="2",
        partitions=builder.partitions.operating,
        deps=[
            asset_dep(asset_of(FORECAST_PERFORMANCE.name), reference),
            *table_dep(STOP_LOADS, reference),
            *table_dep(PLANNED_DEPARTURES, reference),
        ],
        check_specs=check_specs(asset_of(DRIFT.name), DRIFT_CHECKS),
    )


def _retention(builder: AssetBuilder) -> JobAsset:
    settings = builder.settings
    return builder.asset(
        RETENTION,
        Retention,
        config=RetentionConfig,
        parameters=lambda inputs: {
            "at": inputs.started_at,
            "forecast_days": settings.forecast_retention_days,
            "performance_days": settings.performance_retention_days,
            "score_days": settings.score_retention_days,
            "file_days": settings.file_retention_days,
            "dry_run": inputs.config.dry_run,
        },
        description="Deletes old forecasts, scored departures and scores, expires old snapshots, and deletes files that no "
        "snapshot needs. The newest publication stays.",
        code_version="1",
        kinds=("pyiceberg",),
    )
