"""Builds Dagster's definitions from the settings: assets, jobs, schedules, sensors, launcher and executor."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from dagster import AssetKey, AssetSelection, Definitions, define_asset_job

from ruter_dagster.assets.asset_builder import AssetBuilder, JobAsset
from ruter_dagster.assets.features import feature_assets
from ruter_dagster.assets.forecasts import forecast_assets
from ruter_dagster.assets.loads import load_assets
from ruter_dagster.assets.models import model_assets
from ruter_dagster.assets.monitoring import monitoring_assets
from ruter_dagster.assets.quality import quality_assets
from ruter_dagster.assets.raw import raw_assets
from ruter_dagster.config.operator import operator_of
from ruter_dagster.config.settings import Settings, SettingsError, load_settings
from ruter_dagster.orchestration import capacity
from ruter_dagster.orchestration.chain import FORECASTS, RUNS
from ruter_dagster.orchestration.executor import step_processes
from ruter_dagster.orchestration.partitions import partitions_of
from ruter_dagster.resources.launcher import JobLauncher
from ruter_dagster.resources.local import LocalLauncher
from ruter_dagster.sensors.alerts import alert_sensors
from ruter_dagster.sensors.arrivals import arrival_sensors
from ruter_dagster.sensors.capacity import capacity_sensors
from ruter_dagster.sensors.chain import chain_sensors
from ruter_dagster.sensors.drift import drift_sensors
from ruter_dagster.sensors.forecast_status import forecast_status_sensors
from ruter_dagster.sensors.job_events import job_event_sensors
from ruter_dagster.sensors.metrics import metric_sensors
from ruter_dagster.sensors.retries import retry_sensors
from ruter_dagster.sensors.schedules import build_schedules
from ruter_dagster.sensors.unawaited_jobs import unawaited_job_sensors


def build_definitions(settings: Settings) -> Definitions:
    """All definitions for these settings. The resource `launcher` runs the jobs."""
    operator = operator_of(settings)
    launcher = launcher_of(settings)
    assets = build_assets(settings, launcher.pool_of)
    _require_assets(settings, {asset.key for asset in assets})
    jobs = {
        name: define_asset_job(
            name, AssetSelection.assets(*map(AssetKey.from_user_string, keys)), description=" -> ".join(keys)
        )
        for name, keys in RUNS.items()
    }
    jobs[capacity.JOB] = _capacities_job()
    return Definitions(
        assets=[asset.definition for asset in assets],
        jobs=list(jobs.values()),
        schedules=build_schedules(settings, operator, jobs),
        sensors=[
            *chain_sensors(settings, jobs, [asset.definition for asset in assets]),
            *arrival_sensors(settings, operator, jobs),
            *capacity_sensors(settings, operator, jobs),
            *forecast_status_sensors(settings, operator),
            *job_event_sensors(settings),
            *unawaited_job_sensors(settings),
            *retry_sensors(),
            *drift_sensors(settings, jobs),
            *alert_sensors(settings, operator, [asset.definition for asset in assets]),
            *metric_sensors(settings, [asset.definition for asset in assets]),
        ],
        resources={"launcher": launcher},
        executor=step_processes,
    )


def _capacities_job() -> Any:
    return define_asset_job(
        capacity.JOB,
        AssetSelection.assets(*map(AssetKey.from_user_string, FORECASTS)),
        config=capacity.CONFIG,
        description="Applies the seats and places of the stored plan to the forecasts of an issue date, without a new run of the "
        "model, and publishes the journeys that change. `ruter-dagster capacities` reads the plan first",
    )


def build_assets(
    settings: Settings, pool_of: Callable[[str], str | None] = lambda job: None
) -> list[JobAsset]:
    """All assets with their jobs. `pool_of` returns the pool of a job, or None."""
    operator = operator_of(settings)
    partitions = partitions_of(settings, operator)
    builder = AssetBuilder(settings, operator, partitions, pool_of)
    builds = (raw_assets, load_assets, feature_assets, model_assets, forecast_assets, monitoring_assets)
    assets = [asset for build in builds for asset in build(builder)]
    return [*assets, *quality_assets(builder, assets)]


def launcher_of(settings: Settings) -> JobLauncher:
    """The launcher for SageMaker or for local processes. Raises SettingsError if settings for SageMaker are missing."""
    if not settings.runs_in_sagemaker:
        return LocalLauncher(settings)
    from ruter_dagster.resources.sagemaker.launcher import SageMakerLauncher

    return SageMakerLauncher.of(settings)


def _require_assets(settings: Settings, known: set[str]) -> None:
    """Raises SettingsError if a setting names an unknown asset."""
    for name in ("asset_retries", "asset_retry_delays"):
        for asset in getattr(settings, name):
            if asset not in known:
                raise SettingsError(
                    f"RUTER_{name.upper()}: unknown asset {asset!r}; allowed: {', '.join(sorted(known))}"
                )


defs = build_definitions(load_settings())
