"""What Dagster's UI shows of an asset's table: its name and its columns, from the table's contract."""

from __future__ import annotations

from typing import Any

from dagster import AssetKey, MetadataValue, TableColumn, TableColumnConstraints, TableSchema

from ruter_dagster.contracts.all_tables import TABLES
from ruter_dagster.contracts.checks import CHECKED_TABLES
from ruter_dagster.contracts.jobs import asset_of, quality_asset_of
from ruter_dagster.contracts.tables import Column, Table

_TABLE_OF_ASSET = {asset_of(table.name): table for table in TABLES}


def table_metadata(asset: str) -> dict[str, Any]:
    """The table's name and columns under Dagster's own keys, and a link to its quality report; empty for other assets."""
    table = _TABLE_OF_ASSET.get(asset)
    if table is None:
        return {}
    metadata: dict[str, Any] = {"dagster/table_name": table.name, "dagster/column_schema": _schema(table)}
    if table in CHECKED_TABLES:
        report = AssetKey.from_user_string(quality_asset_of(table.name))
        metadata["quality_report"] = MetadataValue.asset(report)
    return metadata


def _schema(table: Table) -> TableSchema:
    return TableSchema([_column(column) for column in table.columns])


def _column(column: Column) -> TableColumn:
    return TableColumn(
        column.name,
        column.type,
        column.description,
        TableColumnConstraints(nullable=not column.required, other=_limits(column)),
    )


def _limits(column: Column) -> list[str]:
    """The values that the column allows, in words."""
    limits = []
    if column.minimum is not None:
        limits.append(f"at least {column.minimum:g}")
    if column.maximum is not None:
        limits.append(f"at most {column.maximum:g}")
    if column.allowed:
        limits.append(f"one of {', '.join(column.allowed)}")
    return limits
