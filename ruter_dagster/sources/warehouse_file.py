"""The file that says how each raw table comes out of a warehouse: one TOML file of queries or tables, read and validated.

Running the queries belongs in athena.py.
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
_BY_QUERY_ONLY = ("block_id", "line_name", "stop_name", "latitude", "longitude")
"""Optional columns that a table need not have; a query may give them."""
_PLACEHOLDER = re.compile(r"\{([A-Za-z_]+)\}")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z_][A-Za-z0-9_]*){0,2}")


class WarehouseFileError(PermanentFailure):
    """The warehouse file is missing or wrong: the message lists file, key, value and what is allowed."""


def _query(text: str) -> str:
    """Only a date is ever put into a query, as a literal of our own writing."""
    names = set(_PLACEHOLDER.findall(text))
    known = ", ".join(f"{{{name}}}" for name in _LITERALS)
    if unknown := names - _LITERALS.keys():
        raise ValueError(f"{', '.join(sorted(unknown))} is no placeholder; allowed: {known}")
    if not names:
        raise ValueError(f"a query reads one date: it must have one of {known}")
    text = text.strip().removesuffix(";")
    if ";" in text or not re.match(r"(?i)(select|with)\b", text):
        raise ValueError("allowed: one SELECT, or WITH … SELECT, without a semicolon")
    return text


def _identifier(text: str) -> str:
    if not _NAME.fullmatch(text):
        raise ValueError(
            "allowed: a name of letters, digits and _, with its database or catalog and dots before it"
        )
    return text


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class WarehouseTable(_Strict):
    """Where a raw table's rows of one date come from: a query, or a table with columns as ours and its column of dates."""

    query: Annotated[str, AfterValidator(_query)] | None = None
    table: Annotated[str, AfterValidator(_identifier)] | None = None
    date_column: Annotated[str, AfterValidator(_identifier)] | None = None

    @model_validator(mode="after")
    def _one_of_both(self) -> WarehouseTable:
        if (self.query is None) == (self.table is None):
            raise ValueError("give either `query` or `table`")
        if self.date_column and self.query:
            raise ValueError("`date_column` goes with `table`: a query has its own WHERE")
        return self

    def select(self, table: Table, day: date) -> str:
        """The SELECT of one date's rows."""
        text = self.query
        if self.table:
            columns = ", ".join(f'"{name}"' for name in table.column_names if name not in _BY_QUERY_ONLY)
            source = ".".join(f'"{part}"' for part in self.table.split("."))
            text = f'SELECT {columns} FROM {source} WHERE "{self.date_column or table.partition}" = {{date}}'
        return _PLACEHOLDER.sub(lambda found: _LITERALS[found[1]].format(day), text or "")


class WarehouseTables(_Strict):
    stop_visits: WarehouseTable
    planned_departures: WarehouseTable
    weather_forecasts: WarehouseTable | None = None


class WarehouseFile(_Strict):
    """The whole file; make one with `load_warehouse_file`."""

    workgroup: str = Field(
        "primary", description="Athena workgroup, which may limit the bytes that a query scans"
    )
    catalog: str = Field("AwsDataCatalog", description="Data catalog of the queries' tables")
    database: str = Field("default", description="Database of tables that are named without one")
    staging: str | None = Field(
        None,
        pattern=r"^s3://[^/]+",
        description="Where results are left for a moment; by default below the lake",
    )
    at_once: int = Field(5, ge=1, le=20, description="Queries that run side by side")
    time_limit_minutes: float = Field(30, gt=0, description="After that a query is stopped")
    price_per_tb: float = Field(
        5.0, ge=0, description="US dollars for a terabyte scanned, for the estimate of cost"
    )
    tables: WarehouseTables

    def of(self, table: Table) -> WarehouseTable | None:
        return getattr(self.tables, table.name.split(".")[1])


def load_warehouse_file(place: str, region: str | None = None) -> WarehouseFile:
    """Reads the file at a path or an s3:// address. Raises `WarehouseFileError` that names each wrong key."""
    try:
        content = tomllib.loads(_read(place, region).decode("utf-8-sig"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise WarehouseFileError(f"Warehouse file {place} is no valid TOML in UTF-8: {error}") from None
    try:
        return WarehouseFile.model_validate(content)
    except ValidationError as error:
        lines = [f"Warehouse file {place} is wrong:", *map(_describe, error.errors())]
        raise WarehouseFileError("\n".join(lines)) from None


def _read(place: str, region: str | None) -> bytes:
    try:
        if "://" not in place:
            return Path(place).read_bytes()
        folder, _, name = place.rpartition("/")
        return bytes(obstore.get(open_store(folder, region), name).bytes())
    except FileNotFoundError:
        raise WarehouseFileError(
            f"Warehouse file {place} is not there; check RUTER_WAREHOUSE_FILE (examples/warehouse has one)"
        ) from None
    except (BaseError, OSError) as error:
        raise WarehouseFileError(
            f"Warehouse file {place} cannot be read ({first_line(error)}); check address and rights"
        ) from None


def _describe(fault: Any) -> str:
    key = ".".join(map(str, fault["loc"]))
    if fault["type"] == "missing":
        return f"  {key} is missing"
    if fault["type"] == "extra_forbidden":
        return f"  {key} is no key of this file"
    given = fault["input"] if isinstance(fault["input"], str | int | float) else "…"
    return f"  {key} = {given!r}: {fault['msg'].removeprefix('Value error, ')}"
