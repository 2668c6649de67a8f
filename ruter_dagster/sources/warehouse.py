"""Raw tables from a warehouse behind Athena: one UNLOAD of Parquet for each table and date, read, checked and cleared away.

What the queries are stands in the warehouse file (warehouse_file.py); how they are run in athena.py.
"""

from __future__ import annotations

import io
import logging
import uuid
from collections.abc import Callable, Sequence
from datetime import date

import obstore
import polars as pl
from obstore.exceptions import BaseError
from obstore.store import ObjectStore

from ruter_dagster.aws.clients import client
from ruter_dagster.aws.faults import first_line, remedy_of
from ruter_dagster.aws.object_store import open_store
from ruter_dagster.contracts import tables as contract
from ruter_dagster.contracts.errors import BadInput, PermanentFailure
from ruter_dagster.contracts.frames import conform, empty_frame, polars_schema
from ruter_dagster.settings import Settings, SettingsError
from ruter_dagster.sources.athena import Athena, Executed, Pace, Query
from ruter_dagster.sources.base import DateAbsent, Reading, SourceQuery
from ruter_dagster.sources.warehouse_file import WarehouseFile, load_warehouse_file

log = logging.getLogger("ruter_dagster.sources")
_LEAST_BYTES = 10_000_000
"""What Athena charges for at least, a query."""


class WarehouseSource:
    """Answers any date that the queries have rows of; timestamps without a zone are UTC.

    - A query gives the columns of its raw table's contract by their names; optional columns may be left out.
    - Its rows lie below `staging` until they are read, each attempt's apart. What stays there when the process is killed,
      or a query writes while it is being stopped, is nobody's: a lifecycle rule of the bucket clears it.
    """

    def __init__(self, file: WarehouseFile, staging: str, region: str, *, pace: Pace | None = None) -> None:
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
    def of(cls, settings: Settings) -> WarehouseSource:
        """The warehouse that the settings name. Raises `SettingsError` where region or staging place is unknown."""
        file = load_warehouse_file(settings.warehouse_file or "", settings.aws_region)
        staging = file.staging or (f"{settings.lake_dir}/staging" if settings.lake_dir else None)
        if not settings.aws_region:
            raise SettingsError("RUTER_SOURCE=warehouse needs AWS_REGION, where Athena answers")
        if staging is None:
            raise SettingsError(
                f"Results of Athena need a place: set RUTER_LAKE, or `staging` in {settings.warehouse_file}"
            )
        return cls(file, staging, settings.aws_region)

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
            frames = [_rows(store, table, day, run) for day, run in zip(dates, executed, strict=True)]
        except BaseError as error:
            remedy = remedy_of(error)
            if remedy is None:
                raise
            raise PermanentFailure(f"{place} cannot be read: {first_line(error)}. {remedy}") from error
        finally:
            _clear(store, place)
        return self._reading(table, dates, frames, executed)

    def _reading(
        self,
        table: contract.Table,
        dates: Sequence[date],
        frames: Sequence[pl.DataFrame],
        executed: Sequence[Executed],
    ) -> Reading:
        absent = tuple(
            day
            for day, frame in zip(dates, frames, strict=True)
            if frame.is_empty() and not table.may_be_empty
        )
        if len(absent) == len(dates):
            asked = f"on {dates[0]}" if len(dates) == 1 else f"from {min(dates)} to {max(dates)}"
            raise DateAbsent(
                f"The warehouse has no row of {table.name} {asked} (Athena query {executed[0].query_id}, {executed[0].link})"
            )
        queries = tuple(self._query(day, run) for day, run in zip(dates, executed, strict=True))
        return Reading(pl.concat(frames), absent, queries=queries)

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
    try:
        rows = conform(_completed(pl.concat(frames), table), table)
    except BadInput as fault:
        raise BadInput(f"{fault}\nRead by Athena query {run.query_id}: {run.link}") from None
    other = rows.filter(pl.col(table.partition).ne_missing(day))
    if other.height:
        raise BadInput(
            f"{table.name}: the query for {day} gave {other.height:,} rows of another {table.partition}, e.g. "
            f"{other[table.partition][0]}; correct its WHERE. Athena query {run.query_id}: {run.link}"
        )
    return rows


def _completed(frame: pl.DataFrame, table: contract.Table) -> pl.DataFrame:
    """Optional columns that were left out as nulls; timestamps, which Athena writes without a zone, as UTC; decimals as floats."""
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
    return frame.with_columns(*changed, *(pl.lit(None, wanted[name]).alias(name) for name in absent))


def _clear(store: ObjectStore, place: str) -> None:
    try:
        for batch in obstore.list(store):
            obstore.delete(store, [entry["path"] for entry in batch])
    except BaseError as error:
        log.warning(
            "%s cannot be cleared, and is left to the bucket's lifecycle rule: %s", place, first_line(error)
        )
