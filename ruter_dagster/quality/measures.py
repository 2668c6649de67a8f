"""Measures every check of a table on each date, and collects example rows of failed checks. Polars only."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace
from datetime import date
from typing import Any

import polars as pl

from ruter_dagster.config.operator import RejectLimits
from ruter_dagster.contracts.checks import CHECKS, FEW_UNKNOWN_STOPS, Check
from ruter_dagster.contracts.errors import PermanentFailure
from ruter_dagster.contracts.tables import STOP_VISITS, Table
from ruter_dagster.contracts.validation import Condition, column_faults, conform
from ruter_dagster.quality.coverage_checks import MEASURES
from ruter_dagster.quality.failing_rows import (
    DATE,
    EXAMPLES,
    STOP_POINTS_KNOWN,
    conditions_of,
    count_failing_rows,
    first_failing_rows,
    json_rows,
)
from ruter_dagster.quality.profile import (
    CHECKS_AGAINST_USUAL,
    compare_with_usual,
    measures_of_check,
    profile,
)
from ruter_dagster.quality.rejects import shares_of_dates
from ruter_dagster.quality.vehicle_counts import SCHEMA as VEHICLE_COUNTS
from ruter_dagster.quality.vehicle_counts import (
    compare_with_others,
    count_low_vehicles,
    low_vehicles,
    vehicle_counts,
)


@dataclass(frozen=True)
class Measures:
    """The measures of a table. `by_date` has `date` and a column for each check, null if it cannot be measured."""

    table: Table
    by_date: pl.DataFrame
    profile: pl.DataFrame
    frame: pl.DataFrame
    conditions: Sequence[Condition]
    rows_by_check: dict[str, pl.DataFrame]
    """Example rows of checks that are not conditions on single rows, each with a `date`."""
    vehicles: pl.DataFrame = field(default_factory=lambda: pl.DataFrame(schema=VEHICLE_COUNTS))
    """`vehicle_counts` of stop visits; empty for other tables."""

    def examples(self, check: str, failed_dates: Collection[date]) -> list[dict[str, Any]]:
        """The first rows that explain why a check failed on these dates."""
        if not failed_dates:
            return []
        if check in self.rows_by_check:
            rows = self.rows_by_check[check].filter(pl.col(DATE).is_in(sorted(failed_dates)))
            return json_rows(rows.head(EXAMPLES))
        return first_failing_rows(self.table, self.frame, self.conditions, check)


def checks_within(table: Table, limits: RejectLimits) -> tuple[Check, ...]:
    """The table's checks, with the operator's limits instead of the default bounds."""
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
    """The names of the failed blocking checks by date. The arguments are those of `check_table`."""
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
    earlier_stops: pl.Series | None = None,
    earlier_vehicles: pl.DataFrame | None = None,
    rejected: pl.DataFrame | None = None,
    limits: RejectLimits | None = None,
) -> Measures:
    """Measures every check. The arguments are those of `check_table`."""
    days = pl.DataFrame({DATE: sorted(dates)}, schema={DATE: pl.Date})
    if faults := column_faults(frame, table):
        return _measures_of_wrong_columns(table, frame, days, faults)
    frame = conform(frame, table)
    conditions = conditions_of(table, dates, plan, earlier_stops)
    own_profile = profile(table, frame)
    measured = _counts_by_date(days, count_failing_rows(table, frame, conditions))
    parts, examples = _distributions(table, frame, own_profile, reference, plan)
    vehicles = pl.DataFrame(schema=VEHICLE_COUNTS)
    if table.name == STOP_VISITS.name:
        vehicles = vehicle_counts(frame)
        unknown_stops = _visits_at_unknown_stops(frame, conditions)
        examples |= dict.fromkeys((STOP_POINTS_KNOWN, FEW_UNKNOWN_STOPS.name), _by_stop(unknown_stops))
        least_trips = (limits or RejectLimits()).least_trips  # pyright: ignore[reportCallIssue]
        measured = _with_share_at_unknown_stops(measured, unknown_stops, least_trips)
        compared = _compare_vehicles(vehicles, earlier_vehicles)
        examples["vehicles_count_alike"] = low_vehicles(compared)
        parts.append(count_low_vehicles(compared))
        parts.append(_share_of_rejected_rows(frame, rejected, days))
        if rejected is not None:
            examples["few_rejected_rows"] = _by_reason(rejected)
    for part in parts:
        measured = measured.join(part, on=DATE, how="left", maintain_order="left")
    examples["rows_present"] = days.with_columns(rows=0)
    _require_measures(table, measured)
    return Measures(table, _all_checks(table, measured), own_profile, frame, conditions, examples, vehicles)


def _compare_vehicles(vehicles: pl.DataFrame, earlier: pl.DataFrame | None) -> pl.DataFrame:
    """Compares the vehicles of each date with others, earlier dates included.

    Earlier counts of a date that is checked now are replaced by its present counts.
    """
    before = [] if earlier is None else [earlier.join(vehicles, on=DATE, how="anti")]
    return compare_with_others(pl.concat([vehicles, *before])).join(
        vehicles, on=DATE, how="semi", maintain_order="left"
    )


def _counts_by_date(days: pl.DataFrame, counts: pl.DataFrame) -> pl.DataFrame:
    """The counts of failing rows of each date. Rows outside all dates count for every date, because theirs is unknown."""
    outside = counts.join(days, on=DATE, how="anti")["dates_within_partition"].sum()
    without_rows = pl.col("rows_present").is_null()
    by_date = days.join(counts, on=DATE, how="left", maintain_order="left").with_columns(
        pl.when(without_rows).then(0).otherwise(pl.exclude(DATE)).name.keep()
    )
    return by_date.with_columns(pl.col("dates_within_partition") + outside, columns_as_contracted=pl.lit(0))


def _visits_at_unknown_stops(frame: pl.DataFrame, conditions: Sequence[Condition]) -> pl.DataFrame:
    """Visits at stop points that no planned departure serves, with their `date`."""
    (unknown,) = (condition.broken for condition in conditions if condition.check == STOP_POINTS_KNOWN)
    return frame.filter(unknown.fill_null(False)).with_columns(pl.col("service_date").alias(DATE))


def _by_stop(visits: pl.DataFrame) -> pl.DataFrame:
    """The number of visits by date and stop, the largest first, with one trip of each stop."""
    return (
        visits.group_by(DATE, "stop_id")
        .agg(rows=pl.len(), trip_id_performed=pl.col("trip_id_performed").min())
        .sort("rows", DATE, "stop_id", descending=[True, False, False])
    )


def _with_share_at_unknown_stops(
    measured: pl.DataFrame, unknown_stops: pl.DataFrame, least_trips: int
) -> pl.DataFrame:
    """Adds the share of visits at unknown stops; null if fewer than `least_trips` trips have such visits."""
    trips = unknown_stops.group_by(DATE).agg(_trips=pl.col("trip_id_performed").n_unique())
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
    own_profile: pl.DataFrame,
    reference: pl.DataFrame | None,
    plan: pl.DataFrame | None,
) -> tuple[list[pl.DataFrame], dict[str, pl.DataFrame]]:
    """Measures of the WARN checks (columns `date` and the check), and example rows by check."""
    earlier = [] if reference is None else [reference.join(own_profile, on=DATE, how="anti")]
    compared = compare_with_usual(pl.concat([own_profile, *earlier], how="diagonal_relaxed"))
    usual_checks = [check.name for check in CHECKS[table.name] if check.name in CHECKS_AGAINST_USUAL]
    measures = [measures_of_check(compared, name) for name in usual_checks]
    by_distance = compared.sort("distance", descending=True)
    examples = {
        name: by_distance.filter(pl.col("check") == name).drop("check", "distance") for name in usual_checks
    }
    for name in [check.name for check in CHECKS[table.name] if check.name in MEASURES]:
        if measurement := MEASURES[name](frame, plan):
            measures.append(measurement.values.select(DATE, pl.col("value").alias(name)))
            examples[name] = measurement.rows
        else:
            measures.append(own_profile.select(DATE, pl.lit(None).alias(name)))
    return measures, examples


def _share_of_rejected_rows(
    frame: pl.DataFrame, rejected: pl.DataFrame | None, days: pl.DataFrame
) -> pl.DataFrame:
    """`date` and `few_rejected_rows`: the share of rejected rows, null if `rejected` is None."""
    if rejected is None:
        return days.with_columns(few_rejected_rows=None)
    shares = shares_of_dates(frame, rejected).select(pl.col("service_date").alias(DATE), "share")
    share = pl.col("share").fill_null(0.0).alias("few_rejected_rows")
    return days.join(shares, on=DATE, how="left", maintain_order="left").select(DATE, share)


def _by_reason(rejected: pl.DataFrame) -> pl.DataFrame:
    """The number of rejected rows by date and reason, the largest first, with an example of each reason."""
    return (
        rejected.sort("file", "line_number")
        .group_by(pl.col("service_date").alias(DATE), "reason")
        .agg(pl.len().alias("rows"), pl.col("file", "line_number", "row").first())
        .sort("rows", DATE, "reason", descending=[True, False, False])
    )


def _measures_of_wrong_columns(
    table: Table, frame: pl.DataFrame, days: pl.DataFrame, faults: list[str]
) -> Measures:
    """Measures of a frame without the contract's columns: every row fails every check, because none can be measured."""
    failing = max(frame.height, 1)
    blocking = [check.name for check in CHECKS[table.name] if check.severity == "ERROR"]
    measured = days.with_columns(
        *(
            pl.lit(failing).alias(name)
            for name in blocking
            if name not in ("columns_as_contracted", "rows_present")
        ),
        columns_as_contracted=pl.lit(len(faults)),
        rows_present=pl.lit(0),
    )
    examples: dict[str, pl.DataFrame] = {name: days.clear() for name in blocking}
    examples["columns_as_contracted"] = days.join(pl.DataFrame({"fault": faults}), how="cross")
    return Measures(table, _all_checks(table, measured), days.clear(), frame, (), examples)


def _require_measures(table: Table, measured: pl.DataFrame) -> None:
    """Raises `PermanentFailure` if a declared check has no column in `measured`."""
    missing = [check.name for check in CHECKS[table.name] if check.name not in measured.columns]
    if missing:
        raise PermanentFailure(
            f"The check {', '.join(missing)} of {table.name} has no measure. It is declared in "
            "ruter_dagster/contracts/checks.py: list its measure in MEASURES of ruter_dagster/quality/coverage_checks.py"
        )


def _all_checks(table: Table, measured: pl.DataFrame) -> pl.DataFrame:
    """The table's checks in their declared order. A check that was not measured is null on every date."""
    return measured.select(
        DATE,
        *(
            (pl.col(check.name) if check.name in measured.columns else pl.lit(None))
            .cast(pl.Float64)
            .alias(check.name)
            for check in CHECKS[table.name]
        ),
    )
