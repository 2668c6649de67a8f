"""Deletes old forecasts, scored departures and scores, old snapshots, and files that no snapshot needs."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

from ruter_dagster.contracts.all_tables import TABLES
from ruter_dagster.contracts.errors import PermanentFailure
from ruter_dagster.contracts.jobs import RETENTION, Retention
from ruter_dagster.contracts.scores import LINE_SCORES, STOP_SCORES
from ruter_dagster.contracts.tables import (
    CHALLENGER_FORECASTS,
    DRIFT,
    DRIFT_SUMS,
    FORECAST_PERFORMANCE,
    LOAD_FORECASTS,
    PUBLICATIONS,
    Table,
)
from ruter_dagster.jobs.context import JobContext
from ruter_dagster.jobs.pipes import table as table_value
from ruter_dagster.storage.configured_tables import open_tables_in
from ruter_dagster.storage.retention import (
    Files,
    delete_dates,
    delete_files,
    expire_snapshots,
    old_dates,
    old_snapshots,
)
from ruter_dagster.storage.tables import TableStore

log = logging.getLogger("ruter_dagster.jobs")


def run(parameters: Retention, context: JobContext) -> None:
    clones = list(_clones(context))
    days = _days_by_table(parameters)
    rows = [
        _apply_to(table, days.get(table, 0), parameters, context, clones)
        for table in context.track(TABLES, "Tables")
    ]
    changed = [row for row in rows if any(value for name, value in row.items() if name != "table")]
    context.report.materialised(
        RETENTION,
        version=parameters.at.isoformat(),
        dry_run=parameters.dry_run,
        deleted=table_value(changed),
        **{
            f"{name}_deleted": sum(row[name] for row in rows)
            for name in ("dates", "snapshots", "files", "bytes")
        },
        files_waiting=sum(row["files_waiting"] for row in rows),
        **context.provenance(),
    )


def _days_by_table(parameters: Retention) -> Mapping[Table, int]:
    """How many days before its newest date each table keeps. Other tables keep every date."""
    return {
        LOAD_FORECASTS: parameters.forecast_days,
        CHALLENGER_FORECASTS: parameters.forecast_days,
        PUBLICATIONS: parameters.forecast_days,
        FORECAST_PERFORMANCE: parameters.performance_days,
        STOP_SCORES: parameters.performance_days,
        DRIFT_SUMS: parameters.performance_days,
        LINE_SCORES: parameters.score_days,
        DRIFT: parameters.score_days,
    }


def _apply_to(
    table: Table, days: int, parameters: Retention, context: JobContext, clones: list[TableStore]
) -> dict[str, Any]:
    """Deletes what is old in one table. Returns what was deleted, or with `dry_run` what would be."""
    store, limit = context.store, parameters.at - timedelta(parameters.file_days)
    dates = old_dates(store, table, days)
    if not parameters.dry_run:
        delete_dates(store, table, dates)
    snapshots = old_snapshots(store, table, limit)
    if not parameters.dry_run:
        expire_snapshots(store, table, snapshots)
    files = _delete_files(table, parameters, context, clones)
    if dates:
        log.info(
            "%s: %d dates up to %s %s",
            table.name,
            len(dates),
            dates[-1],
            "deleted" if not parameters.dry_run else "are old",
        )
    return {
        "table": table.name,
        "dates": len(dates),
        "first_date": str(dates[0]) if dates else None,
        "last_date": str(dates[-1]) if dates else None,
        "snapshots": len(snapshots),
        "files": files.due,
        "bytes": files.due_bytes,
        "files_waiting": files.waiting,
    }


def _delete_files(
    table: Table, parameters: Retention, context: JobContext, clones: list[TableStore]
) -> Files:
    return delete_files(
        context.store,
        table,
        context.artifacts,
        parameters.at,
        parameters.file_days,
        clones,
        region=context.settings.aws_region,
        dry_run=parameters.dry_run,
    )


def _clones(context: JobContext) -> Iterator[TableStore]:
    """The other states of the state folder, which may be clones of this one. In a lake, clones are younger than `file_days`.

    Raises `PermanentFailure` if one cannot be read: its clone could lose files.
    """
    settings = context.settings
    if settings.lake_dir is not None:
        return
    own, base = settings.source_dir.absolute(), Path(settings.state_dir).absolute()
    for pattern in ("*/warehouse/catalog.db", "*/*/warehouse/catalog.db"):
        for catalog in sorted(base.glob(pattern)):
            folder = catalog.parents[1]
            if folder == own:
                continue
            try:
                other = open_tables_in(folder)
                other.load(LOAD_FORECASTS)
            except PermanentFailure as failure:
                raise PermanentFailure(
                    f"The state {folder} may be a clone of {own}, and cannot be read: {failure}. Nothing was deleted. "
                    "Repair or remove that state, then run monitoring/retention again."
                ) from failure
            yield other
