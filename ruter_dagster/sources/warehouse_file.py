"""Reads the warehouse file: one TOML file with a query or a table name for each raw table.

athena.py runs the queries.
"""

from __future__ import annotations

import re
import tomllib
from datetime import date
from pathlib import Path
from typing import Annotated, Any

import obstore
from obstore.exceptions import BaseError
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from ruter_dagster.aws.errors import first_line
from ruter_dagster.aws.object_store import open_store
from ruter_dagster.contracts.errors import PermanentFailure
from ruter_dagster.contracts.tables import PLANNED_DEPARTURES, STOP_VISITS, WEATHER_FORECASTS, Table

RAW_TABLES = {table.name: table for table in (STOP_VISITS, PLANNED_DEPARTURES, WEATHER_FORECASTS)}
_LITERALS = {"date": "DATE '{:%Y-%m-%d}'", "date_text": "'{:%Y-%m-%d}'", "date_compact": "'{:%Y%m%d}'"}
_QUERY_ONLY_COLUMNS = ("block_id", "line_name", "stop_name", "latitude", "longitude")
"""Optional columns that are not selected from a table. A query may return them."""
_PLACEHOLDER = re.compile(r"\{([A-Za-z_]+)\}")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z_][A-Za-z0-9_]*){0,2}")


class WarehouseFileError(PermanentFailure):
    """The warehouse file is missing or wrong. The message lists file, key, value and what is allowed."""


def _check_query(text: str) -> str:
    """A query with a date placeholder. Only date literals written by this module are inserted."""
    names = set(_PLACEHOLDER.findall(text))
    known = ", ".join(f"{{{name}}}" for name in _LITERALS)
    if unknown := names - _LITERALS.keys():
        raise ValueError(f"{', '.join(sorted(unknown))} is not a placeholder; allowed: {known}")
    if not names:
        raise ValueError(f"a query reads one date and must contain one of {known}")
    text = text.strip().removesuffix(";")
    if ";" in text or not re.match(r"(?i)(select|with)\b", text):
        raise ValueError("allowed: one SELECT, or WITH … SELECT, without a semicolon")
    return text


def _check_identifier(text: str) -> str:
    if not _NAME.fullmatch(text):
        raise ValueError("allowed: a name of letters, digits and _, such as catalog.database.table")
    return text


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class WarehouseTable(_Strict):
    """Query or table with the rows of a raw table. A table has the contract's column names, and a column of dates."""

    query: Annotated[str, AfterValidator(_check_query)] | None = None
    table: Annotated[str, AfterValidator(_check_identifier)] | None = None
    date_column: Annotated[str, AfterValidator(_check_identifier)] | None = None

    @model_validator(mode="after")
    def _check_keys(self) -> WarehouseTable:
        if (self.query is None) == (self.table is None):
            raise ValueError("set either `query` or `table`")
        if self.date_column and self.query:
            raise ValueError("`date_column` is only for `table`, because a query has its own WHERE")
        return self

    def select(self, table: Table, day: date) -> str:
        """The SELECT of one date's rows."""
        text = self.query
        if self.table:
            columns = ", ".join(f'"{name}"' for name in table.column_names if name not in _QUERY_ONLY_COLUMNS)
            source = ".".join(f'"{part}"' for part in self.table.split("."))
            text = f'SELECT {columns} FROM {source} WHERE "{self.date_column or table.partition}" = {{date}}'
        return _PLACEHOLDER.sub(lambda match: _LITERALS[match[1]].format(day), text or "")


class WarehouseTables(_Strict):
    stop_visits: WarehouseTable
    planned_departures: WarehouseTable
    weather_forecasts: WarehouseTable | None = None


class WarehouseFile(_Strict):
    """The whole file. `load_warehouse_file` reads it."""

    workgroup: str = Field(
        "primary", description="Athena workgroup, which may limit the bytes that a query scans"
    )
    catalog: str = Field("AwsDataCatalog", description="Data catalog of the queries' tables")
    database: str = Field("default", description="Database of tables that are named without one")
    staging: str | None = Field(
        None,
        pattern=r"^s3://[^/]+",
        description="Prefix of query results until they are read; by default below the lake",
    )
    at_once: int = Field(5, ge=1, le=20, description="Queries that run in parallel")
    time_limit_minutes: float = Field(
        30, gt=0, description="Time limit of a query, after which it is stopped"
    )
    price_per_tb: float = Field(
        5.0, ge=0, description="US dollars for a scanned terabyte, for the estimated cost"
    )
    tables: WarehouseTables

    def of(self, table: Table) -> WarehouseTable | None:
        return getattr(self.tables, table.name.split(".")[1])


def load_warehouse_file(location: str, region: str | None = None) -> WarehouseFile:
    """Reads the file at a path or an s3:// address. Raises `WarehouseFileError` that names each wrong key."""
    try:
        content = tomllib.loads(_read(location, region).decode("utf-8-sig"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise WarehouseFileError(f"Warehouse file {location} is not valid TOML in UTF-8: {error}") from None
    try:
        return WarehouseFile.model_validate(content)
    except ValidationError as error:
        lines = [f"Warehouse file {location} is wrong:", *map(_describe, error.errors())]
        raise WarehouseFileError("\n".join(lines)) from None


def _read(location: str, region: str | None) -> bytes:
    try:
        if "://" not in location:
            return Path(location).read_bytes()
        folder, _, name = location.rpartition("/")
        return bytes(obstore.get(open_store(folder, region), name).bytes())
    except FileNotFoundError:
        raise WarehouseFileError(
            f"Warehouse file {location} does not exist; check RUTER_WAREHOUSE_FILE (examples/warehouse has one)"
        ) from None
    except (BaseError, OSError) as error:
        raise WarehouseFileError(
            f"Warehouse file {location} cannot be read ({first_line(error)}); check the address and permissions"
        ) from None


def _describe(error: Any) -> str:
    key = ".".join(map(str, error["loc"]))
    if error["type"] == "missing":
        return f"  {key} is missing"
    if error["type"] == "extra_forbidden":
        return f"  Unknown key {key}"
    value = error["input"] if isinstance(error["input"], str | int | float) else "…"
    return f"  {key} = {value!r}: {error['msg'].removeprefix('Value error, ')}"
