"""The load model: trained, judged against the baselines, and made champion only past the release gate."""

from datetime import UTC, datetime

from dagster import (
    AssetDep,
    AssetExecutionContext,
    AssetKey,
    AssetsDefinition,
    Failure,
    ResourceParam,
)
from pydantic import Field

from ruter_dagster.assets.common import (
    House,
    ModelConfig,
    PinsConfig,
    VersionConfig,
    asset_dep,
    check_specs,
    code_version_of,
    table_dep,
)
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
from ruter_dagster.resources.launcher import JobLauncher


class TrainingConfig(PinsConfig):
    """What a training may be told."""

    cutoff: str | None = Field(None, description="Newest operating date to train on, YYYY-MM-DD")
    days: int | None = Field(
        None,
        description="Operating dates to train on, as far as they are there; by default RUTER_TRAINING_DAYS less RUTER_EVALUATION_DAYS",
    )
    parameters: dict[str, float] = Field(
        default_factory=dict, description="Model parameters other than the defaults"
    )


def model_assets(house: House) -> list[AssetsDefinition]:
    return [_load_model(house), _evaluation(house), _refitted_model(house), _champion(house)]


def _inputs() -> list[AssetDep]:
    """What an evaluation reads: every departure of its dates, as of each horizon."""
    tables = (DEPARTURE_FEATURES, LEVELS, STOP_LOADS, WEATHER_FORECASTS)
    return [dep for table in tables for dep in table_dep(table)]


def _load_model(house: House) -> AssetsDefinition:
    settings = house.settings

    @house.asset(
        LOAD_MODEL,
        description="LightGBM: a Poisson mean and quantiles of the load, trained on dates that end before those that it is "
        "evaluated on. A version is the hash of its training sample, parameters and code version.",
        code_version="1",
        kinds=("lightgbm", "mlflow"),
        deps=[asset_dep(asset_of(TRAINING_SAMPLE.name))],
    )
    def load_model(
        context: AssetExecutionContext, config: TrainingConfig, launcher: ResourceParam[JobLauncher]
    ):
        parameters = Train.model_validate(
            {
                "cutoff": config.cutoff,
                "days": config.days or settings.training_days - settings.evaluation_days,
                "held_out": settings.evaluation_days,
                "parameters": {"seed": settings.training_seed, **config.parameters},
                "pins": config.pins,
                "code_version": code_version_of(context),
            }
        )
        yield from launcher.run(context, parameters)

    return load_model


def _evaluation(house: House) -> AssetsDefinition:
    @house.asset(
        EVALUATION,
        description="The newest model version on operating dates that it has not seen, beside LW, HA4 and HA8; "
        "the release gate compares each mode and horizon.",
        code_version="1",
        kinds=("lightgbm", "mlflow"),
        deps=[asset_dep(LOAD_MODEL), *_inputs()],
        check_specs=check_specs(EVALUATION, GATE_CHECKS),
    )
    def evaluation(context: AssetExecutionContext, config: ModelConfig, launcher: ResourceParam[JobLauncher]):
        yield from launcher.run(
            context,
            Evaluate(
                model_version=config.model_version or _version_of(context, LOAD_MODEL),
                days=house.settings.evaluation_days,
                pins=config.pins,
                code_version=code_version_of(context),
            ),
        )

    return evaluation


def _refitted_model(house: House) -> AssetsDefinition:
    @house.asset(
        REFITTED_MODEL,
        description="The evaluated model trained again with the same parameters, up to the newest operating date.",
        code_version="1",
        kinds=("lightgbm", "mlflow"),
        deps=[asset_dep(EVALUATION), asset_dep(asset_of(TRAINING_SAMPLE.name))],
    )
    def refitted_model(
        context: AssetExecutionContext, config: ModelConfig, launcher: ResourceParam[JobLauncher]
    ):
        yield from launcher.run(
            context,
            Refit(
                model_version=config.model_version or _version_of(context, EVALUATION),
                days=house.settings.training_days,
                pins=config.pins,
                code_version=code_version_of(context),
            ),
        )

    return refitted_model


def _champion(house: House) -> AssetsDefinition:
    @house.asset(
        CHAMPION,
        description="The refitted model whose evaluated version passed the gate last. Forecasts of D take the newest "
        "champion whose training ended before D.",
        code_version="1",
        kinds=("mlflow",),
        deps=[asset_dep(REFITTED_MODEL)],
    )
    def champion(context: AssetExecutionContext, config: VersionConfig, launcher: ResourceParam[JobLauncher]):
        version = config.model_version or _version_of(context, REFITTED_MODEL)
        parameters = Promote(
            model_version=version, promoted_at=datetime.now(UTC), code_version=code_version_of(context)
        )
        yield from launcher.run(context, parameters)

    return champion


def _version_of(context: AssetExecutionContext, key: str) -> str:
    """The model version that asset `key` was last materialised with."""
    event = context.instance.get_latest_materialization_event(AssetKey.from_user_string(key))
    materialization = event.asset_materialization if event else None
    if materialization is None or "model_version" not in materialization.metadata:
        raise Failure(
            f"{key} was never materialised, so there is no model version to go on with; materialise {key}, "
            "or name one in the config: model_version",
            allow_retries=False,
        )
    return str(materialization.metadata["model_version"].value)
