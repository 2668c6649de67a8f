"""Digests of the rows of TIDES files by service date. A digest changes if any row of its date changes.

They stay in memory as long as the process runs, by the version of each file.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from itertools import chain

import polars as pl

from ruter_dagster.contracts.errors import BadInput
from ruter_dagster.sources.tides_cells import filled_dates
from ruter_dagster.sources.tides_files import TableFile
from ruter_dagster.sources.tides_scanner import TableScanner, readable_errors
from ruter_dagster.sources.tides_schema import TidesTable

MAX_CACHED_DIGESTS = 100
"""Number of files whose digests a process keeps."""
Digests = dict[date | None, str]
_CACHE: dict[tuple[str, str, str], Digests] = {}


def row_digests(scanner: TableScanner, table: TidesTable) -> Digests:
    """Digest of each date's rows in files without a date of their own. The order of rows does not matter.

    A table without dates has one digest, under None. A file that cannot be read counts for every date, also under None.
    """
    files = [file for file in scanner.folder.files(table) if file.service_date is None]
    digests = [_cached_digests(scanner, file, table) for file in files]
    return {day: " ".join(part.get(day, "") for part in digests) for day in dict.fromkeys(chain(*digests))}


def _cached_digests(scanner: TableScanner, file: TableFile, table: TidesTable) -> Digests:
    key = (file.url, file.version, table.name)
    if key not in _CACHE:
        while len(_CACHE) >= MAX_CACHED_DIGESTS:
            _CACHE.pop(next(iter(_CACHE)))
        _CACHE[key] = _file_digests(scanner, file, table)
    return _CACHE[key]


def _file_digests(scanner: TableScanner, file: TableFile, table: TidesTable) -> Digests:
    try:
        with readable_errors(file):
            rows = scanner.rows(file, table)
            schema = rows.collect_schema()
            names = [column.name for column in table.columns if column.name in schema]
            day = filled_dates(schema["service_date"]) if table.dated else pl.lit(None, pl.Date)
            sums = _sums_by_date(rows, day, names).collect(engine="streaming")
    except (BadInput, KeyError):
        return {None: file.version}  # the later read reports what is wrong
    return {row[0]: "-".join(map(str, row[1:])) for row in sums.iter_rows()}


def _sums_by_date(rows: pl.LazyFrame, day: pl.Expr, names: Sequence[str]) -> pl.LazyFrame:
    """Number of rows and sums of both halves of their hashes: 32 bits each, so that no sum overflows."""
    schema = rows.collect_schema()
    cells = [
        pl.col(name).cast(pl.String) if isinstance(schema[name], pl.Categorical | pl.Enum) else pl.col(name)
        for name in names
    ]
    row_hash = pl.col("hash")
    return (
        rows.filter(pl.any_horizontal(pl.col(names).is_not_null()))  # no blank lines
        .select(day=day, hash=pl.struct(cells).hash())
        .group_by("day")
        .agg(pl.len(), low=(row_hash % 2**32).sum(), high=(row_hash // 2**32).sum())
    )
