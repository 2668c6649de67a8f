"""Dependencies between assets, and the asset checks of one."""

from __future__ import annotations

from collections.abc import Iterable

from dagster import AssetCheckSpec, AssetDep, AssetKey, PartitionMapping

from ruter_dagster.contracts.checks import Check
from ruter_dagster.contracts.jobs import asset_of, quality_asset_of
from ruter_dagster.contracts.model_checks import ModelCheck
from ruter_dagster.contracts.tables import Table


def table_dep(table: Table, mapping: PartitionMapping | None = None) -> list[AssetDep]:
    """Depends on a table and on its quality report, for the same dates."""
    return [asset_dep(key, mapping) for key in (asset_of(table.name), quality_asset_of(table.name))]


def asset_dep(key: str, mapping: PartitionMapping | None = None) -> AssetDep:
    return AssetDep(AssetKey.from_user_string(key), partition_mapping=mapping)


def check_specs(key: str, checks: Iterable[Check | ModelCheck]) -> list[AssetCheckSpec]:
    """The asset checks of `key`. A failed ERROR check blocks the assets after it in the run, a WARN check does not."""
    return [
        AssetCheckSpec(
            check.name,
            asset=AssetKey.from_user_string(key),
            description=check.description,
            blocking=check.severity == "ERROR",
        )
        for check in checks
    ]
