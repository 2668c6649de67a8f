"""Converts cells of a TIDES table to values of their column's type. Wrong and repaired cells are counted.

The effect of a wrong cell on its row belongs in tides_rows.py.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import polars as pl

from ruter_dagster.sources.tides_schema import MISSING_VALUES, Kind, TidesColumn

TYPES: dict[Kind, pl.DataType] = {
    "string": pl.String(),
    "integer": pl.Int64(),
    "date": pl.Date(),
    "datetime": pl.Datetime("us", "UTC"),
}
MEANING: dict[Kind, str] = {
    "string": "text",
    "integer": "a whole number",
    "date": "a date (YYYY-MM-DD)",
    "datetime": "a time (2026-11-20T08:15:00+01:00)",
}
WHOLE_NUMBERS = "repaired, whole number written with a decimal point"
UNKNOWN = "repaired, {column} {unknown} read as unknown"
WITHOUT_OFFSET = "repaired, time without offset taken as {zone}"
AMBIGUOUS = "repaired, time without offset in the hour that the clocks repeat taken as the first"
_WHOLE = r"^[+-]?\d+\.0+$"


@dataclass
class Cells:
    """Values of a column, null if a cell is missing or wrong.

    `faults` are descriptions with a mask of the cells. `repairs` counts cells that were read although their format is not TIDES'.
    """

    values: pl.Series
    faults: list[tuple[str, pl.Series]] = field(default_factory=list)
    repairs: dict[str, int] = field(default_factory=dict)


def unpadded_cells(cells: pl.Series) -> pl.Series:
    """The cells without surrounding blanks; null if TIDES defines them as missing."""
    if isinstance(cells.dtype, pl.Categorical | pl.Enum):
        cells = cells.cast(pl.String)
    if cells.dtype == pl.String:
        # Blanks are rare, and stripping copies the column.
        if cells.str.contains(r"^\s|\s$").any():
            cells = cells.str.strip_chars()
        missing = cells.is_in(MISSING_VALUES)
        return cells.set(missing, None) if missing.any() else cells
    return cells.fill_nan(None) if cells.dtype.is_float() else cells


def read_cells(cells: pl.Series, column: TidesColumn, time_zone: str) -> Cells:
    """Converts cells to values. Times without an offset are in `time_zone`."""
    read = {"string": _texts, "integer": _integers, "date": _dates}
    result = read[column.kind](cells) if column.kind in read else _times(cells, time_zone)
    if column.filled and cells.null_count():
        result.faults.append(("has no value", cells.is_null()))
    if result.values.null_count() > cells.null_count():
        wrong = cells.is_not_null() & result.values.is_null()
        result.faults.append((f"is not {MEANING[column.kind]}", wrong))
    if column.unknown is not None and (is_unknown := _true(result.values == column.unknown)).any():
        result.values = result.values.set(is_unknown, None)
        result.repairs[UNKNOWN.format(column=column.name, unknown=column.unknown)] = int(is_unknown.sum())
    if column.minimum is not None and (is_below := _true(result.values < column.minimum)).any():
        result.faults.append((f"is below {column.minimum}", is_below))
    if column.allowed is not None:
        other = _true(~result.values.is_in(column.allowed))
        if other.any():
            result.faults.append(("is unknown to TIDES", other))
    return result


def date_of(column: str, dtype: pl.DataType) -> pl.Expr:
    """A column of service dates as dates; null if a cell is not a date."""
    cell = pl.col(column)
    if isinstance(dtype, pl.Categorical | pl.Enum):
        cell, dtype = cell.cast(pl.String), pl.String()
    if dtype == pl.String:
        return cell.str.strip_chars().str.to_date("%Y-%m-%d", strict=False)
    if isinstance(dtype, pl.Datetime):
        # pandas has no date type and writes timestamps at midnight.
        return pl.when(cell.dt.time() == pl.time(0)).then(cell.dt.date())
    return cell if dtype == pl.Date else pl.lit(None, pl.Date)


def filled_dates(dtype: pl.DataType) -> pl.Expr:
    """The column `service_date` as dates. A row without a date takes the date of the row before it, the first rows the next date."""
    return date_of("service_date", dtype).forward_fill().backward_fill()


def _true(mask: pl.Series) -> pl.Series:
    """The mask with nulls as false."""
    return mask.fill_null(False)


def _texts(cells: pl.Series) -> Cells:
    """Texts. Programs turn a column of whole numbers with a null into floats (31.0); these become whole numbers again."""
    if cells.dtype == pl.String:
        floats = cells.null_count() < cells.len() and bool(cells.str.ends_with(".0").all())
        if floats and cells.str.contains(_WHOLE).all():
            return Cells(cells.str.strip_suffix(".0"))
        return Cells(cells)
    if cells.dtype.is_float() or cells.dtype.is_decimal():
        numbers = cells.cast(pl.Int64, strict=False)
        whole = _true(numbers.cast(pl.Float64) == cells.cast(pl.Float64))
        return Cells(numbers.cast(pl.String).zip_with(whole, cells.cast(pl.String)))
    return Cells(cells.cast(pl.String))


def _integers(cells: pl.Series) -> Cells:
    if cells.dtype == pl.String:
        values = cells.cast(pl.Int64, strict=False)
        if values.null_count() == cells.null_count():
            return Cells(values)
        wrong = cells.is_not_null() & values.is_null()
        floats = _whole(cells.filter(wrong).cast(pl.Float64, strict=False))
        repaired = floats.len() - floats.null_count()
        return Cells(
            values.scatter(wrong.arg_true(), floats), repairs={WHOLE_NUMBERS: repaired} if repaired else {}
        )
    if cells.dtype.is_integer():
        return Cells(cells.cast(pl.Int64, strict=False))
    if cells.dtype.is_numeric():
        return Cells(_whole(cells.cast(pl.Float64)))
    return Cells(pl.Series(cells.name, [None] * cells.len(), pl.Int64))


def _whole(numbers: pl.Series) -> pl.Series:
    values = numbers.cast(pl.Int64, strict=False)
    return values.set(_true(values.cast(pl.Float64) != numbers), None)


def _dates(cells: pl.Series) -> Cells:
    return Cells(cells.to_frame().select(date_of(cells.name, cells.dtype)).to_series())


def _times(cells: pl.Series, time_zone: str) -> Cells:
    if isinstance(cells.dtype, pl.Datetime):
        if cells.dtype.time_zone is not None:
            return Cells(cells.dt.convert_time_zone("UTC").cast(TYPES["datetime"]))
        return _local(cells.cast(pl.Datetime("us")), time_zone)
    if cells.dtype != pl.String:
        return Cells(pl.Series(cells.name, [None] * cells.len(), TYPES["datetime"]))
    values = _parse_times(cells, "%Y-%m-%dT%H:%M:%S%.f%z")
    if values.null_count() == cells.null_count():
        return Cells(values)
    # The few cells in other formats: Z as offset, a blank instead of T, a short offset such as +01, or no offset.
    wrong = cells.is_not_null() & values.is_null()
    texts = cells.filter(wrong).str.replace(r"^(\S+) (\d)", "${1}T${2}").str.replace("[Zz]$", "+00:00")
    with_offset = _parse_times(
        texts.str.replace(r"(T.*[+-]\d\d)$", "${1}:00").str.replace(" ", "", literal=True)
    )
    naive = _local(texts.str.to_datetime("%Y-%m-%dT%H:%M:%S%.f", time_unit="us", strict=False), time_zone)
    values = values.scatter(wrong.arg_true(), with_offset.zip_with(with_offset.is_not_null(), naive.values))
    return Cells(values, repairs=naive.repairs)


def _parse_times(texts: pl.Series, form: str = "%Y-%m-%dT%H:%M:%S%.f%z") -> pl.Series:
    return texts.str.to_datetime(form, time_unit="us", strict=False).cast(TYPES["datetime"])


def _local(times: pl.Series, time_zone: str) -> Cells:
    """Local times as UTC. In the repeated hour in autumn the first one is taken. A time in the skipped hour in spring is null."""
    first = times.dt.replace_time_zone(time_zone, ambiguous="earliest", non_existent="null")
    last = times.dt.replace_time_zone(time_zone, ambiguous="latest", non_existent="null")
    ambiguous = int((first != last).sum())
    repairs = {WITHOUT_OFFSET.format(zone=time_zone): first.len() - first.null_count(), AMBIGUOUS: ambiguous}
    values = first.dt.convert_time_zone("UTC")
    return Cells(values, repairs={name: number for name, number in repairs.items() if number})
