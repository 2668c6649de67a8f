"""What a person may configure for a run, and what the parameters of a run's jobs follow from."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any

from dagster import AssetExecutionContext, AssetKey, Config, DagsterInstance, Failure
from pydantic import Field

from ruter_dagster.orchestration.partitions import PART_OF_RANGE_TAG, dates_of


class PinsConfig(Config):
    """Pinned inputs: the snapshots that an earlier run used, to repeat that run."""

    pins: dict[str, int] = Field(
        default_factory=dict, description="Snapshot id by table, as raw.stop_visits: 123"
    )


class VersionConfig(Config):
    """A pinned model version, for a step that reads no table: Dagster then refuses pins of tables."""

    model_version: str | None = Field(None, description="A model version; by default the newest fit one")


class ModelConfig(PinsConfig):
    """Pinned inputs and model version."""

    model_version: str | None = Field(None, description="A model version; by default the newest fit one")


class ForecastConfig(ModelConfig):
    """Run config of forecasts."""

    capacities_only: bool = Field(
        False,
        description="Keep the loads of the stored forecasts, and apply the seats and places of the present plan to them",
    )


@dataclass(frozen=True)
class JobInputs:
    """What the parameters of a job follow from, besides the settings. `newest_version` gives an asset's newest model version."""

    config: Any
    code_version: str
    newest_version: Callable[[str], str]
    started_at: datetime
    dates: tuple[date, ...] = ()
    part_of_range: bool = False

    @classmethod
    def of(cls, context: AssetExecutionContext, config: Config) -> JobInputs:
        """The inputs of the step that `context` belongs to."""
        return cls(
            config=config,
            code_version=next(iter(context.assets_def.code_versions_by_key.values())) or "1",
            newest_version=lambda asset: newest_model_version(context.instance, asset),
            started_at=datetime.now(UTC),
            dates=dates_of(context),
            part_of_range=PART_OF_RANGE_TAG in context.run.tags,
        )

    @property
    def date_parameters(self) -> Mapping[str, Any]:
        """The parameters that every job over dates takes from its run."""
        return {
            "dates": self.dates,
            "of_range": self.part_of_range or len(self.dates) > 1,
            "part_of_range": self.part_of_range,
        }


def newest_model_version(instance: DagsterInstance, asset: str) -> str:
    """The model version of the newest materialisation of `asset`. Raises `Failure`, without retries, if there is none."""
    event = instance.get_latest_materialization_event(AssetKey.from_user_string(asset))
    materialization = event.asset_materialization if event else None
    if materialization is None or "model_version" not in materialization.metadata:
        raise Failure(
            f"{asset} was never materialised, so its model version is unknown. Materialise {asset}, "
            "or set model_version in the run config",
            allow_retries=False,
        )
    return str(materialization.metadata["model_version"].value)
