"""Forecast performance against the loads that arrived, daily scores, and drift."""

from __future__ import annotations

from pydantic import Field

from ruter_dagster.assets.asset_builder import AssetBuilder, JobAsset
from ruter_dagster.assets.dependencies import asset_dep, check_specs, table_dep
from ruter_dagster.assets.job_inputs import PinsConfig
from ruter_dagster.contracts.date_windows import DRIFT_REFERENCE_DAYS, HORIZON_DAYS
from ruter_dagster.contracts.jobs import Drift, Performance, Scores, asset_of
from ruter_dagster.contracts.model_checks import DRIFT_CHECKS
from ruter_dagster.contracts.scores import LINE_SCORES, STOP_SCORES
from ruter_dagster.contracts.tables import (
    CHALLENGER_FORECASTS,
    DRIFT,
    FORECAST_PERFORMANCE,
    LOAD_FORECASTS,
    STOP_LOADS,
)
from ruter_dagster.orchestration.partitions import window


class PerformanceConfig(PinsConfig):
    """Run config of forecast performance."""

    force: bool = Field(False, description="Also use counts that arrived after the truth of a date was final")


def monitoring_assets(builder: AssetBuilder) -> list[JobAsset]:
    return [_forecast_performance(builder), _line_scores(builder), _drift(builder)]


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
    reference = window(-DRIFT_REFERENCE_DAYS, 0)
    return builder.asset(
        asset_of(DRIFT.name),
        Drift,
        description=DRIFT.description,
        code_version="1",
        partitions=builder.partitions.operating,
        deps=[
            asset_dep(asset_of(FORECAST_PERFORMANCE.name), reference),
            *table_dep(STOP_LOADS, reference),
        ],
        check_specs=check_specs(asset_of(DRIFT.name), DRIFT_CHECKS),
    )
