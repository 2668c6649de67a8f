"""Writes rows as Parquet files, each of one date, into a table's folder. Committing the files belongs in tables.py."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date
from itertools import count
from uuid import uuid4

import polars as pl
import pyarrow as pa
from pyiceberg.manifest import DataFile
from pyiceberg.partitioning import PartitionFieldValue, PartitionKey
from pyiceberg.table import Table as IcebergTable
from pyiceberg.table import TableProperties

from ruter_dagster.compat.iceberg import WriteTask, bin_pack_arrow_table, pyarrow_to_schema, write_file

_MAX_ROWS = 1_000_000
"""Rows of a file. The files of a date with more rows are written at the same time."""
_TARGET_SIZE = TableProperties.WRITE_TARGET_FILE_SIZE_BYTES


def write_data_files(loaded: IcebergTable, rows: pl.DataFrame) -> Iterator[DataFile]:
    """Writes rows, which must be sorted by the table's partition column, and yields the files to commit.

    The goal is a short write: pyiceberg's own `append` copies all rows twice to split them by date, which takes as long as
    writing them.
    """
    (field,) = loaded.spec().fields
    arrow = _arrow(loaded, rows)
    target = loaded.properties.get(_TARGET_SIZE, TableProperties.WRITE_TARGET_FILE_SIZE_BYTES_DEFAULT)
    schema = pyarrow_to_schema(arrow.schema, name_mapping=loaded.schema().name_mapping)
    write_id, numbers = uuid4(), count()
    tasks = (
        WriteTask(
            write_uuid=write_id,
            task_id=next(numbers),
            schema=schema,
            record_batches=batches,
            partition_key=PartitionKey([PartitionFieldValue(field, day)], loaded.spec(), loaded.schema()),
        )
        for day, start, length in _date_slices(rows[field.name])
        for batches in bin_pack_arrow_table(arrow.slice(start, length), int(target))
    )
    yield from write_file(io=loaded.io, table_metadata=loaded.metadata, tasks=tasks)


def _date_slices(days: pl.Series) -> Iterator[tuple[date, int, int]]:
    """Slices of one date each: the date, the index of the first row, and the number of rows, at most `_MAX_ROWS`."""
    first = 0
    for length, day in days.rle().struct.unnest().iter_rows():
        for start in range(first, first + length, _MAX_ROWS):
            yield day, start, min(_MAX_ROWS, first + length - start)
        first += length


def _arrow(loaded: IcebergTable, frame: pl.DataFrame) -> pa.Table:
    """The frame with the nullability that Iceberg requires. Columns are not copied."""
    required = {field.name for field in loaded.schema().fields if field.required}
    arrow = frame.to_arrow()
    return arrow.cast(pa.schema([field.with_nullable(field.name not in required) for field in arrow.schema]))
