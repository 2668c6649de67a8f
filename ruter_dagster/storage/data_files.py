"""Rows to Parquet files of one date each, in a table's own folder. What becomes of the files belongs in tables.py."""

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

_TARGET_SIZE = TableProperties.WRITE_TARGET_FILE_SIZE_BYTES


def write_data_files(loaded: IcebergTable, rows: pl.DataFrame) -> Iterator[DataFile]:
    """Writes rows, which lie in the order of the table's partition column, and yields the files for a commit to take in.

    pyiceberg's own `append` copies all rows twice to tell the dates apart, which takes as long as to write them.
    """
    (field,) = loaded.spec().fields
    arrow = _arrow(loaded, rows)
    target = loaded.properties.get(_TARGET_SIZE, TableProperties.WRITE_TARGET_FILE_SIZE_BYTES_DEFAULT)
    schema = pyarrow_to_schema(arrow.schema, name_mapping=loaded.schema().name_mapping)
    written, numbers = uuid4(), count()
    tasks = (
        WriteTask(
            write_uuid=written,
            task_id=next(numbers),
            schema=schema,
            record_batches=batches,
            partition_key=PartitionKey([PartitionFieldValue(field, day)], loaded.spec(), loaded.schema()),
        )
        for day, start, length in _runs(rows[field.name])
        for batches in bin_pack_arrow_table(arrow.slice(start, length), int(target))
    )
    yield from write_file(io=loaded.io, table_metadata=loaded.metadata, tasks=tasks)


def _runs(days: pl.Series) -> Iterator[tuple[date, int, int]]:
    """Each date, with its first row and how many it has."""
    start = 0
    for length, day in days.rle().struct.unnest().iter_rows():
        yield day, start, length
        start += length


def _arrow(loaded: IcebergTable, frame: pl.DataFrame) -> pa.Table:
    """The frame with the nullability that Iceberg insists on; its columns are not copied."""
    required = {field.name for field in loaded.schema().fields if field.required}
    arrow = frame.to_arrow()
    return arrow.cast(pa.schema([field.with_nullable(field.name not in required) for field in arrow.schema]))
