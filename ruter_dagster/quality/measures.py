"""The measures of every check of a table on its dates, and the rows that show why one failed. Polars only."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace
from datetime import date
from typing import Any

import polars as pl

from ruter_dagster.config.operator import RejectLimits
from ruter_dagster.contracts.checks import CHECKS, FEW_UNKNOWN_STOPS, Check
from ruter_dagster.contracts.tables import STOP_VISITS, Table
from ruter_dagster.contracts.validation import Condition, column_faults, conform
from ruter_dagster.quality.coverage_checks import MEASURES
from ruter_dagster.quality.failing_rows import (
    DATE,
    EXAMPLES,
    STOP_POINTS_KNOWN,
    conditions_of,
    count_faults,
    first_faults,
    plain,
)
from ruter_dagster.quality.profile import against_usual, measures_against_usual, profile
from ruter_dagster.quality.rejects import shares_of_dates
from ruter_dagster.quality.vehicle_counts import SCHEMA as VEHICLE_COUNTS
from ruter_dagster.quality.vehicle_counts import (
    compared_with_others,
    vehicle_counts,
    vehicles_with_low_counts,
)


@dataclass(frozen=True)
class Measured:
    """What was measured. `by_date`: `date`, then every check of the table, null where it cannot be said."""

    table: Table
    by_date: pl.DataFrame
    profile: pl.DataFrame
    frame: pl.DataFrame
    conditions: Sequence[Condition]
    shown: dict[str, pl.DataFrame]
    """Rows that explain the checks that are not on single rows, by check; each with a `date`."""
    vehicles: pl.DataFrame = field(default_factory=lambda: pl.DataFrame(schema=VEHICLE_COUNTS))
    """What each vehicle counted beside others on each date, of stop visits: `vehicle_counts`."""

    def examples(self, check: str, failed: Collection[date]) -> list[dict[str, Any]]:
        """The first rows that made a check fail on these dates."""
        if not failed:
            return []
        if check in self.shown:
            rows = self.shown[check]
            return plain(rows.filter(pl.col(DATE).is_in(sorted(failed))).head(EXAMPLES))
        return first_faults(self.table, self.frame, self.conditions, check)


def checks_within(table: Table, limits: RejectLimits) -> tuple[Check, ...]:
    """The table's checks with the bounds of the operator file in place of the catalogue's."""
    return tuple(
        replace(check, maximum=limits.share_of_date) if check is FEW_UNKNOWN_STOPS else check
        for check in CHECKS[table.name]
    )


def failing_dates(
    table: Table,
    frame: pl.DataFrame,
    dates: Collection[date],
    limits: RejectLimits,
    plan: pl.DataFrame | None = None,
) -> dict[date, tuple[str, ...]]:
    """The dates of which a blocking check fails, and the names of these checks. Arguments: `check_table`'s."""
    by_date = measure(table, frame, dates, plan=plan, limits=limits).by_date
    blocking = [check for check in checks_within(table, limits) if check.severity == "ERROR"]
    outside = by_date.select(
        DATE,
        *(
            (
                (pl.col(check.name) < (check.minimum if check.minimum is not None else -math.inf))
                | (pl.col(check.name) > (check.maximum if check.maximum is not None else math.inf))
            ).fill_null(False)
            for check in blocking
        ),
    )
    failing = {
        row.pop(DATE): tuple(name for name, fails in row.items() if fails) for row in outside.to_dicts()
    }
    return {day: names for day, names in failing.items() if names}


def measure(
    table: Table,
    frame: pl.DataFrame,
    dates: Collection[date],
    reference: pl.DataFrame | None = None,
    plan: pl.DataFrame | None = None,
    former_stops: pl.Series | None = None,
    former_vehicles: pl.DataFrame | None = None,
    rejected: pl.DataFrame | None = None,
    limits: RejectLimits | None = None,
) -> Measured:
    """Measure every check; the arguments are `check_table`'s."""
    days = pl.DataFrame({DATE: sorted(dates)}, schema={DATE: pl.Date})
    if faults := column_faults(frame, table):
        return _not_as_contracted(table, frame, days, faults)
    frame = conform(frame, table)
    conditions = conditions_of(table, dates, plan, former_stops)
    counts = _counts(table, days, count_faults(table, frame, conditions))
    least_trips = (limits or RejectLimits()).least_trips  # pyright: ignore[reportCallIssue]
    own = profile(table, frame)
    warnings, shown = _distributions(table, frame, own, reference, plan)
    vehicles = (
        vehicle_counts(frame) if table.name == STOP_VISITS.name else pl.DataFrame(schema=VEHICLE_COUNTS)
    )
    if not vehicles.is_empty():
        shown["vehicles_count_alike"] = _compared(vehicles, former_vehicles)
        warnings.append(vehicles_with_low_counts(shown["vehicles_count_alike"]))
    measured = counts
    if table.name == STOP_VISITS.name:
        strange = _at_unknown_stops(frame, conditions)
        shown |= dict.fromkeys((STOP_POINTS_KNOWN, FEW_UNKNOWN_STOPS.name), _by_stop(strange))
        measured = _with_share_at_unknown_stops(measured, strange, least_trips)
    for warning in warnings:
        measured = measured.join(warning, on=DATE, how="left", maintain_order="left")
    if rejected is not None:
        shown["few_rows_set_aside"] = _reasons(rejected)
        measured = measured.join(
            _share_set_aside(frame, rejected, days), on=DATE, how="left", maintain_order="left"
        )
    shown["rows_present"] = days.with_columns(rows=0)
    return Measured(table, _every_check(table, measured), own, frame, conditions, shown, vehicles)


def _compared(vehicles: pl.DataFrame, former: pl.DataFrame | None) -> pl.DataFrame:
    """The vehicles of the dates beside others, former dates added; of a date that is judged now, its own counts alone."""
    before = [] if former is None else [former.join(vehicles, on=DATE, how="anti")]
    return compared_with_others(pl.concat([vehicles, *before])).join(
        vehicles, on=DATE, how="semi", maintain_order="left"
    )


def _counts(table: Table, days: pl.DataFrame, found: pl.DataFrame) -> pl.DataFrame:
    """Faults of each date asked for. Rows that lie outside all of them count against every one: no date is sure."""
    outside = found.join(days, on=DATE, how="anti")["dates_within_partition"].sum()
    without_rows = pl.col("rows_present").is_null()
    asked = days.join(found, on=DATE, how="left", maintain_order="left").with_columns(
        pl.when(without_rows).then(0).otherwise(pl.exclude(DATE)).name.keep()
    )
    return asked.with_columns(pl.col("dates_within_partition") + outside, columns_as_contracted=pl.lit(0))


def _at_unknown_stops(frame: pl.DataFrame, conditions: Sequence[Condition]) -> pl.DataFrame:
    """Visits at stop points that no planned departure serves, each with its `date`."""
    (unknown,) = (one.broken for one in conditions if one.check == STOP_POINTS_KNOWN)
    return frame.filter(unknown.fill_null(False)).with_columns(pl.col("service_date").alias(DATE))


def _by_stop(strange: pl.DataFrame) -> pl.DataFrame:
    """Unknown stop points of each date with their rows, the most first, and one trip of each."""
    return (
        strange.group_by(DATE, "stop_id")
        .agg(rows=pl.len(), trip_id_performed=pl.col("trip_id_performed").min())
        .sort("rows", DATE, "stop_id", descending=[True, False, False])
    )


def _with_share_at_unknown_stops(
    measured: pl.DataFrame, strange: pl.DataFrame, least_trips: int
) -> pl.DataFrame:
    """Of a few trips a share says little: it is null where fewer than `least_trips` have such rows."""
    trips = strange.group_by(DATE).agg(_trips=pl.col("trip_id_performed").n_unique())
    few = pl.col("_trips").is_between(1, least_trips - 1).fill_null(False)
    share = pl.when(~few).then(pl.col(STOP_POINTS_KNOWN) / pl.max_horizontal("rows_present", 1))
    return (
        measured.join(trips, on=DATE, how="left", maintain_order="left")
        .with_columns(share.alias(FEW_UNKNOWN_STOPS.name))
        .drop("_trips")
    )


def _distributions(
    table: Table,
    frame: pl.DataFrame,
    own: pl.DataFrame,
    reference: pl.DataFrame | None,
    plan: pl.DataFrame | None,
) -> tuple[list[pl.DataFrame], dict[str, pl.DataFrame]]:
    """Measures of the WARN checks (`date` and one column each), and the rows that explain them."""
    former = [] if reference is None else [reference.join(own, on=DATE, how="anti")]
    compared = against_usual(pl.concat([own, *former], how="diagonal_relaxed"))
    usual_checks = [check.name for check in CHECKS[table.name] if check.name.endswith("_near_usual")]
    measures = [measures_against_usual(compared, name) for name in usual_checks]
    by_distance = compared.sort("distance", descending=True)
    shown = {
        name: by_distance.filter(pl.col("check") == name).drop("check", "distance") for name in usual_checks
    }
    for name in [check.name for check in CHECKS[table.name] if check.name in MEASURES]:
        if measurement := MEASURES[name](frame, plan):
            measures.append(measurement.values.select(DATE, pl.col("value").alias(name)))
            shown[name] = measurement.rows
    return measures, shown


def _share_set_aside(frame: pl.DataFrame, rejected: pl.DataFrame, days: pl.DataFrame) -> pl.DataFrame:
    shares = shares_of_dates(frame, rejected).select(pl.col("service_date").alias(DATE), "share")
    share = pl.col("share").fill_null(0.0).alias("few_rows_set_aside")
    return days.join(shares, on=DATE, how="left", maintain_order="left").select(DATE, share)


def _reasons(rejected: pl.DataFrame) -> pl.DataFrame:
    """Rows set aside by date and reason, the most first, each reason with an example."""
    return (
        rejected.sort("file", "line_number")
        .group_by(pl.col("service_date").alias(DATE), "reason")
        .agg(pl.len().alias("rows"), pl.col("file", "line_number", "row").first())
        .sort("rows", DATE, "reason", descending=[True, False, False])
    )


def _not_as_contracted(table: Table, frame: pl.DataFrame, days: pl.DataFrame, faults: list[str]) -> Measured:
    """Without the contract's columns nothing can be cleared: every row counts as broken, and no row as present."""
    broken = max(frame.height, 1)
    blocking = [check.name for check in CHECKS[table.name] if check.severity == "ERROR"]
    measured = days.with_columns(
        *(
            pl.lit(broken).alias(name)
            for name in blocking
            if name not in ("columns_as_contracted", "rows_present")
        ),
        columns_as_contracted=pl.lit(len(faults)),
        rows_present=pl.lit(0),
    )
    shown: dict[str, pl.DataFrame] = {name: days.clear() for name in blocking}
    shown["columns_as_contracted"] = days.join(pl.DataFrame({"fault": faults}), how="cross")
    return Measured(table, _every_check(table, measured), days.clear(), frame, (), shown)


def _every_check(table: Table, measured: pl.DataFrame) -> pl.DataFrame:
    """The checks in the catalogue's order; one that was not measured is null on every date."""
    return measured.select(
        DATE,
        *(
            (pl.col(check.name) if check.name in measured.columns else pl.lit(None))
            .cast(pl.Float64)
            .alias(check.name)
            for check in CHECKS[table.name]
        ),
    )
