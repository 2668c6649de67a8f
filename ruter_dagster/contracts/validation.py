"""Contracts in polars: a table's schema, and the checks that a frame must pass before it is stored or passed on.

This is the only module of `contracts` that loads polars. Sources, quality, storage and jobs import it; Dagster's layer does not.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from datetime import date

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ruter_dagster.contracts.errors import BadInput
from ruter_dagster.contracts.jobs import asset_of
from ruter_dagster.contracts.tables import Column, DataType, Table

_TYPES: dict[DataType, pl.DataType] = {
    "string": pl.String(),
    "int32": pl.Int32(),
    "int64": pl.Int64(),
    "float64": pl.Float64(),
    "boolean": pl.Boolean(),
    "date": pl.Date(),
    "timestamp": pl.Datetime("us", "UTC"),
}
_EXAMPLES = 5


def polars_schema(table: Table) -> dict[str, pl.DataType]:
    """The polars type of every column, in the contract's order."""
    return {column.name: _TYPES[column.type] for column in table.columns}


def empty_frame(table: Table) -> pl.DataFrame:
    """A frame without rows, with exactly the contract's columns."""
    return pl.DataFrame(schema=polars_schema(table))


def conform(frame: pl.DataFrame, table: Table) -> pl.DataFrame:
    """The same rows with the contract's columns, in its order and of its exact types.

    Only lossless casts are made: between widths of integers (overflow is an error), integers to floats, categories to
    strings, timestamps with a zone to UTC microseconds, and a column without values to its type. An absent optional
    column is an error too: the producer must add nulls.

    Raises:
        BadInput: columns that are missing, unknown or of another type, each with what was expected and found.
    """
    if faults := column_faults(frame, table):
        raise _bad_input(table, "does not have the contract's columns", faults)
    try:
        return frame.select(pl.col(name).cast(type_) for name, type_ in polars_schema(table).items())
    except pl.exceptions.PolarsError as error:
        raise _bad_input(table, "holds values that do not fit the contract's types", [str(error)]) from error


def with_optional_columns(frame: pl.DataFrame, table: Table) -> pl.DataFrame:
    """The same rows; optional columns of the contract that the frame lacks follow as nulls."""
    schema = polars_schema(table)
    absent = [
        column.name for column in table.columns if not column.required and column.name not in frame.columns
    ]
    return frame.with_columns(pl.lit(None, schema[name]).alias(name) for name in absent)


def vehicle_type() -> pl.Expr:
    """Mode and capacity as far as known. TIDES and most counters name no vehicle type, but these two distinguish them."""
    places = pl.format("{} of {} places", "mode", "total_capacity")
    return pl.coalesce(places, "mode").alias("vehicle_type")


def ordered_by_key(frame: pl.DataFrame, table: Table) -> pl.DataFrame:
    """The same rows sorted by key. Sorted rows, as most results are, are not copied."""
    return frame if _ascends_by_key(frame, table) else frame.sort(table.key)


def _ascends_by_key(frame: pl.DataFrame, table: Table) -> bool:
    """Whether each key is greater than the one before it, so that the keys are sorted and unique."""
    later = pl.lit(False)
    for name in reversed(table.key):
        value, before = pl.col(name), pl.col(name).shift(1)
        later = (value > before) | ((value == before) & later)
    # The first row has none before it. A null in the key cannot be compared, so it counts as not ascending.
    return frame.select(later.slice(1).fill_null(False).all()).item()


def column_faults(frame: pl.DataFrame, table: Table) -> list[str]:
    """Columns that are missing, unknown or of a type that cannot be cast without loss, each with what was expected."""
    schema = polars_schema(table)
    return [
        *(
            f"column {name} is missing (expected {type_})"
            for name, type_ in schema.items()
            if name not in frame.columns
        ),
        *(f"column {name} is not in the contract" for name in frame.columns if name not in schema),
        *(
            f"column {name} should be {schema[name]}, found {found}"
            for name, found in frame.schema.items()
            if name in schema and not _casts_losslessly(found, schema[name])
        ),
    ]


def validate(frame: pl.DataFrame, table: Table, dates: Collection[date]) -> None:
    """Checks the rows of a conformed frame against its contract, for a write of `dates`.

    Required values, unique keys, ranges, allowed values, finite numbers, row rules (null passes), no partition outside
    `dates`, and rows on each of `dates` unless the table may be empty.

    Raises:
        BadInput: lists every fault: the rule, the number of rows that break it, and the first of them by key.
    """
    conditions = [*row_conditions(table), within_dates(table, dates)]
    counts = frame.select(
        condition.broken.fill_null(False).sum().alias(str(index))
        for index, condition in enumerate(conditions)
    ).row(0)
    faults = [
        f"{condition.name}: broken in {count:,} of {frame.height:,} rows, e.g. {_examples(frame, table, condition)}"
        for condition, count in zip(conditions, counts, strict=True)
        if count
    ]
    faults += _duplicate_faults(frame, table)
    if not table.may_be_empty:
        missing = sorted(set(dates) - set(frame[table.partition].unique()))
        faults += [f"{table.partition} without any row: {_listing(missing)}"] if missing else []
    if faults:
        raise _bad_input(table, f"breaks its contract ({frame.height:,} rows)", faults)


def content_hash(frame: pl.DataFrame, table: Table) -> str:
    """The version of a conformed frame's rows: 32 hexadecimal digits that depend on their content only.

    It does not depend on the order of the rows (their key must be unique), on chunks, or on the machine. -0.0 equals 0.0,
    and all NaN are equal. A column without values does not count, so that an optional column added later keeps the
    versions of earlier dates.
    """
    return content_hash_of_ordered(frame.sort(table.key), table)


def content_hash_of_ordered(ordered: pl.DataFrame, table: Table) -> str:
    """`content_hash` of rows that are already sorted by key."""
    digest = hashlib.sha256(f"{table.name}\0{ordered.height}\0".encode())
    if ordered.height == 0:
        return digest.hexdigest()[:32]
    for column in table.columns:
        values = ordered[column.name]
        if values.null_count() < values.len():
            digest.update(f"{column.name}\0{column.type}\0".encode())
            _update(digest, values)
    return digest.hexdigest()[:32]


@dataclass(frozen=True)
class Condition:
    """A condition on single rows: its name in messages, an expression that is true if a row breaks it, columns to show.

    `check` names its check in the catalogue (`contracts.checks`).
    """

    name: str
    broken: pl.Expr
    shown: tuple[str, ...] = ()
    check: str = ""


def row_conditions(table: Table) -> Iterator[Condition]:
    """The conditions of a contract on single rows: required values, ranges, finite numbers, allowed values, rules."""
    for column in table.columns:
        yield from _column_conditions(column)
    for rule in table.rules:
        expression = pl.sql_expr(rule.expression)
        shown = tuple(name for name in expression.meta.root_names() if name not in table.key)
        yield Condition(
            f"{rule.name} ({rule.expression})", expression.not_(), tuple(dict.fromkeys(shown)), rule.name
        )


def within_dates(table: Table, dates: Collection[date]) -> Condition:
    """The condition that every row lies on one of `dates`."""
    span = f"{min(dates)} to {max(dates)}" if dates else "no date"
    partition = pl.col(table.partition)
    return Condition(
        f"{table.partition} within the dates being written ({span})",
        partition.is_in(list(dates)).not_() if dates else partition.is_not_null(),
        check="dates_within_partition",
    )


def _column_conditions(column: Column) -> Iterator[Condition]:
    value, shown, in_range = pl.col(column.name), (column.name,), "values_within_range"
    if column.required:
        yield Condition(f"{column.name} has a value", value.is_null(), check="required_values_present")
    if column.type == "float64":
        yield Condition(f"{column.name} is a finite number", value.is_finite().not_(), shown, in_range)
    if column.minimum is not None:
        yield Condition(f"{column.name} >= {column.minimum:g}", value < column.minimum, shown, in_range)
    if column.maximum is not None:
        yield Condition(f"{column.name} <= {column.maximum:g}", value > column.maximum, shown, in_range)
    if column.allowed is not None:
        allowed = f"{column.name} in {', '.join(column.allowed)}"
        yield Condition(allowed, value.is_in(column.allowed).not_(), shown, "values_allowed")


def _examples(frame: pl.DataFrame, table: Table, condition: Condition) -> str:
    names = list(dict.fromkeys((*table.key, *condition.shown)))
    return _rows(frame.filter(condition.broken).select(names).sort(table.key).head(_EXAMPLES))


def _duplicate_faults(frame: pl.DataFrame, table: Table) -> list[str]:
    # Stored rows are sorted. Comparing neighbours takes a tenth of the time of grouping millions of keys.
    if _ascends_by_key(frame, table):
        return []
    repeated = frame.group_by(table.key).agg(pl.len().alias("rows")).filter(pl.col("rows") > 1)
    if repeated.is_empty():
        return []
    shared = repeated["rows"].sum()
    examples = _rows(repeated.sort(table.key).head(_EXAMPLES))
    key = f"key ({', '.join(table.key)}) is unique"
    return [f"{key}: broken in {shared:,} of {frame.height:,} rows, e.g. {examples}"]


def _rows(frame: pl.DataFrame) -> str:
    return "; ".join(" ".join(f"{name}={value}" for name, value in row.items()) for row in frame.to_dicts())


def _listing(dates: list[date]) -> str:
    shown = ", ".join(str(day) for day in dates[:_EXAMPLES])
    return shown if len(dates) <= _EXAMPLES else f"{shown} and {len(dates) - _EXAMPLES} more"


def _bad_input(table: Table, summary: str, faults: list[str]) -> BadInput:
    lines = "\n".join(f"- {fault}" for fault in faults)
    return BadInput(
        f"{table.name} {summary}; nothing of it was kept:\n{lines}\n"
        f"Correct the source of the data, then materialise {asset_of(table.name)} again."
    )


def _casts_losslessly(found: pl.DataType, wanted: pl.DataType) -> bool:
    if found == wanted or found == pl.Null:
        return True
    if found.is_integer():
        return wanted.is_integer() or wanted == pl.Float64
    if isinstance(found, pl.Datetime):
        return isinstance(wanted, pl.Datetime) and found.time_zone is not None
    return (found == pl.Float32 and wanted == pl.Float64) or (
        isinstance(found, pl.Categorical | pl.Enum) and wanted == pl.String
    )


def _update(digest: hashlib._Hash, values: pl.Series) -> None:
    """Adds a column's nulls and values in a canonical layout: little-endian numbers, lengths and UTF-8 of strings."""
    if values.null_count():
        digest.update(values.is_null().to_numpy().data)
    if values.dtype == pl.String:
        values = values.fill_null("")
        digest.update(_little_endian(values.str.len_bytes().cast(pl.UInt32).to_numpy()))
        digest.update(_text(values))
    elif values.dtype == pl.Float64:
        numbers = values.fill_null(0.0).to_numpy() + 0.0  # -0.0 + 0.0 is 0.0
        numbers[np.isnan(numbers)] = np.nan
        digest.update(_little_endian(numbers))
    else:
        zero = False if values.dtype == pl.Boolean else 0
        digest.update(_little_endian(values.to_physical().fill_null(zero).to_numpy()))


def _text(values: pl.Series) -> memoryview:
    """The UTF-8 of all strings, without the copies that a Python string would need."""
    array = values.to_arrow(compat_level=pl.CompatLevel.oldest())
    _, offsets, content = array.buffers()
    ends = np.frombuffer(offsets, np.int64)[array.offset : array.offset + len(array) + 1]
    return memoryview(content or b"")[ends[0] : ends[-1]]


def _little_endian(numbers: NDArray[np.generic]) -> memoryview:
    """The bytes of the numbers, not copied on little-endian machines."""
    return np.ascontiguousarray(numbers, dtype=numbers.dtype.newbyteorder("<")).data
