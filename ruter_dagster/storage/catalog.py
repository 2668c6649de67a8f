"""The Iceberg catalog: opening it, making a contract's table in it and evolving that table, and its faults in plain words.

What is written to tables, or read from them, belongs in tables.py.
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
from pyiceberg.partitioning import PartitionField, PartitionSpec
from pyiceberg.schema import Schema
from pyiceberg.table import Table as IcebergTable
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
    # Numbers that hardly repeat are not worth a dictionary: 20 % smaller files in 70 % of the time. A date of half a million
    # departures with their features is written as two files, by two threads.
    "write.parquet.dict-size-bytes": "65536",
    "write.target-file-size-bytes": str(128 * 2**20),
    "write.metadata.delete-after-commit.enabled": "true",
    "write.metadata.previous-versions-max": "20",
    "commit.retry.num-retries": "20",
    "commit.retry.min-wait-ms": "50",
    "commit.retry.max-wait-ms": "3000",
    "commit.manifest-merge.enabled": "true",
    "commit.manifest.min-count-to-merge": "100",
}
_NO_SPACE = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_NO_ACCESS = {errno.EACCES, errno.EPERM, errno.EROFS}

# A first write of a date deletes nothing: that is no news.
warnings.filterwarnings("ignore", message="Delete operation did not match any records")


def local_catalog(folder: Path) -> dict[str, str]:
    """Properties of a SQLite catalog and its warehouse below `folder`, which is made."""
    folder = folder.absolute()
    folder.mkdir(parents=True, exist_ok=True)
    # Several processes commit at once: a writer waits for SQLite's lock instead of failing after five seconds.
    return {
        "type": "sql",
        "uri": sqlite_address(folder / "catalog.db", "timeout=120"),
        # A path, not a file: address: pyiceberg takes what is percent-encoded in one for the folder's name.
        "warehouse": str(folder / "tables"),
    }


def sqlite_address(file: Path, options: str = "") -> str:
    """SQLAlchemy's address of a SQLite file, whatever characters its path has.

    Only what would be misread is encoded: MLflow makes the folder that it reads in the address as it stands.
    """
    path = str(file).replace("%", "%25").replace("?", "%3F")
    return f"sqlite:///{path}" + (f"?{options}" if options else "")


def glue_catalog(warehouse: str, region: str) -> dict[str, str]:
    """Properties of the Glue catalog of a region, for tables below the address `warehouse` (s3://bucket/prefix)."""
    places = {"glue.endpoint": endpoint_of("glue"), "s3.endpoint": endpoint_of("s3")}
    return {
        "type": "glue",
        "warehouse": warehouse,
        "py-io-impl": "pyiceberg.io.pyarrow.PyArrowFileIO",
        "glue.region": region,
        "s3.region": region,
        **{name: place for name, place in places.items() if place},
    }


def open_catalog(properties: Mapping[str, str]) -> Catalog:
    """Open the catalog, making its own tables on first use; two processes may do so at once."""
    attempts = Retrying(
        retry=retry_if_exception_type(OperationalError),
        stop=stop_after_attempt(5),
        wait=wait_random(0, 0.2),
        reraise=True,
    )
    with storage_faults(properties):
        return attempts(load_catalog, "ruter", **properties)


def open_table(catalog: Catalog, identifier: tuple[str, str], table: Table) -> IcebergTable:
    """The Iceberg table of a contract: made if it is not there, evolved if the contract has changed compatibly.

    Raises:
        PermanentFailure: the contract differs in a way that Iceberg cannot evolve to.
    """
    try:
        found = catalog.load_table(identifier)
    except NoSuchTableError:
        return _create(catalog, identifier, table)
    if _differences(found.schema(), table):
        _evolve(found, table)
    return found


def iceberg_schema(table: Table) -> Schema:
    """The contract's columns with their descriptions; field ids count from 1 in the contract's order."""
    return Schema(
        *(
            NestedField(
                number, column.name, _TYPES[column.type], doc=column.description, required=column.required
            )
            for number, column in enumerate(table.columns, start=1)
        )
    )


@contextmanager
def storage_faults(properties: Mapping[str, str]) -> Iterator[None]:
    """Turns faults of catalog, disk and AWS that a retry cannot cure into a `PermanentFailure` that names the place."""
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
    return _lost_file(error, "Glue", warehouse) if isinstance(error, FileNotFoundError) else None


def _local_failure(error: Exception, catalog: str, warehouse: str) -> PermanentFailure | None:
    if isinstance(error, SQLAlchemyError):
        text = str(getattr(error, "orig", error))
        remedy = _disk_remedy(warehouse) if "full" in text else _catalog_remedy()
        wrong = PermanentFailure(f"The table catalog {unquote(catalog)} cannot be used: {text}. {remedy}")
        return None if "locked" in text else wrong
    if not isinstance(error, OSError):
        return None
    if error.errno in _NO_SPACE:
        return PermanentFailure(f"No room to write tables: {error}. {_disk_remedy(warehouse)}")
    if error.errno in _NO_ACCESS:
        return PermanentFailure(
            f"No access to the warehouse {warehouse}: {error}. Give this user read and write access to it."
        )
    return _lost_file(error, catalog, warehouse) if isinstance(error, FileNotFoundError) else None


def _lost_file(error: Exception, catalog: str, warehouse: str) -> PermanentFailure:
    return PermanentFailure(
        f"The catalog {unquote(catalog)} names a file that the warehouse {warehouse} does not have: {error}. "
        "Restore the warehouse from a backup, or remove both and materialise the tables again."
    )


def _catalog_remedy() -> str:
    return (
        "Check that the path exists and is a readable, writable SQLite file; restore it from a backup, "
        "or remove catalog and warehouse together and materialise the tables again."
    )


def _disk_remedy(warehouse: str) -> str:
    return f"Nothing was committed and the former snapshot stands. Free space for {warehouse}, then run the step again."


def _create(catalog: Catalog, identifier: tuple[str, str], table: Table) -> IcebergTable:
    position = table.column_names.index(table.partition) + 1
    spec = PartitionSpec(PartitionField(position, 1000, IdentityTransform(), table.partition))
    properties = {**_PROPERTIES, "comment": table.description}

    def create() -> IcebergTable:
        return catalog.create_table(
            identifier, iceberg_schema(table), partition_spec=spec, properties=properties
        )

    try:
        # A job needs no right to make databases where someone else makes them.
        try:
            return create()
        except NoSuchNamespaceError:
            with suppress(NamespaceAlreadyExistsError, IntegrityError):
                catalog.create_namespace(identifier[0])
            return create()
    except TableAlreadyExistsError:
        return catalog.load_table(identifier)


def _differences(found: Schema, table: Table) -> bool:
    fields = {field.name: (field.field_type, field.required, field.doc) for field in found.fields}
    wanted = {
        column.name: (_TYPES[column.type], column.required, column.description) for column in table.columns
    }
    left_over = [field for field in found.fields if field.name not in wanted and field.required]
    return bool(left_over) or any(fields.get(name) != definition for name, definition in wanted.items())


def _evolve(found: IcebergTable, table: Table) -> None:
    """Add optional columns, widen types, loosen requirements, renew descriptions; a column gone from the contract stays, empty."""
    fields = {field.name: field for field in found.schema().fields}
    try:
        with found.update_schema() as update:
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
        found.refresh()
        if _differences(found.schema(), table):
            raise
    except (ValidationError, ValueError) as error:
        raise PermanentFailure(
            f"The table {table.name} at {found.location()} does not fit its contract any more, and Iceberg cannot "
            f"evolve it: {error}. Make the new column optional or give it a new name, or drop the table and "
            "materialise it again."
        ) from error
