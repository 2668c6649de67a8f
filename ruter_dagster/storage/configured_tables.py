"""Opens the tables that the settings name."""

from __future__ import annotations

from ruter_dagster.config.settings import Settings
from ruter_dagster.config.state_folder import state_folder
from ruter_dagster.storage.catalog import glue_catalog, local_catalog
from ruter_dagster.storage.tables import TableStore


def open_tables(settings: Settings) -> TableStore:
    """The tables of the lake in AWS, or of the local state folder if the settings name no lake."""
    if settings.lake_dir is None:
        return TableStore(local_catalog(state_folder(settings) / "warehouse"))
    properties = glue_catalog(f"{settings.lake_dir}/warehouse", settings.aws_region or "")
    return TableStore(properties, database=settings.database)
