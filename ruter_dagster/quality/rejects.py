"""How much of a date's stop visits, or planned departures, was set aside, and whether the rest may still be used. Polars only.

Which rows are set aside belongs in sources/visit_rules.py and sources/plan_rules.py.
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

_REASONS, _EXAMPLES, _SHOWN = 3, 3, 20
_TRIP = pl.coalesce("trip_id_performed", pl.format("{}:{}", "file", "line_number"))
"""A row that names no trip counts as one of its own."""


@dataclass(frozen=True)
class Blocked:
    """A date of a table of which too much was set aside: where (the date, a line, a vehicle type), how much, and what the limit is."""

    table: str
    date: date
    scope: str
    rows: int
    set_aside: int
    setting: str
    limit: float
    reasons: tuple[tuple[str, int], ...]
    examples: tuple[str, ...]

    @property
    def share(self) -> float:
        return self.set_aside / self.rows

    @property
    def message(self) -> str:
        """The paragraph that a person reads: date, share, limit, reasons, examples, remedy."""
        reasons = "; ".join(f"{reason} ({rows:,} rows)" for reason, rows in self.reasons)
        listed = (
            f" `ruter-dagster rejected --date {self.date}` lists the rows."
            if self.table == STOP_VISITS.name
            else ""
        )
        return (
            f"{self.table}: service_date {self.date} is blocked: {self.share:.1%} of {self.scope} were set aside "
            f"({self.set_aside:,} of {self.rows:,} rows), the limit is {self.limit:.1%}. Reasons: {reasons}. "
            f"E.g. {'; '.join(self.examples)}. Correct the rows at their source, then materialise {asset_of(self.table)} again; or "
            f"raise {self.setting} in [rejects] of the operator file.{listed}"
        )


def blocked_dates(
    kept: pl.DataFrame, rejected: pl.DataFrame, limits: RejectLimits, table: Table = STOP_VISITS
) -> dict[date, Blocked]:
    """The dates of which too much was set aside, each with the scope that is farthest beyond its limit.

    `kept` is contract `raw.stop_visits` or `raw.planned_departures`, `rejected` `raw.rejected_visits`. A date of which nothing is left is blocked
    however few its trips are.
    """
    if rejected.is_empty():
        return {}
    found = [
        shares.with_columns(beyond=pl.col("share") / limit if limit else pl.col("share") * float("inf"))
        .filter(
            (pl.col("share") > limit)
            & ((pl.col("trips") >= limits.least_trips) | (pl.col("kept") == 0) & is_date)
        )
        .with_columns(setting=pl.lit(setting), limit=pl.lit(limit))
        for shares, setting, limit, is_date in (
            (shares_of_dates(kept, rejected), "share_of_date", limits.share_of_date, pl.lit(True)),
            (shares_of(kept, rejected, "line_id"), "share_of_line", limits.share_of_line, pl.lit(False)),
            (
                shares_of(kept, rejected, "vehicle_type"),
                "share_of_vehicle_type",
                limits.share_of_vehicle_type,
                pl.lit(False),
            ),
        )
    ]
    worst = (
        pl.concat(found)
        .sort("service_date", "beyond", descending=[False, True])
        .unique("service_date", keep="first")
    )
    return {
        row["service_date"]: _blocked(table, row, rejected) for row in worst.sort("service_date").to_dicts()
    }


def shares_of_dates(kept: pl.DataFrame, rejected: pl.DataFrame) -> pl.DataFrame:
    """One row for each date: `service_date`, `scope`, `rows`, `set_aside`, `kept`, `trips` (with rows set aside), `share`."""
    return _shares(kept, rejected, [])


def shares_of(kept: pl.DataFrame, rejected: pl.DataFrame, column: str) -> pl.DataFrame:
    """The same for each date and line (`line_id`) or `vehicle_type`; rows of which it is unknown are left out."""
    return _shares(kept, rejected.drop_nulls(column), [column])


def set_aside(rejected: pl.DataFrame | None) -> dict[str, list[dict[str, Any]]]:
    """What was set aside, as tables of a report by their heading: by reason, vehicle and line, and example rows. Empty where nothing was."""
    if rejected is None or rejected.is_empty():
        return {}
    return {
        "reason": rejects_by(rejected, "reason"),
        "vehicle": rejects_by(rejected, "vehicle_id"),
        "line": rejects_by(rejected, "line_id"),
        "examples": _first_of_reasons(rejected).head(_SHOWN).to_dicts(),
    }


def rejects_by(rejected: pl.DataFrame, column: str) -> list[dict[str, Any]]:
    """Rows set aside by the values of a column, the most first and no more than a page shows: the value and `rows`."""
    counted = rejected.group_by(column).agg(rows=pl.len()).sort("rows", column, descending=[True, False])
    return counted.head(_SHOWN).with_columns(pl.col(column).fill_null("unknown")).to_dicts()


def rejects_by_reason(rejected: pl.DataFrame) -> dict[str, int]:
    """Rows set aside by reason, the most first."""
    return {row["reason"]: row["rows"] for row in rejects_by(rejected, "reason")}


@dataclass
class RejectSummary:
    """Rows set aside by reason and the first row of each: its size depends on the number of reasons, not on that of rows."""

    rows: Counter[str] = field(default_factory=Counter)
    _first: pl.DataFrame | None = None

    def add(self, rejected: pl.DataFrame) -> None:
        """`rejected` is contract `raw.rejected_visits`."""
        if rejected.is_empty():
            return
        self.rows.update(dict(rejected.group_by("reason").len().iter_rows()))
        first = _first_of_reasons(rejected)
        self._first = _first_of_reasons(first if self._first is None else pl.concat([self._first, first]))

    def by_reason(self) -> dict[str, int]:
        """`rejects_by_reason` of all rows added."""
        return dict(sorted(self.rows.items(), key=lambda item: (-item[1], item[0]))[:_SHOWN])

    def examples(self) -> list[dict[str, Any]]:
        """The first row of each reason, as `set_aside` shows them."""
        return [] if self._first is None else self._first.head(_SHOWN).to_dicts()


def examples(rejected: pl.DataFrame, number: int = _EXAMPLES) -> Iterator[str]:
    """The first row of each reason in words: file, line, the reason and the row as it was read."""
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
    gone = rejected.group_by(by).agg(
        set_aside=pl.len(), lost=(~pl.col("kept_without_counts")).sum(), trips=_TRIP.n_unique()
    )
    there = kept.group_by(by).agg(kept=pl.len())
    joined = gone.join(there, on=by, how="left").with_columns(pl.col("kept").fill_null(0))
    # A visit kept without counts may be known under another line than the row that was set aside.
    rows = pl.max_horizontal(pl.col("kept") + pl.col("lost"), "set_aside")
    scope = pl.format(f"its rows of {columns[0]} {{}}", columns[0]) if columns else pl.lit("its rows")
    return joined.select(
        "service_date",
        scope.alias("scope"),
        rows.alias("rows"),
        "set_aside",
        "kept",
        "trips",
        (pl.col("set_aside") / rows).alias("share"),
    )


def _blocked(table: Table, row: Mapping[str, Any], rejected: pl.DataFrame) -> Blocked:
    of_date = rejected.filter(pl.col("service_date") == row["service_date"])
    return Blocked(
        table=table.name,
        date=row["service_date"],
        scope=row["scope"],
        rows=row["rows"],
        set_aside=row["set_aside"],
        setting=row["setting"],
        limit=row["limit"],
        reasons=tuple(rejects_by_reason(of_date).items())[:_REASONS],
        examples=tuple(examples(of_date)),
    )
