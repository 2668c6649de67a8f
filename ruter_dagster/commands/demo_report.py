"""The report at the end of a demo: tables, accuracy, messages and the next command."""

from __future__ import annotations

import os
import shlex
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Column, Table

from ruter_dagster.commands.labels import forecast_label
from ruter_dagster.config.aws import secret_fields
from ruter_dagster.config.settings import ENV_FILE_VARIABLE, Settings

ACCURACY = ("baseline", "WAPE", "model's WAPE", "model's gain", "95 % interval of the gain")
"""Headings of the accuracy table. The gain is the share by which the model's WAPE is lower than the baseline's."""


@dataclass
class Report:
    """Result of a demo, which it prints as tables or with `--json`."""

    issue_date: str
    source: str
    forecast_dates: list[str] = field(default_factory=list)
    """Operating dates that are forecast."""
    runs: list[str] = field(default_factory=list)
    up_to_date: list[str] = field(default_factory=list)
    assets: list[dict[str, Any]] = field(default_factory=list)
    accuracy: list[dict[str, Any]] = field(default_factory=list)
    model_version: str | None = None
    gate: str | None = None
    """Why the model was or was not promoted."""
    unknown_occupancy: float | None = None
    """Share of forecasts with the occupancy level `unknown`."""
    without_model: str | None = None
    """Why there is no model and baselines are published; None with a model."""
    published: int = 0
    """Published forecasts: one for each departure."""
    journeys: int = 0
    """Service journeys of these departures. Each is one message on every topic."""
    already_published: bool = False
    """Whether an earlier run published the same content."""
    read_back: int = 0
    exactly_once: bool = False
    bootstrap_servers: str = ""
    topics: list[str] = field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def show(report: Report, console: Console, on_double: Path | None = None) -> None:
    """Prints rows, checks, accuracy, messages and the next command.

    `on_double` is the state folder that remains after a demo in the double of AWS.
    """
    assets = Table(
        Column("asset", no_wrap=True),
        "rows of its last run",
        Column("checks passed", overflow="fold"),
        title=f"Issue date {report.issue_date}",
    )
    for row in report.assets:
        rows = "" if row["rows"] is None else f"{row['rows']:,}"
        assets.add_row(row["asset"], rows, _checks(row))
    console.print(assets)
    for line in _unmet_checks(report):
        console.print(line, soft_wrap=True, highlight=False)
    if report.accuracy:
        title = f"Accuracy of model {report.model_version} on dates that it was not trained on"
        accuracy = Table(*ACCURACY, title=title)
        for row in report.accuracy:
            accuracy.add_row(*_accuracy_cells(row))
        console.print(accuracy)
    for line in filter(None, (report.gate, report.without_model, _occupancy_warning(report))):
        console.print(line, soft_wrap=True)
    if report.forecast_dates:
        console.print(
            f"Forecasts of {report.forecast_dates[0]} to {report.forecast_dates[-1]}", soft_wrap=True
        )
    published = "already published" if report.already_published else "published"
    console.print(
        f"Kafka: {report.published:,} forecasts of {report.journeys:,} journeys {published} to {', '.join(report.topics)}, {report.read_back:,} read back, "
        + ("each exactly once" if report.exactly_once else f"[red]not each exactly once[/red]. {_REPUBLISH}"),
        soft_wrap=True,
    )
    variables = f"RUTER_LAUNCHER=local RUTER_STATE_DIR={on_double} " if on_double else same_settings()
    page = "each materialisation with its job" if on_double else _PAGES
    note = " The double of AWS has ended with its tables and files." if on_double else ""
    console.print(
        f"Next: `{variables}make dev` shows {page}, and prints the addresses.{note} README.md shows how to use your own data.",
        soft_wrap=True,
    )


_PAGES = "the lineage, and in the dashboard tomorrow's most crowded departures and how forecasts did"
_REPUBLISH = (
    "The topic of publications lists it, so it is not sent again. Messages may have passed their retention time. "
    "Set RUTER_KAFKA_TOPIC_PREFIX to another prefix to publish it again."
)


def same_settings() -> str:
    """This process's settings as variables before a command, so that it uses the same history. Settings in `.env` are left out."""
    variables = {f"RUTER_{name.upper()}" for name in Settings.model_fields} | {
        ENV_FILE_VARIABLE,
        "KAFKA_BOOTSTRAP_SERVERS",
    }
    names = sorted(name for name in variables - secret_fields(Settings).keys() if os.environ.get(name))
    return "".join(f"{name}={shlex.quote(os.environ[name])} " for name in names)


def _checks(row: Mapping[str, Any]) -> str:
    if not row["checks"]:
        return ""
    not_judged = f", {row['checks_not_judged']} not judged" if row["checks_not_judged"] else ""
    warned = _plural(len(row["checks_warned"]), "warning")
    failed = _plural(len(row["checks_failed"]), "error")
    return f"{row['checks_passed']} of {row['checks']}{not_judged}{warned}{failed}"


def _plural(count: int, noun: str) -> str:
    return f", {count} {noun}{'' if count == 1 else 's'}" if count else ""


def _unmet_checks(report: Report) -> list[str]:
    """One line for each check that did not pass. The table would break their names."""
    return [
        f"{word}: {row['asset']} does not meet {check}"
        for word, kind in (("error", "checks_failed"), ("warning", "checks_warned"))
        for row in report.assets
        for check in row[kind]
    ]


def _occupancy_warning(report: Report) -> str | None:
    if not report.unknown_occupancy:
        return None
    return (
        f"Warning: the occupancy level of {report.unknown_occupancy:.0%} of the forecasts is unknown, because seats are unknown. "
        "Add the vehicles' capacities to the source, or [capacities] to the operator file (docs/tides-and-gtfs-columns.md)."
    )


def _accuracy_cells(row: dict[str, Any]) -> tuple[str, ...]:
    """The cells of a baseline's row, in the order of `ACCURACY`."""
    wape, model = (_number(row[name], "{:.3f}") for name in ("wape_baseline", "wape_model"))
    gain, low, high = (_number(row[name], "{:.1%}") for name in ("improvement", "low_95", "high_95"))
    return forecast_label(row["baseline"]), wape, model, gain, f"{low} to {high}"


def _number(value: float | None, form: str) -> str:
    return "unknown" if value is None else form.format(value)
