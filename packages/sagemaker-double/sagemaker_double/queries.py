"""Runs the SQL of Athena with polars on Parquet files in S3: SELECT, and UNLOAD to Parquet."""

from __future__ import annotations

import re
import tempfile
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .settings import ACCOUNT
from .transfers import Transfers, bucket_and_key

if TYPE_CHECKING:
    import polars as pl

UNLOAD = re.compile(r"\s*UNLOAD\s*\((?P<query>.*)\)\s*TO\s*'(?P<uri>s3://[^']+)'\s*WITH\s*\((?P<options>.*)\)\s*;?\s*$", re.S | re.I)  # fmt: skip
OPTION = re.compile(r"(\w+)\s*=\s*(?:'([^']*)'|ARRAY\s*\[([^\]]*)\])", re.I)
IDENTIFIER = r'(?:"[^"]+"|\w+)'
TABLE = re.compile(rf"\b(?:FROM|JOIN)\s+({IDENTIFIER}(?:\.{IDENTIFIER}){{0,2}})", re.I)
PART_ROWS = 100_000
"""Rows of a file that UNLOAD writes; AWS writes several at once."""


class QueryFailed(Exception):
    """A query failed. The message is the reason, in Athena's wording."""


@dataclass
class Result:
    """The result of a query."""

    scanned: int
    """Bytes of the files that the query read."""
    rows: pl.DataFrame | None
    """Rows of a SELECT. None for an UNLOAD."""
    files: list[str]
    """Addresses of the files that an UNLOAD wrote."""


class Warehouse:
    """The tables. `tables` holds the prefix of the Parquet files by `database.table`. Glue knows the other tables."""

    def __init__(self, transfers: Transfers, region: str) -> None:
        self.tables: dict[str, str] = {}
        self._transfers, self._region = transfers, region

    def run(self, sql: str, database: str) -> Result:
        """Runs a query. `database` is that of names without one. Raises `QueryFailed`."""
        import polars as pl

        unload = UNLOAD.match(sql)
        query = unload["query"] if unload else sql.rstrip("; \n")
        with tempfile.TemporaryDirectory() as scratch:
            context, scanned = pl.SQLContext(), 0
            for reference in set(TABLE.findall(query)):
                name = _table_name(reference, database)
                frame, size = self._table(name, Path(scratch) / name)
                query = re.sub(
                    rf"(\b(?:FROM|JOIN)\s+){re.escape(reference)}(?![\w.])", rf'\1"{name}"', query, flags=re.I
                )
                context.register(name, frame)
                scanned += size
            try:
                rows = context.execute(query).collect()
            except pl.exceptions.PolarsError as error:
                raise QueryFailed(f"SYNTAX_ERROR: {str(error).splitlines()[0]}") from error
            if not unload:
                return Result(scanned, rows, [])
            return Result(scanned, None, self._unload(rows, unload["uri"], unload["options"]))

    def put(self, bucket: str, key: str, text: str) -> None:
        self._transfers.s3.put_object(Bucket=bucket, Key=key, Body=text.encode())

    def _table(self, name: str, folder: Path) -> tuple[pl.LazyFrame, int]:
        """A table's rows and the bytes of its files, which are copied to `folder`."""
        import polars as pl

        uri = self.tables.get(name) or self._location(name)
        bucket, prefix = bucket_and_key(uri)
        prefix = prefix.rstrip("/") + "/" if prefix else ""
        keys = [key for key in self._transfers.keys(bucket, prefix) if not key.endswith("/")]
        if not keys:
            raise QueryFailed(f"HIVE_CANNOT_OPEN_SPLIT: no files of {name} at {uri}")
        self._transfers.download(f"s3://{bucket}/{prefix}", folder)
        files = [folder / key.removeprefix(prefix) for key in keys]
        frame = pl.scan_parquet(files, hive_partitioning="=" in keys[0], try_parse_hive_dates=False)
        return frame, sum(file.stat().st_size for file in files)

    def _location(self, name: str) -> str:
        """The address of a table's files, as Glue knows it."""
        from moto.core.exceptions import JsonRESTError
        from moto.glue.models import glue_backends

        database, _, table = name.partition(".")
        try:
            found = glue_backends[ACCOUNT][self._region].get_table(database, table).as_dict()
        except JsonRESTError:
            raise QueryFailed(
                f"TABLE_NOT_FOUND: line 1:1: Table 'awsdatacatalog.{name}' does not exist"
            ) from None
        return str(found["StorageDescriptor"]["Location"])

    def _unload(self, rows: pl.DataFrame, uri: str, options_text: str) -> list[str]:
        """Writes the rows, and returns the addresses of the files. Their names have no ending, as on AWS. No rows make no file."""
        options = {key.lower(): value or columns for key, value, columns in OPTION.findall(options_text)}
        if options.get("format", "").upper() != "PARQUET":
            raise QueryFailed(
                f"NOT_SUPPORTED: the double unloads PARQUET only, not {options.get('format')!r}"
            )
        bucket, prefix = bucket_and_key(uri.rstrip("/") + "/")
        if self._transfers.keys(bucket, prefix):
            raise QueryFailed(f"HIVE_PATH_ALREADY_EXISTS: Target directory for table already exists: {uri}")
        columns = re.findall(r"'([^']+)'", options.get("partitioned_by", ""))
        parts: dict[Any, pl.DataFrame] = rows.partition_by(columns, as_dict=True) if columns else {(): rows}
        written = []
        for values, part in parts.items():
            folder = "".join(f"{column}={value}/" for column, value in zip(columns, values, strict=True))
            for piece in part.drop(columns).iter_slices(PART_ROWS) if part.height else ():
                key = f"{prefix}{folder}20250101_000000_00000_double_{uuid.uuid4()}"
                with tempfile.NamedTemporaryFile() as file:
                    piece.write_parquet(file.name, compression="gzip")
                    self._transfers.s3.upload_file(file.name, bucket, key)
                written.append(f"s3://{bucket}/{key}")
        return written


def _table_name(reference: str, database: str) -> str:
    """`database.table` of a table in a query. Athena's names are in small letters."""
    parts = [part.strip('"').lower() for part in re.findall(IDENTIFIER, reference)][-2:]
    return ".".join(parts if len(parts) == 2 else [database.lower(), *parts])
