"""Opens the tables that the settings name."""

from __future__ import annotations

from pathlib import Path

from ruter_dagster.config.settings import Settings
from ruter_dagster.config.state_folder import require_readable_state, state_folder
from ruter_dagster.contracts.errors import PermanentFailure
from ruter_dagster.storage.catalog import glue_catalog, local_catalog
from ruter_dagster.storage.tables import TableStore


def open_tables(settings: Settings) -> TableStore:
    """The tables of the lake in AWS, or of the local state folder if the settings name no lake."""
    if settings.lake_dir is None:
        return TableStore(local_catalog(state_folder(settings) / "warehouse"))
    properties = glue_catalog(f"{settings.lake_dir}/warehouse", settings.aws_region or "")
    return TableStore(properties, database=settings.database)


def open_existing_tables(settings: Settings) -> TableStore:
    """The same tables, for a command that only reads. Raises `PermanentFailure` if the state folder has none."""
    if settings.lake_dir is None and not (settings.source_dir / "warehouse").is_dir():
        raise PermanentFailure(
            f"There are no forecasts in {settings.source_dir}. Run `ruter-dagster demo` first"
        )
    return open_tables(settings)


def open_tables_in(folder: Path) -> TableStore:
    """The tables of another state, by its folder, for example `state/demo`. They are only read.

    Raises `PermanentFailure` if the folder has no tables, or if it was moved or copied.
    """
    return TableStore(local_catalog(require_readable_state(folder) / "warehouse"))
