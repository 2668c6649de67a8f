"""The Iceberg catalog: opens it, creates and evolves tables, and explains its errors.

Reading and writing rows belongs in tables.py.
"""

from __future__ import annotations

import errno
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.parse import unquote

from pyiceberg.catalog import Catalog, load_catalog
from pyiceberg.exceptions import (
    CommitFailedException,
    NamespaceAlreadyExistsError,
    NoSuchNamespaceError,
    NoSuchTableError,
    TableAlreadyExistsError,
    ValidationError,
)
from pyiceberg.io import load_file_io
from pyiceberg.partitioning import PartitionField, PartitionSpec
from pyiceberg.schema import Schema
from pyiceberg.serializers import ToOutputFile
from pyiceberg.table import Table as IcebergTable
from pyiceberg.table.locations import load_location_provider
from pyiceberg.table.metadata import TableMetadata
from pyiceberg.transforms import IdentityTransform
from pyiceberg.types import (
    BooleanType,
    DateType,
    DoubleType,
    IcebergType,
    IntegerType,
    LongType,
    NestedField,
    StringType,
    TimestamptzType,
)
from sqlalchemy.exc import IntegrityError, OperationalError, SQLAlchemyError
from tenacity import Retrying, retry_if_exception_type, stop_after_attempt, wait_random

from ruter_dagster.aws.clients import endpoint_of
from ruter_dagster.aws.errors import first_line, remedy_of
from ruter_dagster.contracts.errors import PermanentFailure
from ruter_dagster.contracts.tables import DataType, Table

_TYPES: dict[DataType, IcebergType] = {
    "string": StringType(),
    "int32": IntegerType(),
    "int64": LongType(),
    "float64": DoubleType(),
    "boolean": BooleanType(),
    "date": DateType(),
    "timestamp": TimestamptzType(),
}
_PROPERTIES = {
    "write.parquet.compression-codec": "zstd",
    # The goal is a short write of departure features. A small dictionary limit skips dictionaries of numbers that hardly
    # repeat: the files are 20 % smaller and written in 70 % of the time.
    "write.parquet.dict-size-bytes": "65536",
    # Half a million departures with features become two files, which two threads write at once.
    "write.target-file-size-bytes": str(128 * 2**20),
    "write.metadata.delete-after-commit.enabled": "true",
    "write.metadata.previous-versions-max": "20",
    "commit.retry.num-retries": "20",
    "commit.retry.min-wait-ms": "50",
    "commit.retry.max-wait-ms": "3000",
    "commit.manifest-merge.enabled": "true",
    "commit.manifest.min-count-to-merge": "100",
}
GC_ENABLED = "gc.enabled"
"""Iceberg's property: with `false`, nobody may delete files of the table's snapshots."""
_NO_SPACE = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_NO_ACCESS = {errno.EACCES, errno.EPERM, errno.EROFS}

# pyiceberg warns on the first write of a date, because there is nothing to delete.
warnings.filterwarnings("ignore", message="Delete operation did not match any records")


def local_catalog(folder: Path) -> dict[str, str]:
    """Properties of a SQLite catalog and its warehouse below `folder`, which is created."""
    folder = folder.absolute()
    folder.mkdir(parents=True, exist_ok=True)
    # Several processes commit at once. A writer waits for SQLite's lock; the default would fail after five seconds.
    return {
        "type": "sql",
        "uri": sqlite_address(folder / "catalog.db", "timeout=120"),
        # A path, because pyiceberg does not decode percent-encoded characters of a file: address.
        "warehouse": str(folder / "tables"),
    }


def sqlite_address(file: Path, options: str = "") -> str:
    """SQLAlchemy's address of a SQLite file with any characters in its path.

    Only `%` and `?` are encoded: MLflow creates the folder in the address without decoding it.
    """
    path = str(file).replace("%", "%25").replace("?", "%3F")
    return f"sqlite:///{path}" + (f"?{options}" if options else "")


def glue_catalog(warehouse: str, region: str) -> dict[str, str]:
    """Properties of the Glue catalog of a region, for tables below the address `warehouse` (s3://bucket/prefix)."""
    endpoints = {"glue.endpoint": endpoint_of("glue"), "s3.endpoint": endpoint_of("s3")}
    return {
        "type": "glue",
        "warehouse": warehouse,
        "py-io-impl": "pyiceberg.io.pyarrow.PyArrowFileIO",
        "glue.region": region,
        "s3.region": region,
        **{name: endpoint for name, endpoint in endpoints.items() if endpoint},
    }


def open_catalog(properties: Mapping[str, str]) -> Catalog:
    """Opens the catalog. The first use creates the catalog's own tables; two processes may do so at once."""
    attempts = Retrying(
        retry=retry_if_exception_type(OperationalError),
        stop=stop_after_attempt(5),
        wait=wait_random(0, 0.2),
        reraise=True,
    )
    with translate_storage_errors(properties):
        return attempts(load_catalog, "ruter", **properties)


def open_table(catalog: Catalog, identifier: tuple[str, str], table: Table) -> IcebergTable:
    """The Iceberg table of a contract. Creates a missing table, and evolves one whose contract has changed.

    Raises:
        PermanentFailure: Iceberg cannot evolve the table to the contract.
    """
    try:
        stored = catalog.load_table(identifier)
    except NoSuchTableError:
        return _create(catalog, identifier, table)
    if _differs(stored.schema(), table):
        _evolve(stored, table)
    return stored


def register_table(catalog: Catalog, identifier: tuple[str, str], metadata: TableMetadata) -> None:
    """Adds a table with these metadata, which are written to a new file in the table's own folder."""
    provider = load_location_provider(metadata.location, metadata.properties)
    file = provider.new_table_metadata_file_location()
    ToOutputFile.table_metadata(metadata, load_file_io(catalog.properties, file).new_output(file))
    try:
        catalog.register_table(identifier, file)
    except NoSuchNamespaceError:
        with suppress(NamespaceAlreadyExistsError, IntegrityError):
            catalog.create_namespace(identifier[0])
        catalog.register_table(identifier, file)


def iceberg_schema(table: Table) -> Schema:
    """The contract's columns with their descriptions. Field ids count from 1 in the contract's order."""
    return Schema(
        *(
            NestedField(
                number, column.name, _TYPES[column.type], doc=column.description, required=column.required
            )
            for number, column in enumerate(table.columns, start=1)
        )
    )


@contextmanager
def translate_storage_errors(properties: Mapping[str, str]) -> Iterator[None]:
    """Turns errors of catalog, disk and AWS that a retry cannot cure into a `PermanentFailure` with the remedy."""
    try:
        yield
    except (PermanentFailure, CommitFailedException):
        raise
    except Exception as error:
        uri, warehouse = properties.get("uri"), properties.get("warehouse", "?")
        failure = _aws_failure(error, warehouse) if uri is None else _local_failure(error, uri, warehouse)
        if failure is None:
            raise
        raise failure from error


def _aws_failure(error: Exception, warehouse: str) -> PermanentFailure | None:
    if remedy := remedy_of(error):
        return PermanentFailure(
            f"The tables in {warehouse}, or their Glue catalog, cannot be used: {first_line(error)}. {remedy}"
        )
    return _missing_file(error, "Glue", warehouse) if isinstance(error, FileNotFoundError) else None


def _local_failure(error: Exception, catalog: str, warehouse: str) -> PermanentFailure | None:
    if isinstance(error, SQLAlchemyError):
        text = str(getattr(error, "orig", error))
        remedy = _disk_remedy(warehouse) if "full" in text else _catalog_remedy()
        failure = PermanentFailure(f"The table catalog {unquote(catalog)} cannot be used: {text}. {remedy}")
        return None if "locked" in text else failure
    if not isinstance(error, OSError):
        return None
    if error.errno in _NO_SPACE:
        return PermanentFailure(f"No space left to write tables: {error}. {_disk_remedy(warehouse)}")
    if error.errno in _NO_ACCESS:
        return PermanentFailure(
            f"No access to the warehouse {warehouse}: {error}. Give this user read and write access to it."
        )
    return _missing_file(error, catalog, warehouse) if isinstance(error, FileNotFoundError) else None


def _missing_file(error: Exception, catalog: str, warehouse: str) -> PermanentFailure:
    return PermanentFailure(
        f"A file of the catalog {unquote(catalog)} is missing in the warehouse {warehouse}: {error}. "
        "Restore the warehouse from a backup, or delete both and materialise the tables again."
    )


def _catalog_remedy() -> str:
    return (
        "Check that the path exists and is a readable, writable SQLite file; restore it from a backup, "
        "or delete catalog and warehouse together and materialise the tables again."
    )


def _disk_remedy(warehouse: str) -> str:
    return (
        f"Nothing was committed; the table is unchanged. Free space for {warehouse}, then run the step again."
    )


def _create(catalog: Catalog, identifier: tuple[str, str], table: Table) -> IcebergTable:
    position = table.column_names.index(table.partition) + 1
    spec = PartitionSpec(PartitionField(position, 1000, IdentityTransform(), table.partition))
    properties = {**_PROPERTIES, "comment": table.description}

    def create() -> IcebergTable:
        return catalog.create_table(
            identifier, iceberg_schema(table), partition_spec=spec, properties=properties
        )

    try:
        # Create a database only if it is missing: a job may lack the right to create one.
        try:
            return create()
        except NoSuchNamespaceError:
            with suppress(NamespaceAlreadyExistsError, IntegrityError):
                catalog.create_namespace(identifier[0])
            return create()
    except TableAlreadyExistsError:
        return catalog.load_table(identifier)


def _differs(stored: Schema, table: Table) -> bool:
    fields = {field.name: (field.field_type, field.required, field.doc) for field in stored.fields}
    columns = {
        column.name: (_TYPES[column.type], column.required, column.description) for column in table.columns
    }
    still_required = [field for field in stored.fields if field.name not in columns and field.required]
    return bool(still_required) or any(fields.get(name) != column for name, column in columns.items())


def _evolve(stored: IcebergTable, table: Table) -> None:
    """Adds optional columns, widens types, loosens requirements and updates descriptions.

    A column that the contract no longer has stays in the table as an optional column.
    """
    fields = {field.name: field for field in stored.schema().fields}
    try:
        with stored.update_schema() as update:
            for column in table.columns:
                field = fields.get(column.name)
                if field is None:
                    update.add_column(
                        column.name, _TYPES[column.type], column.description, required=column.required
                    )
                    continue
                type_ = _TYPES[column.type] if field.field_type != _TYPES[column.type] else None
                update.update_column(column.name, type_, required=column.required, doc=column.description)
            for name in fields.keys() - set(table.column_names):
                update.make_column_optional(name)
    except CommitFailedException:
        stored.refresh()
        if _differs(stored.schema(), table):
            raise
    except (ValidationError, ValueError) as error:
        raise PermanentFailure(
            f"The table {table.name} at {stored.location()} does not fit its contract, and Iceberg cannot "
            f"evolve it: {error}. Make the new column optional or give it a new name, or drop the table and "
            "materialise it again."
        ) from error
