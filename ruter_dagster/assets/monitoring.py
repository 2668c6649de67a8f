"""Forecast performance against the loads that arrived, and drift."""

from __future__ import annotations

from ruter_dagster.assets.asset_builder import AssetBuilder, JobAsset
from ruter_dagster.assets.dependencies import asset_dep, check_specs, table_dep
from ruter_dagster.contracts.date_windows import DRIFT_REFERENCE_DAYS, HORIZON_DAYS
from ruter_dagster.contracts.jobs import Drift, Performance, asset_of
from ruter_dagster.contracts.model_checks import DRIFT_CHECKS
from ruter_dagster.contracts.tables import DRIFT, FORECAST_PERFORMANCE, LOAD_FORECASTS, STOP_LOADS
from ruter_dagster.orchestration.partitions import window


def monitoring_assets(builder: AssetBuilder) -> list[JobAsset]:
    return [_forecast_performance(builder), _drift(builder)]


def _forecast_performance(builder: AssetBuilder) -> JobAsset:
    return builder.asset(
        asset_of(FORECAST_PERFORMANCE.name),
        Performance,
        description=FORECAST_PERFORMANCE.description,
        code_version="1",
        partitions=builder.partitions.operating,
        deps=[*table_dep(STOP_LOADS), asset_dep(asset_of(LOAD_FORECASTS.name), window(-HORIZON_DAYS, 0))],
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
