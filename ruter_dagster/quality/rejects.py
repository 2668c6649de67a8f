"""Counts the rejected rows of stop visits and planned departures, and blocks dates with too many of them. Polars only.

The rules that reject a row belong in sources/visit_rules.py and sources/plan_rules.py.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date
from typing import Any

import polars as pl

from ruter_dagster.config.operator import RejectLimits
from ruter_dagster.contracts.jobs import asset_of
from ruter_dagster.contracts.tables import STOP_VISITS, Table
from ruter_dagster.contracts.validation import vehicle_type

_MAX_REASONS, _MAX_EXAMPLES, _MAX_TABLE_ROWS = 3, 3, 20
_TRIP = pl.coalesce("trip_id_performed", pl.format("{}:{}", "file", "line_number"))
"""The trip of a row. A row without a trip counts as a trip of its own."""


@dataclass(frozen=True)
class BlockedDate:
    """A date with too many rejected rows.

    `scope`: the rows that were counted, of the whole date, a line or a vehicle type. `setting`: the limit's name in
    [rejects] of the operator file.
    """

    table: str
    date: date
    scope: str
    rows: int
    rejected: int
    setting: str
    limit: float
    reasons: tuple[tuple[str, int], ...]
    examples: tuple[str, ...]

    @property
    def share(self) -> float:
        return self.rejected / self.rows

    @property
    def message(self) -> str:
        """The explanation for people: date, share, limit, reasons, examples and remedy."""
        reasons = "; ".join(f"{reason} ({rows:,} rows)" for reason, rows in self.reasons)
        listed = (
            f" `ruter-dagster rejected --date {self.date}` lists the rows."
            if self.table == STOP_VISITS.name
            else ""
        )
        return (
            f"{self.table}: service_date {self.date} is blocked: {self.share:.1%} of {self.scope} were rejected "
            f"({self.rejected:,} of {self.rows:,} rows), the limit is {self.limit:.1%}. Reasons: {reasons}. "
            f"E.g. {'; '.join(self.examples)}. Correct the rows at their source, then materialise {asset_of(self.table)} again; or "
            f"raise {self.setting} in [rejects] of the operator file.{listed}"
        )


def blocked_dates(
    kept: pl.DataFrame, rejected: pl.DataFrame, limits: RejectLimits, table: Table = STOP_VISITS
) -> dict[date, BlockedDate]:
    """The dates with too many rejected rows, each with the scope that exceeds its limit most.

    `kept` is contract `raw.stop_visits` or `raw.planned_departures`, `rejected` is contract `raw.rejected_visits`. A date
    without any kept row is blocked, even if it has fewer trips than `least_trips`.
    """
    if rejected.is_empty():
        return {}
    over_limit = [
        _over_limit(shares_of_dates(kept, rejected), "share_of_date", limits),
        _over_limit(shares_of(kept, rejected, "line_id"), "share_of_line", limits),
        _over_limit(shares_of(kept, rejected, "vehicle_type"), "share_of_vehicle_type", limits),
    ]
    worst = (
        pl.concat(over_limit)
        .sort("service_date", "excess", descending=[False, True])
        .unique("service_date", keep="first")
    )
    return {
        row["service_date"]: _blocked(table, row, rejected) for row in worst.sort("service_date").to_dicts()
    }


def _over_limit(shares: pl.DataFrame, setting: str, limits: RejectLimits) -> pl.DataFrame:
    """The rows of `shares` over the limit named `setting`, with `excess` (share / limit), `setting` and `limit`."""
    limit = getattr(limits, setting)
    share, is_blocking = pl.col("share"), pl.col("trips") >= limits.least_trips
    if setting == "share_of_date":
        is_blocking |= pl.col("kept") == 0
    return shares.filter((share > limit) & is_blocking).with_columns(
        excess=share / limit if limit else share * float("inf"),
        setting=pl.lit(setting),
        limit=pl.lit(limit),
    )


def shares_of_dates(kept: pl.DataFrame, rejected: pl.DataFrame) -> pl.DataFrame:
    """Rejected rows by date. Columns: `service_date`, `scope`, `rows`, `rejected`, `kept`, `trips` (with rejected rows), `share`."""
    return _shares(kept, rejected, [])


def shares_of(kept: pl.DataFrame, rejected: pl.DataFrame, column: str) -> pl.DataFrame:
    """Rejected rows by date and by `line_id` or `vehicle_type`, with the same columns. Rows without a value are left out."""
    return _shares(kept, rejected.drop_nulls(column), [column])


def tables_of_rejects(rejected: pl.DataFrame | None) -> dict[str, list[dict[str, Any]]]:
    """Tables of rejected rows by heading: counts by reason, vehicle and line, and examples. Empty without rejected rows."""
    if rejected is None or rejected.is_empty():
        return {}
    return {
        "reason": rejects_by(rejected, "reason"),
        "vehicle": rejects_by(rejected, "vehicle_id"),
        "line": rejects_by(rejected, "line_id"),
        "examples": _first_of_reasons(rejected).head(_MAX_TABLE_ROWS).to_dicts(),
    }


def rejects_by(rejected: pl.DataFrame, column: str) -> list[dict[str, Any]]:
    """The number of rejected rows by value of a column, the largest first, at most 20: the value and `rows`."""
    counted = rejected.group_by(column).agg(rows=pl.len()).sort("rows", column, descending=[True, False])
    return counted.head(_MAX_TABLE_ROWS).with_columns(pl.col(column).fill_null("unknown")).to_dicts()


def rejects_by_reason(rejected: pl.DataFrame) -> dict[str, int]:
    """The number of rejected rows by reason, the largest first."""
    return {row["reason"]: row["rows"] for row in rejects_by(rejected, "reason")}


@dataclass
class RejectSummary:
    """The number of rejected rows by reason, and the first row of each reason.

    It keeps one row for each reason, so that memory does not grow with the rows of a long range.
    """

    rows: Counter[str] = field(default_factory=Counter)
    _first: pl.DataFrame | None = None

    def add(self, rejected: pl.DataFrame) -> None:
        """Adds rows of contract `raw.rejected_visits`."""
        if rejected.is_empty():
            return
        self.rows.update(dict(rejected.group_by("reason").len().iter_rows()))
        first = _first_of_reasons(rejected)
        self._first = _first_of_reasons(first if self._first is None else pl.concat([self._first, first]))

    def by_reason(self) -> dict[str, int]:
        """`rejects_by_reason` of all added rows."""
        return dict(sorted(self.rows.items(), key=lambda item: (-item[1], item[0]))[:_MAX_TABLE_ROWS])

    def examples(self) -> list[dict[str, Any]]:
        """The first row of each reason, as in `tables_of_rejects`."""
        return [] if self._first is None else self._first.head(_MAX_TABLE_ROWS).to_dicts()


def examples(rejected: pl.DataFrame, number: int = _MAX_EXAMPLES) -> Iterator[str]:
    """The first row of each reason as text: file, line, reason and the row as it was read."""
    for row in _first_of_reasons(rejected).head(number).to_dicts():
        yield f"{row['file']}, line {row['line_number']}: {row['reason']}: {row['row']}"


def _first_of_reasons(rejected: pl.DataFrame) -> pl.DataFrame:
    ordered = rejected.sort("service_date", "file", "line_number")
    return (
        ordered.group_by("reason", maintain_order=True)
        .first()
        .select(pl.col("service_date").cast(pl.String), "file", "line_number", "reason", "row")
    )


def _shares(kept: pl.DataFrame, rejected: pl.DataFrame, columns: list[str]) -> pl.DataFrame:
    by = ["service_date", *columns]
    kept = kept.with_columns(vehicle_type())
    rejected_counts = rejected.group_by(by).agg(
        rejected=pl.len(), lost=(~pl.col("kept_without_counts")).sum(), trips=_TRIP.n_unique()
    )
    kept_counts = kept.group_by(by).agg(kept=pl.len())
    joined = rejected_counts.join(kept_counts, on=by, how="left").with_columns(pl.col("kept").fill_null(0))
    # A visit that was kept without counts may have another line than its rejected row.
    rows = pl.max_horizontal(pl.col("kept") + pl.col("lost"), "rejected")
    scope = pl.format(f"its rows of {columns[0]} {{}}", columns[0]) if columns else pl.lit("its rows")
    return joined.select(
        "service_date",
        scope.alias("scope"),
        rows.alias("rows"),
        "rejected",
        "kept",
        "trips",
        (pl.col("rejected") / rows).alias("share"),
    )


def _blocked(table: Table, row: Mapping[str, Any], rejected: pl.DataFrame) -> BlockedDate:
    of_date = rejected.filter(pl.col("service_date") == row["service_date"])
    return BlockedDate(
        table=table.name,
        date=row["service_date"],
        scope=row["scope"],
        rows=row["rows"],
        rejected=row["rejected"],
        setting=row["setting"],
        limit=row["limit"],
        reasons=tuple(rejects_by_reason(of_date).items())[:_MAX_REASONS],
        examples=tuple(examples(of_date)),
    )
