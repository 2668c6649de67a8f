"""The load model: trained, evaluated against the baselines, and made champion if it passes the release gate."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import Field

from ruter_dagster.assets.asset_builder import AssetBuilder, JobAsset
from ruter_dagster.assets.dependencies import asset_dep, check_specs, table_dep
from ruter_dagster.assets.job_inputs import JobInputs, ModelConfig, PinsConfig, VersionConfig
from ruter_dagster.config.settings import Settings
from ruter_dagster.contracts.features import DEPARTURE_FEATURES, LEVELS, TRAINING_SAMPLE
from ruter_dagster.contracts.jobs import (
    CHAMPION,
    EVALUATION,
    LOAD_MODEL,
    REFITTED_MODEL,
    Evaluate,
    Promote,
    Refit,
    Train,
    asset_of,
)
from ruter_dagster.contracts.model_checks import GATE_CHECKS
from ruter_dagster.contracts.tables import STOP_LOADS, WEATHER_FORECASTS


class TrainingConfig(PinsConfig):
    """Run config of a training."""

    cutoff: str | None = Field(None, description="Newest operating date to train on, YYYY-MM-DD")
    days: int | None = Field(
        None,
        description="Operating dates to train on, as far as they exist; by default RUTER_TRAINING_DAYS less RUTER_EVALUATION_DAYS",
    )
    parameters: dict[str, float] = Field(
        default_factory=dict, description="Model parameters other than the defaults"
    )


def model_assets(builder: AssetBuilder) -> list[JobAsset]:
    return [_load_model(builder), _evaluation(builder), _refitted_model(builder), _champion(builder)]


def _load_model(builder: AssetBuilder) -> JobAsset:
    return builder.asset(
        LOAD_MODEL,
        Train,
        config=TrainingConfig,
        parameters=lambda inputs: _training_parameters(inputs.config, builder.settings),
        description="LightGBM: a Poisson mean and quantiles of the load, trained on dates that end before the evaluation's "
        "dates. A version is the hash of its training sample, parameters and code version.",
        code_version="1",
        kinds=("lightgbm", "mlflow"),
        deps=[asset_dep(asset_of(TRAINING_SAMPLE.name))],
    )


def _training_parameters(config: TrainingConfig, settings: Settings) -> Mapping[str, Any]:
    return {
        "cutoff": config.cutoff,
        "days": config.days or settings.training_days - settings.evaluation_days,
        "held_out": settings.evaluation_days,
        "parameters": {"seed": settings.training_seed, **config.parameters},
    }


def _evaluation(builder: AssetBuilder) -> JobAsset:
    return builder.asset(
        EVALUATION,
        Evaluate,
        config=ModelConfig,
        parameters=lambda inputs: {
            "model_version": _version_after(LOAD_MODEL, inputs),
            "days": builder.settings.evaluation_days,
        },
        description="The newest model version on operating dates that it has not seen, beside LW, HA4 and HA8; "
        "the release gate compares each mode and horizon.",
        code_version="1",
        kinds=("lightgbm", "mlflow"),
        deps=[
            asset_dep(LOAD_MODEL),
            *table_dep(DEPARTURE_FEATURES),
            *table_dep(LEVELS),
            *table_dep(STOP_LOADS),
            *table_dep(WEATHER_FORECASTS),
        ],
        check_specs=check_specs(EVALUATION, GATE_CHECKS),
    )


def _refitted_model(builder: AssetBuilder) -> JobAsset:
    return builder.asset(
        REFITTED_MODEL,
        Refit,
        config=ModelConfig,
        parameters=lambda inputs: {
            "model_version": _version_after(EVALUATION, inputs),
            "days": builder.settings.training_days,
        },
        description="The evaluated model trained again with the same parameters, up to the newest operating date.",
        code_version="1",
        kinds=("lightgbm", "mlflow"),
        deps=[asset_dep(EVALUATION), asset_dep(asset_of(TRAINING_SAMPLE.name))],
    )


def _champion(builder: AssetBuilder) -> JobAsset:
    return builder.asset(
        CHAMPION,
        Promote,
        config=VersionConfig,
        parameters=lambda inputs: {
            "model_version": _version_after(REFITTED_MODEL, inputs),
            "promoted_at": inputs.started_at,
        },
        description="The newest refitted model whose evaluated version passed the release gate. Forecasts of an issue "
        "date D use the newest champion whose training ended before D.",
        code_version="1",
        kinds=("mlflow",),
        deps=[asset_dep(REFITTED_MODEL)],
    )


def _version_after(asset: str, inputs: JobInputs) -> str:
    """The configured model version, else the newest version of `asset`."""
    return inputs.config.model_version or inputs.newest_version(asset)
