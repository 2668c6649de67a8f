"""Raw tables from a warehouse behind Athena. Each table and date is one UNLOAD to Parquet files, which are read and deleted.

The queries come from the warehouse file (warehouse_file.py). athena.py runs them.
"""

from __future__ import annotations

import io
import logging
import uuid
from collections import Counter
from collections.abc import Callable, Sequence
from datetime import date

import obstore
import polars as pl
from obstore.exceptions import BaseError
from obstore.store import ObjectStore

from ruter_dagster.aws.clients import client
from ruter_dagster.aws.errors import first_line, remedy_of
from ruter_dagster.aws.object_store import open_store
from ruter_dagster.config.operator import Capacities, Operator, operator_of
from ruter_dagster.config.settings import Settings, SettingsError
from ruter_dagster.contracts import tables as contract
from ruter_dagster.contracts.errors import BadInput, PermanentFailure
from ruter_dagster.contracts.validation import column_faults, conform, empty_frame, polars_schema
from ruter_dagster.sources.athena import Athena, PollInterval, Query, QueryResult
from ruter_dagster.sources.base import DateAbsent, Reading, SourceQuery
from ruter_dagster.sources.default_capacities import with_default_capacities
from ruter_dagster.sources.plan_rules import apply_plan_rules
from ruter_dagster.sources.visit_rules import (
    COUNTS_FAULT,
    FAULT,
    FILE,
    LINE,
    LOAD_FAULT,
    SERVED,
    UPDATED,
    apply_visit_rules,
    split_unplaceable,
    to_rejected,
)
from ruter_dagster.sources.warehouse_file import WarehouseFile, load_warehouse_file

log = logging.getLogger("ruter_dagster.sources")
_MIN_BILLED_BYTES = 10_000_000
"""Bytes that Athena bills at least for a query."""


class WarehouseSource:
    """A source with every date for which the queries return rows. Timestamps without a zone are UTC.

    - A query returns the columns of its raw table's contract by name. Optional columns may be left out.
    - Stop visits and planned departures that break a rule (visit_rules.py, plan_rules.py) are rejected. A rejected row has
      its number in the result, sorted by all columns.
    - Athena writes the rows of each attempt below `staging`, where they are deleted after reading. Files of a killed process,
      or of a query that was being stopped, stay; a lifecycle rule of the bucket must delete them.
    """

    def __init__(
        self,
        file: WarehouseFile,
        staging: str,
        region: str,
        time_zone: str,
        *,
        capacities: Capacities | None = None,
        poll_interval: PollInterval | None = None,
    ) -> None:
        """`time_zone` is the operator's, which defines its service dates."""
        self._time_zone = time_zone
        self._capacities = capacities or Capacities()
        self._file, self._staging, self._region = file, staging.rstrip("/"), region
        self._athena = Athena(
            client("athena", region),
            region,
            workgroup=file.workgroup,
            catalog=file.catalog,
            database=file.database,
            time_limit=file.time_limit_minutes * 60,
            poll_interval=poll_interval,
        )

    @classmethod
    def of(cls, settings: Settings, operator: Operator | None = None) -> WarehouseSource:
        """The warehouse of the settings. Raises `SettingsError` if the region or the staging prefix is missing."""
        file = load_warehouse_file(settings.warehouse_file or "", settings.aws_region)
        staging = file.staging or (f"{settings.lake_dir}/staging" if settings.lake_dir else None)
        if not settings.aws_region:
            raise SettingsError("RUTER_SOURCE=warehouse needs AWS_REGION, the region of Athena")
        if staging is None:
            raise SettingsError(
                f"Results of Athena need a prefix in S3: set RUTER_LAKE, or `staging` in {settings.warehouse_file}"
            )
        operator = operator or operator_of(settings)
        return cls(file, staging, settings.aws_region, operator.time_zone, capacities=operator.capacities)

    def available_dates(self) -> None:
        """None, because a list of dates would cost a query. Reading a date without rows raises `DateAbsent`."""
        return

    def stop_visits(self, service_date: date) -> pl.DataFrame:
        return self.read_table(contract.STOP_VISITS, [service_date]).rows

    def planned_departures(self, service_date: date) -> pl.DataFrame:
        return self.read_table(contract.PLANNED_DEPARTURES, [service_date]).rows

    def weather_forecasts(self, issue_date: date) -> pl.DataFrame:
        return self.read_table(contract.WEATHER_FORECASTS, [issue_date]).rows

    def read_table(self, table: contract.Table, dates: Sequence[date]) -> Reading:
        """Reads the table with one query for each date. Raises `DateAbsent` if all dates are absent, or `BadInput`."""
        source = self._file.of(table)
        if source is None:
            return Reading(empty_frame(table))
        prefix = f"{self._staging}/{table.name}/{uuid.uuid4().hex}"
        store = open_store(prefix, self._region)
        queries = [
            Query(
                f"{table.name} on {day}",
                _unload(source.select(table, day), f"{prefix}/{day}"),
                f"{prefix}/athena/",
            )
            for day in dates
        ]
        try:
            results = self._athena.run(queries, self._file.at_once)
            readings = [
                self._apply_rules(_rows(store, table, day, result), table, result)
                for day, result in zip(dates, results, strict=True)
            ]
        except BaseError as error:
            remedy = remedy_of(error)
            if remedy is None:
                raise
            raise PermanentFailure(f"{prefix} cannot be read: {first_line(error)}. {remedy}") from error
        finally:
            _delete_files(store, prefix)
        return self._combine(table, dates, readings, results)

    def _apply_rules(self, rows: pl.DataFrame, table: contract.Table, result: QueryResult) -> Reading:
        """The valid and the rejected rows of one date. Raises `BadInput` if they do not fit the contract's types."""
        if table is contract.PLANNED_DEPARTURES:
            plan = apply_plan_rules(_numbered(rows, table), self._time_zone)
            kept = with_default_capacities(plan.kept, self._capacities)
            return Reading(kept, counts=plan.counts, rejected=plan.rejected)
        if table is not contract.STOP_VISITS:
            return Reading(_conform(rows, table, result))
        numbered = _with_rule_columns(_numbered(rows, table))
        placeable, unplaceable = split_unplaceable(numbered, self._time_zone)
        visit_result = apply_visit_rules(placeable, unplaceable)
        locations = visit_result.rejected.select(FILE, LINE)
        original_rows = numbered.join(locations, on=[FILE, LINE], how="semi").select(
            FILE, LINE, pl.struct(table.column_names).struct.json_encode().alias("row")
        )
        return Reading(
            visit_result.kept,
            counts=visit_result.counts,
            rejected=to_rejected(visit_result.rejected, original_rows),
        )

    def _combine(
        self,
        table: contract.Table,
        dates: Sequence[date],
        readings: Sequence[Reading],
        results: Sequence[QueryResult],
    ) -> Reading:
        """One reading of all dates. Raises `DateAbsent` if no date has rows."""
        absent = tuple(
            day
            for day, reading in zip(dates, readings, strict=True)
            if reading.rows.is_empty() and reading.rejected.is_empty() and not table.may_be_empty
        )
        if len(absent) == len(dates):
            span = f"on {dates[0]}" if len(dates) == 1 else f"from {min(dates)} to {max(dates)}"
            raise DateAbsent(
                f"The warehouse has no row of {table.name} {span} (Athena query {results[0].query_id}, {results[0].link})"
            )
        queries = tuple(self._query(day, result) for day, result in zip(dates, results, strict=True))
        counts: Counter[str] = Counter()
        for reading in readings:
            counts.update(reading.counts)
        return Reading(
            pl.concat([reading.rows for reading in readings]),
            absent,
            {name: number for name, number in counts.items() if number},
            queries=queries,
            rejected=pl.concat([reading.rejected for reading in readings]),
        )

    def _query(self, day: date, result: QueryResult) -> SourceQuery:
        cost = max(result.scanned_bytes, _MIN_BILLED_BYTES) * self._file.price_per_tb / 1e12
        return SourceQuery(day, result.query_id, result.link, result.scanned_bytes, result.seconds, cost)


def _unload(select: str, prefix: str) -> Callable[[int], str]:
    return lambda attempt: f"UNLOAD (\n{select}\n) TO '{prefix}/{attempt}/' WITH (format = 'PARQUET')"


def _rows(store: ObjectStore, table: contract.Table, day: date, result: QueryResult) -> pl.DataFrame:
    """Rows of the successful attempt, in the contract's columns and types. Athena writes no file if there are no rows."""
    paths = sorted(
        entry["path"] for batch in obstore.list(store, f"{day}/{result.attempt}/") for entry in batch
    )
    frames = [pl.read_parquet(io.BytesIO(bytes(obstore.get(store, path).bytes()))) for path in paths]
    if not frames:
        return empty_frame(table)
    rows = _complete(pl.concat(frames), table)
    if faults := column_faults(rows, table):
        lines = "\n".join(f"- {fault}" for fault in faults)
        raise BadInput(
            f"{table.name} does not have the contract's columns, so none of its rows was kept:\n{lines}\n{_read_by(result)}"
        )
    other = rows.filter(pl.col(table.partition).ne_missing(day))
    if other.height:
        raise BadInput(
            f"{table.name}: the query for {day} returned {other.height:,} rows of another {table.partition}, e.g. "
            f"{other[table.partition][0]}; correct its WHERE. Athena query {result.query_id}: {result.link}"
        )
    return rows


def _read_by(result: QueryResult) -> str:
    return f"Read by Athena query {result.query_id}: {result.link}"


def _conform(rows: pl.DataFrame, table: contract.Table, result: QueryResult) -> pl.DataFrame:
    try:
        return conform(rows, table)
    except BadInput as error:
        raise BadInput(f"{error}\n{_read_by(result)}") from None


def _numbered(rows: pl.DataFrame, table: contract.Table) -> pl.DataFrame:
    """The rows with row numbers, sorted by all columns, because a query result has no order."""
    return (
        rows.select(table.column_names)
        .sort(table.column_names)
        .with_row_index(LINE, 1)
        .with_columns(pl.col(LINE).cast(pl.Int64), pl.lit("Athena query").alias(FILE))
    )


def _with_rule_columns(visits: pl.DataFrame) -> pl.DataFrame:
    """Visits with the further columns of visit_rules.py."""
    none = pl.lit(None, pl.String)
    return visits.with_columns(
        pl.col("actual_departure_time").alias(UPDATED),
        pl.lit(True).alias(SERVED),
        *(none.alias(name) for name in (FAULT, COUNTS_FAULT, LOAD_FAULT)),
    )


def _complete(frame: pl.DataFrame, table: contract.Table) -> pl.DataFrame:
    """Adds missing optional columns as nulls, and converts Athena's types to the contract's.

    Timestamps, which Athena writes without a zone, become UTC, and decimals become floats. A column of integers that a query
    returned as floats or decimals (because of a null, for example) becomes integers again.
    """
    types = polars_schema(table)
    missing = [
        column.name for column in table.columns if not column.required and column.name not in frame.columns
    ]
    converted = [
        pl.col(name).dt.replace_time_zone("UTC")
        if isinstance(type_, pl.Datetime) and type_.time_zone is None
        else pl.col(name).cast(pl.Float64)
        for name, type_ in frame.schema.items()
        if (isinstance(type_, pl.Datetime) and type_.time_zone is None)
        or (isinstance(type_, pl.Decimal) and types.get(name) == pl.Float64)
    ]
    integers = [
        pl.col(name).cast(pl.Int64)
        for name, type_ in frame.schema.items()
        if (type_.is_float() or type_.is_decimal())
        and types.get(name, pl.String()).is_integer()
        and frame.select((pl.col(name).cast(pl.Float64) % 1 == 0).all()).item()
    ]
    return frame.with_columns(
        *converted, *integers, *(pl.lit(None, types[name]).alias(name) for name in missing)
    )


def _delete_files(store: ObjectStore, prefix: str) -> None:
    try:
        for batch in obstore.list(store):
            obstore.delete(store, [entry["path"] for entry in batch])
    except BaseError as error:
        log.warning(
            "Files below %s cannot be deleted, and stay until a lifecycle rule of the bucket deletes them: %s",
            prefix,
            first_line(error),
        )
