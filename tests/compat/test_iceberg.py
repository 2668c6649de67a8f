"""What we rely on when tables are written."""

from __future__ import annotations

from datetime import date
from pathlib import Path
from uuid import uuid4

import pyarrow as pa
import pytest
from pyiceberg import table as iceberg_table
from pyiceberg.catalog import load_catalog
from pyiceberg.manifest import DataFile
from pyiceberg.partitioning import PartitionField, PartitionFieldValue, PartitionKey, PartitionSpec
from pyiceberg.schema import Schema
from pyiceberg.table import Table, Transaction
from pyiceberg.transforms import IdentityTransform
from pyiceberg.types import DateType, LongType, NestedField

from ruter_dagster.compat.iceberg import (
    CachedTransaction,
    WriteTask,
    bin_pack_arrow_table,
    pyarrow_to_schema,
    write_file,
)

DAY = date(2026, 11, 20)
ROWS = pa.table(
    {"day": [DAY] * 3, "load": [1, 2, 3]}, schema=pa.schema({"day": pa.date32(), "load": pa.int64()})
)


@pytest.fixture
def table(tmp_path: Path) -> Table:
    catalog = load_catalog(
        "test", type="sql", uri=f"sqlite:///{tmp_path}/catalog.db", warehouse=str(tmp_path / "tables")
    )
    catalog.create_namespace("raw")
    schema = Schema(NestedField(1, "day", DateType()), NestedField(2, "load", LongType()))
    spec = PartitionSpec(PartitionField(1, 1000, IdentityTransform(), "day"))
    return catalog.create_table("raw.loads", schema, partition_spec=spec)


def write_rows(table: Table) -> list[DataFile]:
    (field,) = table.spec().fields
    tasks = (
        WriteTask(
            write_uuid=uuid4(),
            task_id=number,
            schema=pyarrow_to_schema(ROWS.schema, name_mapping=table.schema().name_mapping),
            record_batches=batches,
            partition_key=PartitionKey([PartitionFieldValue(field, DAY)], table.spec(), table.schema()),
        )
        for number, batches in enumerate(bin_pack_arrow_table(ROWS, 2**20))
    )
    return list(write_file(io=table.io, table_metadata=table.metadata, tasks=tasks))


def commit(table: Table, transaction: Transaction, files: list[DataFile]) -> None:
    with transaction, transaction.update_snapshot().merge_append() as append:
        for file in files:
            append.append_data_file(file)
        transaction.set_properties({"version": "1"})


def test_written_files_know_their_rows_and_partition(table: Table) -> None:
    (file,) = write_rows(table)
    assert file.record_count == 3
    assert "day=2026-11-20" in file.file_path


def test_cached_transaction_commits_files_and_properties(table: Table) -> None:
    commit(table, CachedTransaction(table), write_rows(table))
    assert table.scan().to_arrow()["load"].to_pylist() == [1, 2, 3]
    assert table.properties["version"] == "1"


def test_cached_metadata_equals_that_of_pyiceberg(table: Table) -> None:
    cached, plain = CachedTransaction(table), Transaction(table)
    for number in ("1", "2"):
        for transaction in (cached, plain):
            transaction.set_properties({"version": number})
        assert cached.table_metadata.properties == plain.table_metadata.properties


def test_metadata_is_computed_once_per_update(table: Table, monkeypatch: pytest.MonkeyPatch) -> None:
    computed: list[int] = []
    compute = iceberg_table.update_table_metadata

    def counting(metadata: object, updates: tuple[object, ...], *others: object) -> object:
        computed.append(len(updates))
        return compute(metadata, updates, *others)  # pyright: ignore[reportArgumentType]

    monkeypatch.setattr(iceberg_table, "update_table_metadata", counting)
    transaction = CachedTransaction(table)
    transaction.set_properties({"version": "1"})
    assert transaction.table_metadata.properties["version"] == "1"
    assert computed
    computed.clear()
    for _ in range(3):
        assert transaction.table_metadata.properties["version"] == "1"
    assert computed == []
    transaction.set_properties({"version": "2"})
    assert transaction.table_metadata.properties["version"] == "2"
