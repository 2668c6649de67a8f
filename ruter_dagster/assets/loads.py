"""Balanced stop loads: boardings and alightings, corrected so that they agree along each trip."""

from __future__ import annotations

from ruter_dagster.assets.asset_builder import AssetBuilder, JobAsset
from ruter_dagster.assets.dependencies import table_dep
from ruter_dagster.contracts.jobs import Balance, asset_of
from ruter_dagster.contracts.tables import STOP_LOADS, STOP_VISITS


def load_assets(builder: AssetBuilder) -> list[JobAsset]:
    stop_loads = builder.asset(
        asset_of(STOP_LOADS.name),
        Balance,
        description=STOP_LOADS.description,
        code_version="2",
        partitions=builder.partitions.operating,
        deps=table_dep(STOP_VISITS),
    )
    return [stop_loads]
