"""Reads the files of a GTFS feed as polars frames. Errors name the file, the line and the cell.

Combining the tables (services of a date, planned departures) belongs in gtfs.py.
"""

from __future__ import annotations

import csv
from collections.abc import Collection, Mapping, Sequence

import polars as pl

from ruter_dagster.contracts.errors import BadInput
from ruter_dagster.sources.gtfs_files import FeedFiles

LINE = "_line"
"""Column of a row's line number in its file. Line breaks in quoted cells are not counted."""
MAX_FAULTY_SHARE = 0.02
"""Largest share of a feed's trips, or of its stop times, that may be faulty. With more, the feed is refused."""
_SAMPLE = 65_536


class Findings:
    """Faults and repairs of a feed: the number of each kind, and its first example."""

    def __init__(self, files: FeedFiles) -> None:
        self._files = files
        self.counts: dict[str, int] = {}
        self.examples: dict[str, str] = {}

    def note(self, name: str, count: int, example: str = "") -> None:
        if count:
            self.counts[name] = self.counts.get(name, 0) + count
            self.examples.setdefault(name, example)

    def without_faulty_rows(
        self, rows: pl.DataFrame, faults: Mapping[str, pl.Expr], file: str, shown: Sequence[str]
    ) -> pl.DataFrame:
        """The rows without faults. A row is counted under its first fault. `shown` are the columns of an example.

        Raises `BadInput` if the share of faulty rows exceeds `MAX_FAULTY_SHARE`.
        """
        valid = rows
        for name, is_faulty in faults.items():
            flagged = valid.with_columns(is_faulty.fill_null(True).alias("_is_faulty"))
            faulty = flagged.filter("_is_faulty")
            if faulty.height:
                self.note(name, faulty.height, self.example(file, faulty, shown))
                valid = flagged.filter(~pl.col("_is_faulty")).drop("_is_faulty")
        self.refuse_beyond_limit(rows.height - valid.height, rows.height, file)
        return valid

    def example(self, file: str, faulty: pl.DataFrame, shown: Sequence[str]) -> str:
        """The first of these rows as written in its file, with its line number."""
        if faulty.is_empty():
            return ""
        rows = scan_table(self._files, file, shown, []).filter(pl.col(LINE) == faulty[LINE].min())
        row = collect(rows, self._files, file).row(0, named=True)
        return f"{file}, line {row[LINE]}: " + ", ".join(f"{name} {row[name]!r}" for name in shown)

    def refuse_beyond_limit(self, faulty: int, total: int, file: str) -> None:
        """Raises `BadInput` with all faults if too many rows or trips of a file are faulty."""
        if not total or faulty / total <= MAX_FAULTY_SHARE:
            return
        listed = "\n".join(
            f"- {name}: {count:,}, e.g. {self.examples[name]}"
            for name, count in self.counts.items()
            if self.examples[name]
        )
        raise BadInput(
            f"GTFS feed {self._files.name}: {faulty:,} of {total:,} in {file} are faulty, more than {MAX_FAULTY_SHARE:.0%}:\n"
            f"{listed}\nCorrect the feed, or export it again."
        )


def scan_table(
    files: FeedFiles, name: str, required: Collection[str], optional: Collection[str]
) -> pl.LazyFrame:
    """The columns as text, and `LINE`. Empty cells and missing optional columns are null, blank lines are left out.

    Raises `BadInput` if the file is missing, is not UTF-8, or has no header, a missing required column or a duplicate column.
    """
    path, columns = files.path(name), _read_header(files, name)
    _require_columns(f"{files.name}: {name}", columns, required)
    rows = pl.scan_csv(
        path,
        infer_schema=False,
        with_column_names=lambda _: columns,
        row_index_name=LINE,
        row_index_offset=2,
    )
    cells = [
        _text(column) if column in columns else pl.lit(None, pl.String).alias(column)
        for column in (*required, *optional)
    ]
    return rows.select(LINE, *cells).filter(pl.any_horizontal(pl.exclude(LINE).is_not_null()))


def _read_header(files: FeedFiles, name: str) -> list[str]:
    """The column names of a file. Raises `BadInput` if it cannot be read or is not UTF-8."""
    address = f"{files.name}: {name}"
    try:
        with files.path(name).open(encoding="utf-8-sig", newline="") as file:
            header = next(csv.reader([file.readline(_SAMPLE)]), [])
    except UnicodeDecodeError:
        raise _not_utf8(address) from None
    except OSError as error:
        raise BadInput(f"{address} cannot be read ({error.strerror}); check its permissions") from None
    return [column.strip() for column in header]


def _require_columns(address: str, columns: Sequence[str], required: Collection[str]) -> None:
    """Raises `BadInput` if a required column is missing, or a column exists twice."""
    if missing := [column for column in required if column not in columns]:
        raise BadInput(
            f"{address} lacks the column {', '.join(missing)} (it has {', '.join(columns) or 'no header'}); export the feed again"
        )
    if twice := sorted({column for column in columns if column and columns.count(column) > 1}):
        raise BadInput(f"{address} has the column {', '.join(twice)} twice; keep one of them")


def read_table(
    files: FeedFiles, name: str, required: Collection[str], optional: Collection[str] = ()
) -> pl.DataFrame:
    """Reads the columns of `scan_table`."""
    return collect(scan_table(files, name, required, optional), files, name)


def collect(rows: pl.LazyFrame, files: FeedFiles, name: str) -> pl.DataFrame:
    """Reads a lazy frame in batches. Raises `BadInput` if the file is not CSV in UTF-8."""
    try:
        return rows.collect(engine="streaming")
    except (pl.exceptions.PolarsError, OSError) as error:
        reason = str(error).splitlines()[0]
        if "utf-8" in reason.lower() or "utf8" in reason.lower():
            raise _not_utf8(f"{files.name}: {name}") from None
        raise BadInput(
            f"{files.name}: {name} is not readable CSV ({reason}); correct it, or export the feed again"
        ) from None


def seconds(column: str) -> pl.Expr:
    """Seconds of a GTFS time since noon minus 12 hours (`25:10:00` is 90,600); null if the cell is not a time."""
    text = pl.col(column).str.strip_chars()
    hours, minutes, rest = (
        part.cast(pl.Int32, strict=False)
        for part in (text.str.head(-6), text.str.slice(-5, 2), text.str.slice(-2, 2))
    )
    valid = (
        (text.str.slice(-6, 1) == ":")
        & (text.str.slice(-3, 1) == ":")
        & hours.is_between(0, 999)
        & minutes.is_between(0, 59)
        & rest.is_between(0, 59)
    )
    return pl.when(valid).then(hours * 3600 + minutes * 60 + rest)


def clock(column: str) -> pl.Expr:
    """Seconds as HH:MM:SS."""
    value = pl.col(column)
    parts = (value // 3600, value // 60 % 60, value % 60)
    return pl.concat_str([part.cast(pl.String).str.zfill(2) for part in parts], separator=":")


def parse_column(
    rows: pl.DataFrame, files: FeedFiles, name: str, column: str, value: pl.Expr, meaning: str
) -> pl.DataFrame:
    """Replaces the cells of a column by `value`. Raises `BadInput` with the first cell whose value is null."""
    rows = rows.with_columns(value.alias("_value"))
    wrong = rows.filter(pl.col("_value").is_null())
    if wrong.height:
        line, cell = wrong.select(LINE, column).row(0)
        raise BadInput(
            f"{files.name}: {name}, line {line}: {column} is {cell!r}, expected {meaning}; correct it, or export the feed again"
        )
    return rows.with_columns(pl.col("_value").alias(column)).drop("_value")


def parse_date(column: str) -> pl.Expr:
    """A GTFS date (YYYYMMDD); null if the cell is not a date."""
    text = pl.col(column)
    return pl.when(text.str.len_bytes() == 8).then(text.str.to_date("%Y%m%d", strict=False))


def _text(column: str) -> pl.Expr:
    value = pl.col(column).str.strip_chars()
    return pl.when(value != "").then(value).alias(column)


def _not_utf8(address: str) -> BadInput:
    return BadInput(f"{address} is not UTF-8 (Latin-1, perhaps); save it as UTF-8")
