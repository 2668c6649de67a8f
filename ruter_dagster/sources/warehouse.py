"""Raw tables from a warehouse behind Athena: one UNLOAD of Parquet for each table and date, read, checked and cleared away.

What the queries are stands in the warehouse file (warehouse_file.py); how they are run in athena.py.
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
from ruter_dagster.sources.athena import Athena, Executed, Pace, Query
from ruter_dagster.sources.base import DateAbsent, Reading, SourceQuery
from ruter_dagster.sources.default_capacities import with_default_capacities
from ruter_dagster.sources.plan_rules import judge_plan
from ruter_dagster.sources.visit_rules import (
    COUNTS_FAULT,
    FAULT,
    FILE,
    LINE,
    LOAD_FAULT,
    SEEN,
    UPDATED,
    judge_visits,
    split_by_place,
    to_rejected,
)
from ruter_dagster.sources.warehouse_file import WarehouseFile, load_warehouse_file

log = logging.getLogger("ruter_dagster.sources")
_LEAST_BYTES = 10_000_000
"""What Athena charges for at least, a query."""


class WarehouseSource:
    """Answers any date that the queries have rows of; timestamps without a zone are UTC.

    - A query gives the columns of its raw table's contract by their names; optional columns may be left out.
    - Rows of stop visits and of planned departures that break a rule (visit_rules.py, plan_rules.py) are set aside, with the
      query and their number in its result, sorted by its columns.
    - Its rows lie below `staging` until they are read, each attempt's apart. What stays there when the process is killed,
      or a query writes while it is being stopped, is nobody's: a lifecycle rule of the bucket clears it.
    """

    def __init__(
        self,
        file: WarehouseFile,
        staging: str,
        region: str,
        time_zone: str,
        *,
        capacities: Capacities | None = None,
        pace: Pace | None = None,
    ) -> None:
        """`time_zone` is the operator's: the one of its service dates."""
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
            pace=pace,
        )

    @classmethod
    def of(cls, settings: Settings, operator: Operator | None = None) -> WarehouseSource:
        """The warehouse that the settings name. Raises `SettingsError` where region or staging place is unknown."""
        file = load_warehouse_file(settings.warehouse_file or "", settings.aws_region)
        staging = file.staging or (f"{settings.lake_dir}/staging" if settings.lake_dir else None)
        if not settings.aws_region:
            raise SettingsError("RUTER_SOURCE=warehouse needs AWS_REGION, where Athena answers")
        if staging is None:
            raise SettingsError(
                f"Results of Athena need a place: set RUTER_LAKE, or `staging` in {settings.warehouse_file}"
            )
        operator = operator or operator_of(settings)
        return cls(file, staging, settings.aws_region, operator.time_zone, capacities=operator.capacities)

    def available_dates(self) -> None:
        """None: to ask would cost a query. A date without rows is told when it is read."""
        return

    def stop_visits(self, service_date: date) -> pl.DataFrame:
        return self.read_table(contract.STOP_VISITS, [service_date]).rows

    def planned_departures(self, service_date: date) -> pl.DataFrame:
        return self.read_table(contract.PLANNED_DEPARTURES, [service_date]).rows

    def weather_forecasts(self, issue_date: date) -> pl.DataFrame:
        return self.read_table(contract.WEATHER_FORECASTS, [issue_date]).rows

    def read_table(self, table: contract.Table, dates: Sequence[date]) -> Reading:
        """The table's rows of `dates`, a query each. Raises `DateAbsent` where none has rows, or `BadInput`."""
        source = self._file.of(table)
        if source is None:
            return Reading(empty_frame(table))
        place = f"{self._staging}/{table.name}/{uuid.uuid4().hex}"
        store = open_store(place, self._region)
        queries = [
            Query(
                f"{table.name} on {day}",
                _unload(source.select(table, day), f"{place}/{day}"),
                f"{place}/athena/",
            )
            for day in dates
        ]
        try:
            executed = self._athena.run(queries, self._file.at_once)
            read = [
                self._judged(_rows(store, table, day, run), table, run)
                for day, run in zip(dates, executed, strict=True)
            ]
        except BaseError as error:
            remedy = remedy_of(error)
            if remedy is None:
                raise
            raise PermanentFailure(f"{place} cannot be read: {first_line(error)}. {remedy}") from error
        finally:
            _clear(store, place)
        return self._reading(table, dates, read, executed)

    def _judged(self, rows: pl.DataFrame, table: contract.Table, run: Executed) -> Reading:
        """The rows of one date, visits and plan judged. Raises `BadInput` where they do not fit the contract's types."""
        if table is contract.PLANNED_DEPARTURES:
            plan = judge_plan(_numbered(rows, table), self._time_zone)
            kept = with_default_capacities(plan.kept, self._capacities)
            return Reading(kept, counts=plan.counts, rejected=plan.rejected)
        if table is not contract.STOP_VISITS:
            return Reading(_conformed(rows, table, run))
        numbered = _with_rules_columns(_numbered(rows, table))
        placed, lost = split_by_place(numbered, self._time_zone)
        judged = judge_visits(placed, lost)
        places = judged.rejected.select(FILE, LINE)
        as_read = numbered.join(places, on=[FILE, LINE], how="semi").select(
            FILE, LINE, pl.struct(table.column_names).struct.json_encode().alias("row")
        )
        return Reading(judged.kept, counts=judged.counts, rejected=to_rejected(judged.rejected, as_read))

    def _reading(
        self,
        table: contract.Table,
        dates: Sequence[date],
        read: Sequence[Reading],
        executed: Sequence[Executed],
    ) -> Reading:
        absent = tuple(
            day
            for day, one in zip(dates, read, strict=True)
            if one.rows.is_empty() and one.rejected.is_empty() and not table.may_be_empty
        )
        if len(absent) == len(dates):
            asked = f"on {dates[0]}" if len(dates) == 1 else f"from {min(dates)} to {max(dates)}"
            raise DateAbsent(
                f"The warehouse has no row of {table.name} {asked} (Athena query {executed[0].query_id}, {executed[0].link})"
            )
        queries = tuple(self._query(day, run) for day, run in zip(dates, executed, strict=True))
        counts: Counter[str] = Counter()
        for one in read:
            counts.update(one.counts)
        return Reading(
            pl.concat([one.rows for one in read]),
            absent,
            {name: number for name, number in counts.items() if number},
            queries=queries,
            rejected=pl.concat([one.rejected for one in read]),
        )

    def _query(self, day: date, run: Executed) -> SourceQuery:
        cost = max(run.scanned_bytes, _LEAST_BYTES) * self._file.price_per_tb / 1e12
        return SourceQuery(day, run.query_id, run.link, run.scanned_bytes, run.seconds, cost)


def _unload(select: str, place: str) -> Callable[[int], str]:
    return lambda attempt: f"UNLOAD (\n{select}\n) TO '{place}/{attempt}/' WITH (format = 'PARQUET')"


def _rows(store: ObjectStore, table: contract.Table, day: date, run: Executed) -> pl.DataFrame:
    """What the attempt that succeeded left, in the contract's columns and types; of no rows Athena leaves no file."""
    paths = sorted(entry["path"] for batch in obstore.list(store, f"{day}/{run.attempt}/") for entry in batch)
    frames = [pl.read_parquet(io.BytesIO(bytes(obstore.get(store, path).bytes()))) for path in paths]
    if not frames:
        return empty_frame(table)
    rows = _completed(pl.concat(frames), table)
    if faults := column_faults(rows, table):
        lines = "\n".join(f"- {fault}" for fault in faults)
        raise BadInput(
            f"{table.name} does not have the contract's columns; nothing of it was kept:\n{lines}\n{_read_by(run)}"
        )
    other = rows.filter(pl.col(table.partition).ne_missing(day))
    if other.height:
        raise BadInput(
            f"{table.name}: the query for {day} gave {other.height:,} rows of another {table.partition}, e.g. "
            f"{other[table.partition][0]}; correct its WHERE. Athena query {run.query_id}: {run.link}"
        )
    return rows


def _read_by(run: Executed) -> str:
    return f"Read by Athena query {run.query_id}: {run.link}"


def _conformed(rows: pl.DataFrame, table: contract.Table, run: Executed) -> pl.DataFrame:
    try:
        return conform(rows, table)
    except BadInput as fault:
        raise BadInput(f"{fault}\n{_read_by(run)}") from None


def _numbered(rows: pl.DataFrame, table: contract.Table) -> pl.DataFrame:
    """The rows in the order of their trips, which a query's result has not, with their number in it."""
    return (
        rows.select(table.column_names)
        .sort(table.column_names)
        .with_row_index(LINE, 1)
        .with_columns(pl.col(LINE).cast(pl.Int64), pl.lit("Athena query").alias(FILE))
    )


def _with_rules_columns(visits: pl.DataFrame) -> pl.DataFrame:
    """Visits with what their rules need to know."""
    none = pl.lit(None, pl.String)
    return visits.with_columns(
        pl.col("actual_departure_time").alias(UPDATED),
        pl.lit(True).alias(SEEN),
        *(none.alias(name) for name in (FAULT, COUNTS_FAULT, LOAD_FAULT)),
    )


def _completed(frame: pl.DataFrame, table: contract.Table) -> pl.DataFrame:
    """Optional columns that were left out as nulls; timestamps, which Athena writes without a zone, as UTC; decimals as floats.

    Whole numbers that a query made floats or decimals of, for a null among them perhaps, are whole numbers again.
    """
    wanted = polars_schema(table)
    absent = [
        column.name for column in table.columns if not column.required and column.name not in frame.columns
    ]
    changed = [
        pl.col(name).dt.replace_time_zone("UTC")
        if isinstance(type_, pl.Datetime) and type_.time_zone is None
        else pl.col(name).cast(pl.Float64)
        for name, type_ in frame.schema.items()
        if (isinstance(type_, pl.Datetime) and type_.time_zone is None)
        or (isinstance(type_, pl.Decimal) and wanted.get(name) == pl.Float64)
    ]
    whole = [
        pl.col(name).cast(pl.Int64)
        for name, type_ in frame.schema.items()
        if (type_.is_float() or type_.is_decimal())
        and wanted.get(name, pl.String()).is_integer()
        and frame.select((pl.col(name).cast(pl.Float64) % 1 == 0).all()).item()
    ]
    return frame.with_columns(*changed, *whole, *(pl.lit(None, wanted[name]).alias(name) for name in absent))


def _clear(store: ObjectStore, place: str) -> None:
    try:
        for batch in obstore.list(store):
            obstore.delete(store, [entry["path"] for entry in batch])
    except BaseError as error:
        log.warning(
            "%s cannot be cleared, and is left to the bucket's lifecycle rule: %s", place, first_line(error)
        )
