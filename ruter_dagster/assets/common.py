"""What every asset has: owner, group, kinds, code version, retries, and the pins a run may be given. No asset is defined here."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from dagster import (
    AssetCheckSpec,
    AssetDep,
    AssetExecutionContext,
    AssetKey,
    AssetsDefinition,
    BackfillPolicy,
    Backoff,
    BetaWarning,
    Config,
    DailyPartitionsDefinition,
    Jitter,
    PartitionMapping,
    PreviewWarning,
    RetryPolicy,
    asset,
)
from pydantic import Field

from ruter_dagster.assets.configuration import configuration_hash
from ruter_dagster.config.operator import Operator
from ruter_dagster.config.settings import Settings
from ruter_dagster.contracts.checks import Check
from ruter_dagster.contracts.jobs import asset_of, quality_asset_of
from ruter_dagster.contracts.model_checks import ModelCheck
from ruter_dagster.contracts.tables import Table
from ruter_dagster.orchestration.partitions import PART_OF_RANGE_TAG, Partitions, dates_of

OWNER = "team:passenger-load"

# Backfill policies and window mappings are Dagster's only way to say this; their beta and preview notices would drown a run's own log.
warnings.filterwarnings("ignore", category=BetaWarning)
warnings.filterwarnings("ignore", category=PreviewWarning)


class PinsConfig(Config):
    """Pinned inputs: what a former run used, given back to repeat it."""

    pins: dict[str, int] = Field(
        default_factory=dict, description="Snapshot id by table, as raw.stop_visits: 123"
    )


class VersionConfig(Config):
    """A pinned model version, for what reads no table: Dagster refuses pins of tables."""

    model_version: str | None = Field(None, description="A model version; by default the newest fit one")


class ModelConfig(PinsConfig):
    """Pinned inputs and model version."""

    model_version: str | None = Field(None, description="A model version; by default the newest fit one")


@dataclass(frozen=True)
class House:
    """What the assets are built from."""

    settings: Settings
    operator: Operator
    partitions: Partitions
    pool_of: Callable[[str], str | None] = lambda asset: None
    """The pool of an asset's step, where the launcher has pools and the asset none of its own."""

    def asset(
        self,
        key: str,
        *,
        description: str,
        code_version: str,
        kinds: Iterable[str] = ("polars", "iceberg"),
        partitions: DailyPartitionsDefinition | None = None,
        deps: Sequence[AssetDep] = (),
        pool: str | None = None,
        **more: Any,
    ) -> Callable[[Callable[..., Any]], AssetsDefinition]:
        """Dagster's `@asset` for the asset `key`, with what every asset of the house has."""
        return asset(
            key=AssetKey.from_user_string(key),
            group_name=key.split("/")[0],
            description=description,
            owners=[OWNER],
            kinds=set(kinds),
            code_version=self.code_version(key, code_version),
            deps=list(deps),
            partitions_def=partitions,
            backfill_policy=BackfillPolicy.single_run() if partitions else None,
            retry_policy=self.retry_policy(key),
            pool=pool or self.pool_of(key),
            **more,
        )

    def code_version(self, key: str, code: str) -> str:
        """Version of the asset's code, and of the facts of operator and settings that it follows from."""
        facts = configuration_hash(key, self.operator, self.settings)
        return f"{code}.{facts}" if facts else code

    def retry_policy(self, key: str) -> RetryPolicy:
        """Exponential backoff with jitter; count and first delay by asset where the settings name it."""
        return RetryPolicy(
            max_retries=self.settings.asset_retries.get(key, self.settings.step_retries),
            delay=self.settings.asset_retry_delays.get(key, self.settings.step_retry_delay),
            backoff=Backoff.EXPONENTIAL,
            jitter=Jitter.PLUS_MINUS,
        )


def table_dep(table: Table, mapping: PartitionMapping | None = None) -> list[AssetDep]:
    """Depends on a table and on its quality report, for the same dates."""
    keys = (asset_of(table.name), quality_asset_of(table.name))
    return [AssetDep(AssetKey.from_user_string(key), partition_mapping=mapping) for key in keys]


def asset_dep(key: str, mapping: PartitionMapping | None = None) -> AssetDep:
    return AssetDep(AssetKey.from_user_string(key), partition_mapping=mapping)


def check_specs(key: str, checks: Iterable[Check | ModelCheck]) -> list[AssetCheckSpec]:
    """Asset checks of `key`: an ERROR blocks what comes after it in the run, a WARN shows."""
    return [
        AssetCheckSpec(
            check.name,
            asset=AssetKey.from_user_string(key),
            description=check.description,
            blocking=check.severity == "ERROR",
        )
        for check in checks
    ]


def over_dates(context: AssetExecutionContext, config: PinsConfig) -> Mapping[str, Any]:
    """Parameters that every job over dates takes from its run."""
    dates = dates_of(context)
    part_of_range = PART_OF_RANGE_TAG in context.run.tags
    return {
        "dates": dates,
        "of_range": part_of_range or len(dates) > 1,
        "part_of_range": part_of_range,
        "pins": config.pins,
        "code_version": code_version_of(context),
    }


def code_version_of(context: AssetExecutionContext) -> str:
    return next(iter(context.assets_def.code_versions_by_key.values())) or "1"
