"""What a job reports to whoever runs it: materialisations, checks, log lines. The only importer of dagster_pipes.

Without Pipes variables in the environment nothing is sent, so the same job runs by hand or in a SageMaker Pipeline.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from typing import Any, Literal

from dagster_pipes import PipesContext, PipesEnvVarParamsLoader, open_dagster_pipes

log = logging.getLogger("ruter_dagster.jobs")


@dataclass(frozen=True)
class DateReport:
    """One partition of a materialisation: its rows and the hash of their content."""

    rows: int
    version: str


@dataclass(frozen=True)
class Reporter:
    """Reports of one job. `pipes` is None outside of Dagster."""

    pipes: PipesContext | None

    def materialised(
        self,
        asset: str,
        *,
        dates: Mapping[date, DateReport] | None = None,
        version: str | None = None,
        **metadata: Any,
    ) -> None:
        """An asset now holds new content: by dates, or one `version` where it has no partitions.

        Metadata values are plain JSON values, or `markdown(…)`, `table(…)`, `link(…)` of this module.
        """
        by_date = {
            day.isoformat(): {"rows": part.rows, "version": part.version}
            for day, part in (dates or {}).items()
        }
        rows = sum(part.rows for part in (dates or {}).values())
        entries = {"rows": rows, **metadata} if dates is not None else metadata
        log.info("%s materialised: %s", asset, {"dates": len(by_date), "rows": rows} if by_date else version)
        if self.pipes:
            entries = {name: _rounded(value) for name, value in entries.items() if value is not None}
            self.pipes.report_asset_materialization(
                asset_key=asset,
                data_version=version or "by date",
                metadata={**entries, "dates": {"raw_value": by_date, "type": "json"}} if by_date else entries,
            )

    def checked(
        self,
        asset: str,
        name: str,
        passed: bool,
        severity: Literal["ERROR", "WARN"] = "ERROR",
        **metadata: Any,
    ) -> None:
        """The result of one asset check."""
        if not passed:
            log.warning("%s: check %s %s", asset, name, "failed" if severity == "ERROR" else "warns")
        if self.pipes:
            entries = {key: _rounded(value) for key, value in metadata.items() if value is not None}
            self.pipes.report_asset_check(
                check_name=name, passed=bool(passed), severity=severity, metadata=entries, asset_key=asset
            )


def markdown(text: str) -> dict[str, Any]:
    return {"raw_value": text, "type": "md"}


def link(url: str) -> dict[str, Any]:
    """A link in the UI; the place of a local file, which no browser opens from a web page, is shown to be copied."""
    return {"raw_value": url, "type": "path" if url.startswith("file:") else "url"}


def json_value(value: Any) -> dict[str, Any]:
    return {"raw_value": value, "type": "json"}


def table(records: list[dict[str, Any]]) -> dict[str, Any] | None:
    """Rows with the same keys as a table in the UI; None where there is no row."""
    if not records:
        return None
    kinds = {bool: "bool", int: "int", float: "float"}
    records = [{name: _rounded(value) for name, value in row.items()} for row in records]
    first = {name: next((row[name] for row in records if row[name] is not None), "") for name in records[0]}
    schema = [{"name": name, "type": kinds.get(type(value), "string")} for name, value in first.items()]
    return {"raw_value": {"records": records, "schema": schema}, "type": "table"}


def _rounded(value: Any) -> Any:
    """A number as a person reads it; the tables hold all of its digits."""
    return round(value, 4) if isinstance(value, float) else value


@contextmanager
def reporting() -> Iterator[Reporter]:
    """Opens the connection to Dagster for the time of one job, if there is one."""
    if not PipesEnvVarParamsLoader().is_dagster_pipes_process():
        yield Reporter(None)
        return
    with open_dagster_pipes() as pipes:
        yield Reporter(pipes)


def log_to_stdout() -> None:
    """Log lines as the local terminal, Dagster's compute log and CloudWatch show them."""
    logging.basicConfig(
        stream=sys.stdout,
        level=logging.WARNING,
        format="%(asctime)s %(levelname)s %(message)s",
        datefmt="%H:%M:%S",
        force=True,
    )
    logging.getLogger("ruter_dagster").setLevel(logging.INFO)
